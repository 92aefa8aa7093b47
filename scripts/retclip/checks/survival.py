"""Whether a training run survives what happens to it: a kill, and memory that is short."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import multiprocessing

from retclip.checks.hardware import GIB, no_gpu
from retclip.checks.line import BROKEN, NOT_RUN, OK, Line
from retclip.checks.small_trial import small_trainer, trainer_of
from retclip.core.trial import Trial
from retclip.loading.device import choose_device
from retclip.models.encode import has_batch_norm

if TYPE_CHECKING:
    from retclip.models.retclip import RetClip

# The process of the small trial dies in this step, of those of its first epoch, once there is a checkpoint.
LAST_STEP, PATIENCE_SECONDS = 1, 60
# How far the loss of the resumed trial may lie apart: a GPU adds in no fixed order.
APART = {"cpu": 0.0, "cuda": 1e-3}
# The share of a batch's activations that memory is left for.
LEFT_FOR_ACTIVATIONS = 0.6
# A batch that takes less is no test: an optimizer's step takes as much for a moment.
LEAST_ACTIVATION_BYTES = 2**28


def check_resume(name: str, trial: Trial, folder: Path, device: torch.device, wanted: str) -> Line:
    """A process that trains the small trial is killed with -9; another one resumes. wanted: training.device."""
    whole = small_trainer(trial, folder, device, "fp32", "whole").run()
    process = multiprocessing.get_context("spawn").Process(target=train_and_die, args=(trial, folder, wanted))
    process.start()
    process.join()
    if process.exitcode != -signal.SIGKILL:
        return Line(name, BROKEN, f"the process that was to be killed ended with status {process.exitcode}",
                    "its last words stand in the log")  # fmt: skip
    outcome = small_trainer(trial, folder, device, "fp32", "killed").run()
    assert whole is not None, "one process trains"
    assert outcome is not None, "one process trains"
    if outcome.resumed_from_epoch is None:
        return Line(name, BROKEN, "after kill -9 the trial began again: its checkpoint was not found",
                    "does this file system keep what is written? See the lines on it")  # fmt: skip
    losses = [np.array([row["train_loss"] for row in one.progress.history]) for one in (whole, outcome)]
    apart = float(np.abs(losses[1] / losses[0] - 1).max())
    found = f"killed with -9 and resumed at epoch {outcome.resumed_from_epoch:.2f}; losses apart by {apart:.1e}"
    if not apart <= APART[device.type]:
        return Line(name, BROKEN, f"{found}, at most {APART[device.type]:.0e}", "keep off this node")
    return Line(name, OK, found)


def train_and_die(trial: Trial, folder: Path, wanted: str) -> None:
    """Trains the small trial, and kills its own process in LAST_STEP."""
    trainer: Any = small_trainer(trial, folder, choose_device(wanted), "fp32", "killed", save_seconds=0.0)
    compute, begun = trainer._step, time.monotonic()

    def step(number: int, *batch: Any) -> torch.Tensor:
        if number == LAST_STEP:
            while not trainer.folder.checkpoint.exists() and time.monotonic() - begun < PATIENCE_SECONDS:
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
        loss: torch.Tensor = compute(number, *batch)
        return loss

    trainer._step = step
    trainer.run()


def check_memory_limit(
    name: str, trial: Trial, build: "Callable[[], RetClip]", data: Path, encoder_dir: Path, state: Path,
    device: torch.device, precision: str,
) -> Line:  # fmt: skip
    """The config's trial where memory holds no whole batch: it must go on in micro-batches."""
    if device.type != "cuda":
        return no_gpu(name)
    model = build()
    norms = has_batch_norm(model.train())
    whole = trainer_of(trial, model, data, encoder_dir, device, precision, state / "whole")
    torch.cuda.reset_peak_memory_stats(device)
    outcome = whole.run()
    assert outcome is not None, "one process trains"
    batch = trial.hyperparameters["batch_size"]
    if outcome.progress.status == "out_of_memory" or whole.micro_batch < batch:
        how = f"in micro-batches of {whole.micro_batch}" if whole.micro_batch < batch else "as out_of_memory"
        return Line(name, OK, f"a batch of {batch} is out of memory here, and ended {how}")
    peak, held = torch.cuda.max_memory_allocated(device), torch.cuda.memory_allocated(device)
    if peak - held < LEAST_ACTIVATION_BYTES:
        return Line(
            name, NOT_RUN, f"a batch of {batch} takes {(peak - held) / GIB:.2f} GiB: too little to run short of"
        )
    # weights, gradients and the optimizer's moments stay; what a batch takes does not fit
    limit = int(held + LEFT_FOR_ACTIVATIONS * (peak - held))
    del whole, outcome
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(limit / torch.cuda.mem_get_info(device)[1], device)
    try:
        trainer = trainer_of(trial, model, data, encoder_dir, device, precision, state / "short")
        outcome = trainer.run()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
        torch.cuda.empty_cache()
    assert outcome is not None, "one process trains"
    status, found = outcome.progress.status, f"with {limit / GIB:.1f} GiB for a batch that takes {peak / GIB:.1f}"
    if norms:
        caught = status == "out_of_memory"
        return Line(name, OK if caught else NOT_RUN, f"{found}: {status}; batch normalization allows no micro-batches")
    if status != "completed" or trainer.micro_batch >= batch:
        return Line(name, BROKEN, f"{found}: {status}, in micro-batches of {trainer.micro_batch}",
                    "lower the batch sizes of both spaces, or set training.gradient_checkpointing")  # fmt: skip
    return Line(name, OK, f"{found}: caught, and continued in micro-batches of {trainer.micro_batch}")
