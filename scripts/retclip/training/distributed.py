"""Several processes, one for each GPU, that share each batch; torchrun starts them. One process is the usual case.

Every process has the whole model and its part of the batch. The features of all parts are gathered, so that
each process knows the loss of the whole batch with all its negatives; the gradients are then those of a
single process with that batch. Importing this module does not import torch.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import torch

Value = TypeVar("Value")

# Others wait for the first process while it evaluates, or while an orphan holds the training's lock.
WAIT_LIMIT = timedelta(days=2)


def rank() -> int:
    """Number of this process, from 0; the first one alone evaluates and writes."""
    return int(os.environ.get("RANK", 0))


def world_size() -> int:
    """Number of processes."""
    return int(os.environ.get("WORLD_SIZE", 1))


@contextmanager
def joined() -> Iterator[None]:
    """The processes that torchrun started know each other inside; nothing happens where there is one."""
    if world_size() == 1:
        yield
        return
    import torch
    from torch import distributed

    # what steers the training goes over gloo, so that it never waits for the GPU
    distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=WAIT_LIMIT)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def from_first(value: Value) -> Value:
    """The first process's value, in all of them; they wait for it here."""
    if world_size() == 1:
        return value
    from torch import distributed

    values = [value]
    distributed.broadcast_object_list(values)
    return values[0]


def in_any(flag: bool) -> bool:
    """Whether the flag is set in at least one process."""
    if world_size() == 1:
        return flag
    import torch
    from torch import distributed

    shared = torch.tensor(int(flag))
    distributed.all_reduce(shared, distributed.ReduceOp.MAX)
    return bool(shared)


def share(indices: "np.ndarray") -> "np.ndarray":
    """This process's part of a batch, in the order of the processes."""
    size = len(indices) // world_size()
    return indices[rank() * size : (rank() + 1) * size]


def parallel(model: "torch.nn.Module", batch_size: int, device: "torch.device") -> "torch.nn.Module":
    """The model, so wrapped that its gradients are the mean over all processes.

    Raises ValueError where the batch cannot be shared evenly, or where statistics of a batch cannot be.
    """
    if world_size() == 1:
        return model
    import torch
    from timm.layers import convert_sync_batchnorm

    from retclip.models.encode import has_batch_norm

    if batch_size % world_size():
        raise ValueError(
            f"a batch of {batch_size} cannot be shared evenly by {world_size()} GPUs: "
            "make batch_size a multiple of training.gpus."
        )
    batch_norm = has_batch_norm(model)
    if batch_norm and device.type == "cpu":
        raise ValueError(
            "this image encoder has batch normalization, whose statistics several processes can share on GPUs only: "
            "set training.gpus to 1, or take an encoder with layer normalization."
        )
    if batch_norm:
        # timm's, not torch's: that one drops the activation that timm's BatchNormAct2d has inside
        model = convert_sync_batchnorm(model)
    devices = [device] if device.type == "cuda" else None
    return torch.nn.parallel.DistributedDataParallel(model, device_ids=devices)


def gather(outputs: "dict[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    """The model's outputs with the rows of all processes, in their order; the scales are common already."""
    if world_size() == 1:
        return outputs
    return {name: _gather_rows(value) if value.ndim == 2 else value for name, value in outputs.items()}


def _gather_rows(rows: "torch.Tensor") -> "torch.Tensor":
    """[B / processes, D] -> [B, D]; gradients flow into this process's own rows.

    Each process computes the whole batch's loss, and the mean over processes is taken of its gradients: so
    one's own rows count times the number of processes, and what all have in common (the scales) counts once.
    """
    import torch
    from torch import distributed

    parts = [torch.empty_like(rows) for _ in range(world_size())]
    distributed.all_gather(parts, rows.detach().contiguous())
    parts[rank()] = rows + (world_size() - 1) * (rows - rows.detach())
    return torch.cat(parts)
