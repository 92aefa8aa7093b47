"""What metrics.json says of a training: its scores, what it cost, and what it ran on; the last of evaluations, too."""

import os
import platform
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import torch

from retclip.core.commit import commit
from retclip.core.gpus import VISIBLE
from retclip.core.logs import nice_to_know
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
        "peak_memory_bytes": nice_to_know("peak memory", lambda: peak_memory_bytes(device), None),
        "utilization": utilization(device),
        **ran_on(device, precision, code),
        "data": data,
        "attempts": outcome.attempts,
        "lost_seconds": outcome.lost_seconds * world_size(),
        "job": outcome.job,
        "resumed_from": outcome.resumed_from_epoch,
    }


def ran_on(device: torch.device, precision: str, code: str) -> dict[str, Any]:
    """What a result was made with: device, GPUs, precision, versions, code, commit and machine. code: its entry's hash.

    Nothing here can fail: what is not known is null.
    """
    versions = {name: nice_to_know(f"the version of {name}", partial(version, name), None) for name in PACKAGES}
    return {
        "device": nice_to_know("the device's name", lambda: _name(device), str(device)),
        "gpus": _gpus(device),
        "precision": precision,
        "versions": {"python": platform.python_version(), **versions},
        "code": code,
        "commit": nice_to_know("the commit", commit, None),
        "machine": {"system": platform.platform(), "cores": os.cpu_count(), "threads": torch.get_num_threads()},
    }


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu"


def _gpus(device: torch.device) -> list[str]:
    """All that worked on it together, as CUDA_VISIBLE_DEVICES names what was leased; none on a CPU."""
    if device.type != "cuda":
        return []
    return os.environ[VISIBLE].split(",") if os.environ.get(VISIBLE) else [str(device)]


def utilization(device: torch.device) -> float | None:
    """Share of the last sampling period in which the GPU was busy; None on a CPU or without NVML."""
    if device.type != "cuda" or find_spec("pynvml") is None:
        return None
    return nice_to_know("how busy the GPU was", lambda: torch.cuda.utilization(device) / 100, None)
