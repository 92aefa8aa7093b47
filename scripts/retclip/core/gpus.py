"""The GPUs of this machine, and those of them that this process may use. Nothing here imports torch or wakes CUDA."""

import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from retclip.core import slurm
from retclip.core.logs import log

# A driver that does not answer for so long never will.
PATIENCE_SECONDS = 60
VISIBLE = "CUDA_VISIBLE_DEVICES"
GPU_LINE = re.compile(r"GPU (\d+): (.*) \(UUID: (GPU-[^)\s]+)\)")
MIG_LINE = re.compile(r"\s+MIG (\S+)\s+Device\s+\d+: \(UUID: (MIG-[^)\s]+)\)")
# Where NVIDIA's driver describes GPUs, and where a container has those that it was given.
DRIVER, DEVICES = Path("/proc/driver/nvidia/gpus"), Path("/dev")


@dataclass(frozen=True)
class Gpu:
    """A GPU, or the part of one that MIG makes. number, gpu: those of the whole GPU; a part has a UUID of its own."""

    uuid: str
    model: str
    number: int
    gpu: str
    word: str  # by which CUDA_VISIBLE_DEVICES calls it


def listed() -> list[Gpu]:
    """All of this machine or container, in nvidia-smi's order."""
    return list(_by_nvidia_smi() if shutil.which("nvidia-smi") else _by_driver())


def visible() -> list[Gpu]:
    """Those that CUDA_VISIBLE_DEVICES leaves to this process, in its order.

    CUDA reads that list up to the first word that names no GPU: "", -1 and NoDevFiles hide all. What Slurm or a
    user names by a UUID that nobody lists is believed.
    """
    gpus, given = listed(), os.environ.get(VISIBLE)
    if given is None:
        return gpus
    believed = bool(gpus) or slurm.gpus_given() is not None
    found: list[Gpu] = []
    for word in (word.strip() for word in given.split(",")) if believed else ():
        named = _named(word, gpus)
        if not named:
            break
        found += [gpu for gpu in named if gpu not in found]
    return found


def counts_differ() -> bool:
    """Whether CUDA may number GPUs in another way than nvidia-smi: the fastest comes first, unless told otherwise."""
    return os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID" and len({gpu.model for gpu in listed()}) > 1


def described(gpus: list[Gpu]) -> str:
    """ "2 here (2 x NVIDIA A100)", or "none here"; with CUDA_VISIBLE_DEVICES where that is set."""
    models = Counter(gpu.model for gpu in gpus if gpu.model)
    told = [f"{number} x {model}" if len(gpus) > 1 else model for model, number in models.items()]
    if VISIBLE in os.environ:
        told.append(f"{VISIBLE}={os.environ[VISIBLE]}")
    return f"{len(gpus) or 'none'} here" + (f" ({'; '.join(told)})" if told else "")


def memory_mib() -> dict[str, tuple[int, int]]:
    """UUID -> MiB in use and in all, of whole GPUs; without those that do not tell."""
    answer = _ask("--query-gpu=uuid,memory.used,memory.total", "--format=csv,noheader,nounits")
    rows = [line.split(", ") for line in answer.splitlines()]
    told = [row for row in rows if len(row) == 3 and row[1].isdecimal() and row[2].isdecimal()]
    return {uuid: (int(used), int(total)) for uuid, used, total in told}


def cpu_warning(training: dict[str, Any], python: str) -> str | None:
    """One sentence where `training.device: auto` will train on this machine's CPU though GPUs are requested, else None.

    training: that section of the config. python: the interpreter whose torch trains.
    """
    if training["device"] != "auto" or not training["gpus"]:
        return None
    gpus = visible()
    if gpus and _torch_sees_one(python):
        return None
    found = f"GPUs: {described(gpus)}, but torch can use none" if gpus else f"no GPU is here{_hidden()}"
    return (
        f"warning: {found}, and training.device is auto: everything is trained on the CPU. If that is meant, set "
        "training.device to cpu and training.gpus to 0."
    )


def _named(word: str, gpus: list[Gpu]) -> list[Gpu]:
    """What one word of CUDA_VISIBLE_DEVICES names: a number, a UUID or the start of one; of a GPU in parts, these."""
    if word.isdecimal():
        parts = [gpu for gpu in gpus if gpu.number == int(word)]
        # a whole GPU keeps the number that was given: CUDA counts by speed, and nvidia-smi by slot
        found = [gpu if gpu.uuid != gpu.gpu else replace(gpu, word=word) for gpu in parts]
        return found if gpus else [_unlisted(word)]
    if not word.startswith(("GPU-", "MIG-")):
        return []
    found = [gpu for gpu in gpus if gpu.uuid.startswith(word) or gpu.gpu.startswith(word)]
    return found or [_unlisted(word)]


def _unlisted(word: str) -> Gpu:
    return Gpu(uuid=word, model="", number=int(word) if word.isdecimal() else -1, gpu=word, word=word)


def _hidden() -> str:
    return f" ({VISIBLE}={os.environ[VISIBLE]})" if VISIBLE in os.environ else ""


def _by_nvidia_smi() -> Iterator[Gpu]:
    whole: Gpu | None = None
    parts = 0
    for line in _ask("-L").splitlines():
        if found := GPU_LINE.match(line):
            if whole and not parts:
                yield whole
            number, model, uuid = found.groups()
            whole, parts = Gpu(uuid, model, int(number), uuid, uuid), 0
        elif whole and (found := MIG_LINE.match(line)):
            profile, uuid = found.groups()
            parts += 1
            yield Gpu(uuid, f"{whole.model} MIG {profile}", whole.number, whole.uuid, uuid)
    if whole and not parts:
        yield whole


def _by_driver() -> Iterator[Gpu]:
    """Where nvidia-smi is not installed: what the kernel's driver says, of the devices that are there."""
    number = 0
    for path in sorted(DRIVER.glob("*/information")):  # by slot, as nvidia-smi does
        facts = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
        facts = {name: value.strip() for name, value in facts.items()}
        if (DEVICES / f"nvidia{facts.get('Device Minor')}").exists() and "GPU UUID" in facts:
            uuid = facts["GPU UUID"]
            yield Gpu(uuid, facts.get("Model", ""), number, uuid, uuid)
            number += 1


def _ask(*flags: str) -> str:
    """What nvidia-smi prints; nothing where it is not there, fails or does not answer."""
    try:
        done = subprocess.run(
            ["nvidia-smi", *flags], capture_output=True, text=True, errors="replace", timeout=PATIENCE_SECONDS
        )
    except FileNotFoundError:
        return ""
    except (OSError, subprocess.TimeoutExpired) as error:
        log(f"nvidia-smi does not answer ({error}): no GPU is counted")
        return ""
    return done.stdout if done.returncode == 0 else ""


def _torch_sees_one(python: str) -> bool:
    """False alone where torch says so: an environment that is not made yet says nothing."""
    question = "import sys, torch; sys.exit(0 if torch.cuda.is_available() else 3)"
    try:
        return subprocess.run([python, "-c", question], capture_output=True, timeout=PATIENCE_SECONDS).returncode != 3
    except (OSError, subprocess.TimeoutExpired):
        return True
