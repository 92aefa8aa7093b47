"""Batches and whole splits through a model: each image and text encoded once."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from retclip.loading.augmentation import to_model_input
from retclip.loading.dataset import Split
from retclip.loading.device import autocast, to_device
from retclip.models.text_encoder import Tokenize

if TYPE_CHECKING:
    from retclip.models.retclip import RetClip

Outputs = dict[str, torch.Tensor]

BATCH_SIZE = 64


class OnBatches(torch.nn.Module):
    """RetClip behind one call on a batch of Split.batch, for what wraps a module's call."""

    def __init__(self, model: "RetClip") -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: dict[str, Any], augment: bool) -> Outputs:
        return encode_batch(self.model, batch, augment)


def encode_batch(model: "RetClip", batch: dict[str, Any], augment: bool) -> Outputs:
    """The outputs of RetClip.forward for a batch of Split.batch. A frozen encoder runs without a graph, and not at all
    where the batch holds its cached features."""
    if "eye_features" in batch:
        left, right = model.project(batch["eye_features"]).unbind()
    else:
        images = to_model_input(batch["images"], augment, model.preprocessing)
        left, right = model.visual(images)[batch["eyes"]].unbind()
    if "tokens" in batch:
        return model.outputs(left, right, batch["tokens"])
    pooled = torch.cat([model.pooled_text(ids, mask) for ids, mask in batch["texts"]])
    return model.outputs(left, right, {view: pooled[rows] for view, rows in batch["text_rows"].items()})


def eyes_of(model: "RetClip", batch: dict[str, Any], augment: bool) -> torch.Tensor:
    """[2, B, D], RetClip.image_features of the left and the right eyes of a batch, cached or not."""
    if "eye_features" in batch:
        cached: torch.Tensor = batch["eye_features"]
        return cached
    images = to_model_input(batch["images"], augment, model.preprocessing)
    return model.image_features(images)[batch["eyes"]]


def has_batch_norm(model: torch.nn.Module) -> bool:
    """Whether a micro-batch would be normalized by its own statistics: a BatchNorm that trains."""
    norms = (part for part in model.modules() if isinstance(part, torch.nn.modules.batchnorm._BatchNorm))
    return any(norm.training for norm in norms)


@torch.inference_mode()
def eye_features(model: "RetClip", split: Split, device: torch.device, precision: str) -> torch.Tensor:
    """[P, D] fp32 on the CPU: RetClip.image_features of all P images of a split, in their order."""
    parts = []
    for start in range(0, len(split.image_keys), BATCH_SIZE):
        rows = np.arange(start, min(start + BATCH_SIZE, len(split.image_keys)))
        with autocast(device, precision):
            images = to_model_input(split.images_at(rows, device), False, model.preprocessing)
            parts.append(model.image_features(images).float())
    return torch.cat(parts).cpu()


@torch.inference_mode()
def pooled_texts(
    model: "RetClip", split: Split, tokenize: Tokenize, context_length: int, device: torch.device, precision: str
) -> torch.Tensor:
    """[T, hidden] fp32 on the CPU: the pooled features of all T distinct texts of a split, in their order."""
    ids, mask = tokenize(split.different_texts.tolist(), context_length)
    lengths = mask.sum(1)
    found = torch.empty(len(ids), model.bert.config.hidden_size)
    for rows in lengths.argsort().split(BATCH_SIZE):
        longest = int(lengths[rows].max())
        with autocast(device, precision):
            pooled = model.pooled_text(*(to_device(part[rows, :longest], device) for part in (ids, mask)))
        found[rows] = pooled.float().cpu()
    return found
