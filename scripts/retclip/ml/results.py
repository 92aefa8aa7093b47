"""What metrics.json says of a training: its scores, what it cost, and what it ran on; the last of evaluations, too."""

import os
import platform
from importlib.metadata import version
from typing import Any

import torch

from retclip.core.commit import commit
from retclip.ml.device import peak_memory_bytes
from retclip.ml.distributed import world_size
from retclip.ml.trainer import Outcome

PACKAGES = ("torch", "open_clip_torch", "timm", "transformers", "numpy")


def metrics_document(
    trial: dict[str, Any],
    outcome: Outcome,
    device: torch.device,
    precision: str,
    samples: int,
    data: dict[str, str],
    code: str,
) -> dict[str, Any]:
    """The content of metrics.json. data: content hash per split; code: hash of the training code."""
    progress = outcome.progress
    seen = progress.epoch * trial["budget"]["steps_per_epoch"] * trial["hyperparameters"]["batch_size"]
    return {
        "trial": trial,
        "trial_sha256": trial["sha256"],
        "status": progress.status,
        "train_loss": progress.history[-1]["train_loss"] if progress.history else None,
        "val": outcome.val,
        "best_epoch": progress.best_epoch,
        "epochs": progress.epoch,
        "steps": progress.epoch * trial["budget"]["steps_per_epoch"],
        "train_samples": samples,
        "samples_per_second": seen / progress.train_seconds if progress.train_seconds else None,
        "wall_seconds": progress.device_seconds,
        "device_seconds": progress.device_seconds * world_size(),
        "peak_memory_bytes": peak_memory_bytes(device),
        "utilization": _utilization(device),
        **ran_on(device, precision, code),
        "data": data,
        "attempts": outcome.attempts,
        "lost_seconds": outcome.lost_seconds * world_size(),
        "job": outcome.job,
        "resumed_from": outcome.resumed_from_epoch,
    }


def ran_on(device: torch.device, precision: str, code: str) -> dict[str, Any]:
    """What a result was made with: device, precision, versions, code, commit and machine. code: its entry's hash."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
        "precision": precision,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "code": code,
        "commit": commit(),
        "machine": {"system": platform.platform(), "cores": os.cpu_count(), "threads": torch.get_num_threads()},
    }


def _utilization(device: torch.device) -> float | None:
    """Share of the last sampling period in which the GPU was busy; None on a CPU or without NVML."""
    if device.type != "cuda":
        return None
    try:
        return torch.cuda.utilization(device) / 100
    except (ModuleNotFoundError, RuntimeError):
        return None
