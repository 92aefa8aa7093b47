"""The content of metrics.json: scores, cost, and hardware of a training run."""

from importlib.util import find_spec

import torch

from retclip.core.logs import nice_to_know
from retclip.core.trial import Trial
from retclip.loading.device import peak_memory_bytes
from retclip.metrics.metrics_document import Metrics
from retclip.models.provenance import ran_on
from retclip.training.distributed import world_size
from retclip.training.progress import Outcome


def training_metrics(
    trial: Trial,
    outcome: Outcome,
    device: torch.device,
    precision: str,
    samples: int,
    data: dict[str, str],
    code: str,
) -> Metrics:
    """What metrics.json holds. data: content hash per split; code: hash of the training code."""
    progress = outcome.progress
    seen = progress.epoch * trial.budget.steps_per_epoch * trial.hyperparameters["batch_size"]
    return Metrics(
        trial=trial,
        trial_sha256=trial.sha256,
        status=progress.status,
        train_loss=progress.history[-1]["train_loss"] if progress.history else None,
        val=outcome.val,
        best_epoch=progress.best_epoch,
        epochs=progress.epoch,
        steps=progress.epoch * trial.budget.steps_per_epoch,
        train_samples=samples,
        samples_per_second=seen / progress.train_seconds if progress.train_seconds else None,
        wall_seconds=progress.device_seconds,
        device_seconds=progress.device_seconds * world_size(),
        peak_memory_bytes=nice_to_know("peak memory", lambda: peak_memory_bytes(device), None),
        utilization=utilization(device),
        **ran_on(device, precision, code),
        data=data,
        attempts=outcome.attempts,
        lost_seconds=outcome.lost_seconds * world_size(),
        job=outcome.job,
        resumed_from=outcome.resumed_from_epoch,
    )


def utilization(device: torch.device) -> float | None:
    """Share of the last sampling period in which the GPU was busy; None on a CPU or without NVML."""
    if device.type != "cuda" or find_spec("pynvml") is None:
        return None
    return nice_to_know("how busy the GPU was", lambda: torch.cuda.utilization(device) / 100, None)
