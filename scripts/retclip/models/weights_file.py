"""Weights in a file: read without running any code in it, and out of whatever a training wrapped them in."""

import os
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from retclip.core.hub import first_line

# Under these keys people save a network; of a student and its teacher, the teacher is the one that is used.
WRAPPERS = ("state_dict", "model", "teacher", "model_state_dict", "model_ema", "net", "network", "student",
            "state_dict_ema", "ema")  # fmt: skip
MOST_WRAPPERS = 10  # one within the other; a file may hold itself


def read_weights(path: Path) -> dict[str, Any]:
    """The content of a safetensors or torch file. Raises ValueError where it is neither, or holds more than weights and
    plain values."""
    import pathlib

    import torch

    # what training scripts save beside weights, and what runs nothing when it is read
    harmless = [(SimpleNamespace, "argparse.Namespace"), pathlib.PosixPath, *_numpy_scalars()]
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    refuse_other_files(path)
    _refuse_unfolding(path)
    try:
        with torch.serialization.safe_globals(harmless):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path}: cannot be read as weights ({_why(error, path)}).") from None  # whatever it holds
    if not isinstance(found, dict):
        raise ValueError(f"{path}: holds a {type(found).__name__}, not a state dict.")
    return found


def state_dict_in(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """Name -> tensor: the state dict in a file's content, out of its wrappers.

    Raises ValueError where there is none, or where a value is no tensor.
    """
    state = _unwrapped(content)
    if state is None:
        raise ValueError(f"{path}: holds no state dict of an image encoder.")
    found = plain_tensors(state, path)
    # sparse or quantized ones are of no network that is built here
    return {key: value.dequantize() if value.is_quantized else value for key, value in found.items()}


def networks_in(content: dict[str, Any]) -> list[str]:
    """The wrappers of a file's content that hold a network; the first is the one that state_dict_in takes."""
    return [key for key in WRAPPERS if isinstance(content.get(key), dict) and _unwrapped(content[key]) is not None]


def _unwrapped(content: dict[str, Any]) -> dict[str, Any] | None:
    """What lies within all wrappers; None where that is no network."""
    for _ in range(MOST_WRAPPERS):
        if _tensors(content):
            return content
        content = next((content[key] for key in WRAPPERS if isinstance(content.get(key), dict)), {})
    return None


def refuse_not_finite(state: dict[str, Any], origin: str) -> None:
    """Raises ValueError where a weight is no number: every training from it would diverge."""
    for key, value in state.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise ValueError(f"{origin}: {key[:80]} holds NaN or infinity, as of a training run that diverged.")


def read_safetensors(path: Path) -> dict[str, Any]:
    """The tensors of a safetensors file. Raises ValueError where it is none, cut short, or no plain file."""
    from safetensors.torch import load_file

    refuse_other_files(path)
    try:
        return load_file(path)
    except Exception as error:  # safetensors has an error of its own; a broken header raises others
        raise ValueError(f"{path}: cannot be read as safetensors ({first_line(error)}).") from None


def refuse_other_files(path: Path) -> None:
    """Raises ValueError where a path is no plain file: nobody waits for a pipe."""
    if not os.path.isfile(path):
        raise ValueError(f"{path}: there is no such file, or it is a pipe, a device or a folder.")


def plain_tensors(state: dict[Any, Any], path: Path) -> dict[str, Any]:
    """Name -> tensor of all tensors. Raises ValueError where one would take more memory than the file has bytes: a view
    of a few numbers can have any shape."""
    import torch

    found = {str(key): value for key, value in state.items() if isinstance(value, torch.Tensor)}
    most = path.stat().st_size
    for key, value in found.items():
        if value.layout != torch.strided or value.numel() > most:
            raise ValueError(f"{path}: its tensor {key[:60]} is sparse, or larger than the file; save it whole.")
    return found


def _why(error: Exception, path: Path) -> str:
    """Why torch cannot read a file."""
    if "Unsupported global" in str(error) or "Unsupported class" in str(error):
        return "it holds objects that only code could restore; save torch.save(model.state_dict(), FILE)"
    with path.open("rb") as stream:
        start = stream.read(2)
    return first_line(error) if start in (b"PK", b"\x80\x02") else "torch.save did not write it"


def _refuse_unfolding(path: Path) -> None:
    """Raises ValueError where a torch file, which torch writes without compression, unfolds to more than it is."""
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except Exception as error:  # a broken archive raises nearly anything
        raise ValueError(f"{path}: cannot be read as weights ({first_line(error)}).") from None
    if size > path.stat().st_size:
        raise ValueError(f"{path}: unfolds to {size >> 20} MB, more than the file has; save it with torch.save.")


def _tensors(state: dict[str, Any]) -> bool:
    """Whether most of a mapping's values are tensors: a step counter beside wrapped weights may be one, too."""
    import torch

    return sum(isinstance(value, torch.Tensor) for value in state.values()) * 2 > len(state)


def _numpy_scalars() -> list[Any]:
    import numpy as np

    kinds = [type(np.dtype(kind)) for kind in ("f8", "f4", "i8", "i4", "b1")]
    makers = [np.float64(0).__reduce__()[0], np.zeros(1).__reduce__()[0]]
    return [np.dtype, np.ndarray, *makers, *kinds]
