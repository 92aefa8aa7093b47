"""Weights in a file: read without running any code in it, and out of whatever a training wrapped them in."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from retclip.core.hub import first_line

# Under these keys people save a network; of a student and its teacher, the teacher is the one that is used.
WRAPPERS = ("state_dict", "model", "teacher", "model_state_dict", "model_ema", "net", "network", "student")


def read_weights(path: Path) -> dict[str, Any]:
    """The content of a safetensors or torch file. Raises ValueError where it is neither, or holds more than weights and
    plain values."""
    import pathlib
    import pickle

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    # what training scripts save beside weights, and what runs nothing when it is read
    harmless = [(SimpleNamespace, "argparse.Namespace"), pathlib.PosixPath, *_numpy_scalars()]
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals(harmless):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path}: cannot be read as weights ({first_line(error)}).") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path}: holds a {type(found).__name__}, not a state dict.")
    return found


def state_dict_in(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """Name -> tensor: the state dict in a file's content, out of its wrappers.

    Raises ValueError where there is none, or where a value is no tensor.
    """
    import torch

    state = content
    while not _tensors(state):
        inner = next((state[key] for key in WRAPPERS if isinstance(state.get(key), dict)), None)
        if inner is None:
            raise ValueError(f"{path}: holds no state dict of an image encoder.")
        state = inner
    found = {str(key): value for key, value in state.items() if isinstance(value, torch.Tensor)}
    # sparse or quantized ones are of no network that is built here
    return {key: value.dequantize() if value.is_quantized else value for key, value in found.items()}


def _tensors(state: dict[str, Any]) -> bool:
    """Whether most of a mapping's values are tensors: a step counter beside wrapped weights may be one, too."""
    import torch

    return sum(isinstance(value, torch.Tensor) for value in state.values()) * 2 > len(state)


def _numpy_scalars() -> list[Any]:
    import numpy as np

    kinds = [type(np.dtype(kind)) for kind in ("f8", "f4", "i8", "i4", "b1")]
    makers = [np.float64(0).__reduce__()[0], np.zeros(1).__reduce__()[0]]
    return [np.dtype, np.ndarray, *makers, *kinds]
