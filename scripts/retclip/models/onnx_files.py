"""Both encoders with their heads as ONNX files, for viewers and other programs without PyTorch; checked as written."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from retclip.models.export import load_exported, read_exported
from retclip.models.retclip import RetClip

VIEWS = ("patient", "left", "right")
PACKAGES = ("onnx", "onnxruntime", "onnxscript")
# Features have length 1; what a runtime may round otherwise than PyTorch.
TOLERANCE = 1e-4
OPSET = 18


class _Images(nn.Module):
    """RGB in [0, 1], [B, 3, S, S] of both eyes -> a feature of each view [B, D]."""

    def __init__(self, model: RetClip) -> None:
        super().__init__()
        self.model = model
        for name in ("mean", "std"):
            values = torch.tensor(getattr(model.preprocessing, name)).view(3, 1, 1)
            self.register_buffer(name, values)

    def forward(self, left_eye: torch.Tensor, right_eye: torch.Tensor) -> tuple[torch.Tensor, ...]:
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        # one after the other: what splits a batch of both eyes has no form in ONNX
        eyes = [self.model.encode_image((eye - mean) / std) for eye in (left_eye, right_eye)]
        return self.model.features_of_eyes(*eyes)


class _Texts(nn.Module):
    """Ids and mask [B, L] -> a feature of each view [B, D]."""

    def __init__(self, model: RetClip) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
        pooled = self.model.pooled_text(input_ids, attention_mask)
        return tuple(self.model.text_feature(pooled, view) for view in VIEWS)


def export_onnx(model_folder: Path, folder: Path) -> float:
    """Writes image.onnx and text.onnx; returns by how much a feature differs from PyTorch's at most.

    image: left_eye, right_eye, a single eye twice; text: input_ids, attention_mask of the folder's tokenizer. Both give
    patient, left and right. Raises ValueError where packages lack, or features differ by TOLERANCE or more.
    """
    _need_packages()
    model = load_exported(model_folder)
    size, length = read_exported(model_folder, "model.json")["image_size"], _length(model_folder)
    generator = torch.Generator().manual_seed(0)

    def images(patients: int) -> tuple[torch.Tensor, ...]:
        return tuple(torch.rand(2, patients, 3, size, size, generator=generator).unbind())

    def texts(count: int) -> tuple[torch.Tensor, ...]:
        ids = torch.randint(0, model.bert.config.vocab_size, (count, max(2, length - count)), generator=generator)
        mask = torch.ones_like(ids)
        mask[-1, -1] = 0  # one text that is shorter than the others
        return ids, mask

    free = torch.export.Dim.DYNAMIC
    worst = 0.0
    for name, module, inputs, shapes in (
        ("image", _Images(model), images, ({0: free}, {0: free})),
        ("text", _Texts(model), texts, ({0: free, 1: free}, {0: free, 1: free})),
    ):
        _write(folder / f"{name}.onnx", module.eval(), inputs(2), shapes)
        worst = max(worst, *(_difference(folder / f"{name}.onnx", module, inputs(count)) for count in (1, 2, 3)))
    if worst >= TOLERANCE:
        raise ValueError(f"{model_folder}: features by ONNX differ by {worst:.1e} from PyTorch's, so none were kept.")
    return worst


def _need_packages() -> None:
    import importlib

    for name in PACKAGES:
        try:
            importlib.import_module(name)
        except ImportError:
            raise ValueError(
                f"--onnx needs the package {name}, which is not part of the environment; in a copy of it: "
                f"pip install {' '.join(PACKAGES)}."
            ) from None


def _length(model_folder: Path) -> int:
    return int(read_exported(model_folder, "preprocessing.json")["context_length"])


def _write(path: Path, module: nn.Module, inputs: tuple[torch.Tensor, ...], shapes: Any) -> None:
    with torch.no_grad():
        torch.onnx.export(
            module,
            inputs,
            path,
            input_names=_names(module),
            output_names=list(VIEWS),
            dynamic_shapes=shapes,
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )


def _names(module: nn.Module) -> list[str]:
    return ["left_eye", "right_eye"] if isinstance(module, _Images) else ["input_ids", "attention_mask"]


def _difference(path: Path, module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> float:
    """The largest of any feature, run by ONNX Runtime from the file."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(list(VIEWS), dict(zip(_names(module), (one.numpy() for one in inputs), strict=True)))
    with torch.no_grad():
        wanted = module(*inputs)
    return max(float(np.abs(one - known.numpy()).max()) for one, known in zip(found, wanted, strict=True))
