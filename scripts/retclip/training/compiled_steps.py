"""The encoders of training steps, compiled by torch.compile (training.compile).

They are compiled in place, so that no weight gets another name, and for any number and length of texts. What is
compiled is kept on the disk for all training runs of a study. Whatever is scored, is scored as without compiling.
"""

import os
import platform
import shutil
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from retclip.core.hub import first_line
from retclip.core.io import sha256_of
from retclip.core.lock_owner import user_name
from retclip.core.logs import log

if TYPE_CHECKING:
    from retclip.models.retclip import RetClip

ADVICE = "set training.compile to false"


def compile_encoders(model: "RetClip", device: torch.device, state_dir: Path, cached: Collection[str] = ()) -> None:
    """Compiles the encoders when a step first runs them. state_dir: results/{run}/state. cached: encoders (image, text)
    whose features the steps read in place of running them.

    Raises ValueError where this machine cannot compile for the device.
    """
    encoders = {"image": model.visual, "text": model.bert}
    runs = [which for which in encoders if which not in cached]
    if not runs:
        log("training.compile: steps read features in place of running an encoder, so that nothing is compiled")
        return
    from torch._dynamo import config as tracing
    from torch._inductor import config as kernels
    from transformers.utils.logging import warning_once

    _refuse_without_compiler(device)
    folder = own_folder(state_dir)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
    # a job has no more cores than it asked for, and processes that compile would begin by importing torch
    kernels.compile_threads = 1
    # torch's own random numbers: the same dropout as without compiling, and in both passes of gradient caching
    kernels.fallback_random = True
    # it would cut what is compiled at each bucket of gradients, and cannot with gradient checkpointing
    tracing.optimize_ddp = False
    # of what gradient checkpointing does in any case; else no encoder that says so could be compiled whole
    tracing.ignore_logging_functions.add(warning_once)
    for which in runs:
        # fullgraph: what cannot be compiled is an error, and not computed uncompiled without a word
        encoders[which].compile(fullgraph=True, dynamic=True)
    log(f"compiling the {' and the '.join(runs)} encoder at the first step, unless {folder} has it")


def uncompiled(compiled: bool) -> AbstractContextManager[object]:
    """Inside, compiled encoders compute as if they were not: whoever scores the same weights gets the same scores."""
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()


@contextmanager
def failures_named(compiled: bool) -> Iterator[None]:
    """Raises ValueError, a sentence, where torch cannot compile what is run inside."""
    if not compiled:
        yield
        return
    from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException
    from torch._inductor.exc import CppCompileError, InvalidCxxCompiler

    try:
        yield
    except (TorchDynamoException, FailOnRecompileLimitHit, CppCompileError, InvalidCxxCompiler) as error:
        raise ValueError(
            f"training.compile: torch cannot compile this trial's encoders here ({first_line(error)[:120]}); {ADVICE}."
        ) from error


def own_folder(state_dir: Path) -> Path:
    """Where this user keeps what was compiled for processors of this kind: it is run as it lies there.

    Raises ValueError where that folder is another user's.
    """
    folder = state_dir / "compiled" / f"{user_name(os.getuid()) or os.getuid()}-{sha256_of(_processor())[:8]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o022 or folder.is_symlink():
        raise ValueError(f"{folder}: others may write there, and what lies there is run; delete it and run again.")
    return folder.resolve()


def _refuse_without_compiler(device: torch.device) -> None:
    """Raises ValueError where there is no compiler for the device: a C++ compiler, on a GPU Triton with one for C."""
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler
    from torch.utils._triton import has_triton

    if device.type == "cuda":
        if not has_triton():
            raise ValueError(f"training.compile: Triton does not compile for this GPU here; {ADVICE}.")
        if not any(map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang"))):
            raise ValueError(f"training.compile: this machine has no C compiler; install gcc, or {ADVICE}.")
        return
    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        raise ValueError(f"training.compile: this machine has no C++ compiler; install g++, or {ADVICE}.") from None


def _processor() -> list[str]:
    """What this machine's processor is and understands: other processors may not run what is compiled for it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    words = ("model name", "flags", "Features", "CPU part")
    return [platform.machine(), *sorted({line for line in lines if line.startswith(words)})]
