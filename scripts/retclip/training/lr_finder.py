"""The learning-rate range test (Smith 2015), run by torch-lr-finder on the real three-part loss."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from retclip.core.trial import Trial
from retclip.loading.dataset import Split, epoch_batches
from retclip.loading.device import autocast, grad_scaler
from retclip.models.encode import encode_batch
from retclip.models.loss import tripartite_loss
from retclip.training.lr_curve import smoothed, suggest
from retclip.training.optimizer import build_optimizer

if TYPE_CHECKING:
    import pandas as pd

    from retclip.models.retclip import RetClip

SMOOTHING = 0.05  # share of the new loss in the running mean
DIVERGENCE_FACTOR = 5  # the test ends where the loss is this many times its best


class _Wrapped(torch.nn.Module):
    """RetClip behind the one-argument call that torch-lr-finder makes."""

    def __init__(self, model: "RetClip", augment: bool, precision: str) -> None:
        super().__init__()
        self.model, self.augment, self.precision = model, augment, precision

    def forward(self, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        self.model.clamp_logit_scales()
        with autocast(self.model.logit_scale.device, self.precision):
            return encode_batch(self.model, batch, self.augment)


class _Batches:
    """A loader in torch-lr-finder's sense: (inputs, labels) pairs; the labels say which eyes are seen."""

    def __init__(self, split: Split, batch_size: int, seed: int, device: torch.device) -> None:
        self.split, self.batch_size, self.seed, self.device = split, batch_size, seed, device
        self.epoch = 0

    def __iter__(self) -> Iterator[tuple[dict[str, Any], torch.Tensor]]:
        for indices in epoch_batches(len(self.split), self.batch_size, self.seed, self.epoch):
            batch = self.split.batch(indices, self.device)
            yield batch, batch["present"]
        self.epoch += 1


def range_test(
    trial: Trial,
    model: "RetClip",
    train: Split,
    device: torch.device,
    precision: str,
    end_lr: float,
    num_iter: int,
) -> tuple["pd.DataFrame", float | None]:
    """Raises the learning rate exponentially from the trial's to `end_lr`; returns the curve and a suggestion.

    The curve has the columns learning_rate, loss and smoothed_loss, one row a step. The suggestion is the rate at the
    steepest fall (lr_curve); None where the loss does not fall, or broke within a few steps. Gradients are clipped as
    in training.
    """
    import pandas as pd

    os.environ.setdefault("TQDM_DISABLE", "1")  # a bar in a log file is a page of control characters
    from torch_lr_finder import LRFinder, TrainDataLoaderIter

    torch.manual_seed(trial.seed)
    hyperparameters = trial.hyperparameters
    losses: list[float] = []

    def criterion(outputs: dict[str, torch.Tensor], present: torch.Tensor) -> torch.Tensor:
        left, right = present.unbind(1)
        loss = tripartite_loss(outputs, left, right)["total"]
        losses.append(loss.item())
        return loss

    def before_step(*_: Any) -> None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), hyperparameters["max_grad_norm"])
        for group in optimizer.param_groups:
            if group["layer"] != 1.0:  # the finder raises the rate of each group to the same end
                group["lr"] = optimizer.param_groups[0]["lr"] * group["layer"]

    wrapped = _Wrapped(model.to(device), hyperparameters["augment"], precision)
    # the wrapped model knows in which precision which part computes
    scaled = {"amp_backend": "torch", "amp_config": {"device_type": device.type, "enabled": False},
              "grad_scaler": grad_scaler(device, precision)}  # fmt: skip
    optimizer = build_optimizer(model, hyperparameters)
    # as in training: after the scaler has freed the gradients of its factor, before the step
    optimizer.register_step_pre_hook(before_step)
    factor = optimizer.param_groups[0]["factor"]
    finder = LRFinder(wrapped, optimizer, criterion, device=device, **scaled)
    batches = _Batches(train, hyperparameters["batch_size"], trial.seed, device)
    finder.range_test(
        TrainDataLoaderIter(batches),
        end_lr=end_lr * factor,
        num_iter=num_iter,
        smooth_f=SMOOTHING,
        diverge_th=DIVERGENCE_FACTOR,
    )
    curve = pd.DataFrame(
        {"learning_rate": np.array(finder.history["lr"]) / factor, "loss": losses[: len(finder.history["lr"])]}
    )
    curve["smoothed_loss"] = smoothed(curve["loss"].to_numpy())
    return curve, suggest(curve["learning_rate"].to_numpy(), curve["loss"].to_numpy())
