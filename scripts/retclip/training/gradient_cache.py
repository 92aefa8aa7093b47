"""One optimizer step's forward and backward pass: each image and text encoded once, whole or in micro-batches.

Micro-batches are those of gradient caching (Gao et al. 2021, arXiv:2101.06983): the features of all of them come
first, without what a backward pass needs; the loss of the whole batch gives the gradient of every feature; then
each micro-batch is encoded once more and takes its features' gradients back through the model. Negatives, loss
and gradients are those of the whole batch, at the memory of one micro-batch and a third forward pass.
"""

from collections.abc import Callable
from typing import Any

import torch

from retclip.models.encode import Outputs


def backward(
    encode: Callable[[dict[str, Any]], Outputs],
    batches: list[dict[str, Any]],
    seeds: list[int],
    loss_of: Callable[[Outputs], torch.Tensor],
    scaled: Callable[[torch.Tensor], torch.Tensor] = lambda loss: loss,
) -> torch.Tensor:
    """Adds the gradients of `loss_of` the whole batch's outputs to the model's; returns the loss, detached.

    batches: the whole batch, or its micro-batches in order. seeds: of torch's generator before each of them is
    encoded, so that both passes over a micro-batch have the same dropout. scaled: multiplies the loss before gradients
    are taken, as fp16 needs it; the gradients are then so much larger, the returned loss is not.
    """
    if len(batches) == 1:
        torch.manual_seed(seeds[0])
        loss = loss_of(encode(batches[0]))
        scaled(loss).backward()
        return loss.detach()

    parts = []
    with torch.no_grad():
        for batch, seed in zip(batches, seeds, strict=True):
            torch.manual_seed(seed)
            parts.append(encode(batch))
    # a scale is the same in every part
    joined = {name: torch.cat([part[name] for part in parts]) if value.ndim else value
              for name, value in parts[0].items()}  # fmt: skip
    leaves = {name: value.detach().requires_grad_() for name, value in joined.items()}
    loss = loss_of(leaves)
    scaled(loss).backward()

    start, last = 0, len(batches) - 1
    for position, (batch, seed) in enumerate(zip(batches, seeds, strict=True)):
        torch.manual_seed(seed)
        outputs = encode(batch)
        end = start + len(outputs["image_features"])
        given = {}
        for name, value in outputs.items():
            gradient = leaves[name].grad
            if value.requires_grad and gradient is not None and (value.ndim or position == last):
                given[name] = gradient[start:end] if value.ndim else gradient
        torch.autograd.backward([outputs[name] for name in given], list(given.values()))
        start = end
    return loss.detach()
