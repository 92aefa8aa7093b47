"""What a result was made with: device, GPUs, precision, versions, code, commit and machine."""

import os
import platform
from functools import partial
from importlib.metadata import version
from typing import Any

import torch

from retclip.core.gpus import VISIBLE
from retclip.core.logs import nice_to_know
from retclip.core.provenance import commit

PACKAGES = ("torch", "open_clip_torch", "timm", "transformers", "numpy")


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
