"""Batches and whole splits through a model: each image and text encoded once."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from retclip.data.in_order import in_order
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


def eye_features(
    model: "RetClip", split: Split, device: torch.device, precision: str, threads: int = 1
) -> torch.Tensor:
    """[P, D] fp32 on the CPU: RetClip.image_features of all P images of a split, in their order. threads: how many
    compute a batch each."""
    size, count = _batch_size(device), len(split.image_keys)

    def features(images: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode(), autocast(device, precision):
            return model.image_features(to_model_input(images, False, model.preprocessing)).float()

    rows = (np.arange(start, min(start + size, count)) for start in range(0, count, size))
    return torch.cat(list(_side_by_side(features, (split.images_at(some, device) for some in rows), threads))).cpu()


def pooled_texts(
    model: "RetClip",
    split: Split,
    tokenize: Tokenize,
    context_length: int,
    device: torch.device,
    precision: str,
    threads: int = 1,
) -> torch.Tensor:
    """[T, hidden] fp32 on the CPU: the pooled features of all T distinct texts of a split, in their order. threads: how
    many compute a batch each."""
    ids, mask = tokenize(split.different_texts.tolist(), context_length)
    lengths = mask.sum(1)

    def features(rows: torch.Tensor) -> torch.Tensor:
        longest = int(lengths[rows].max())
        with torch.inference_mode(), autocast(device, precision):
            return model.pooled_text(*(to_device(part[rows, :longest], device) for part in (ids, mask))).float().cpu()

    order = lengths.argsort()
    found = torch.empty(len(ids), model.bert.config.hidden_size)
    found[order] = torch.cat(list(_side_by_side(features, order.split(_batch_size(device)), threads)))
    return found


def _batch_size(device: torch.device) -> int:
    """A CPU encodes small batches about as fast, in half of the memory (tests/bench/README.md, `page_faults`)."""
    return 16 if device.type == "cpu" else BATCH_SIZE


def _side_by_side(
    work: Callable[[torch.Tensor], torch.Tensor], tasks: Iterable[torch.Tensor], threads: int
) -> Iterator[torch.Tensor]:
    """work(task) of each task in their order; each is one thread's from begin to end, so that the numbers are the same
    with any number of threads."""
    if threads == 1:
        yield from map(work, tasks)
        return
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield from in_order(pool, work, ((task,) for task in tasks), 2 * threads)
