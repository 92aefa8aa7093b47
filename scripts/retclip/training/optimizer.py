"""Optimizers and learning-rate schedules, as in CLIP training."""

import math
from typing import Any

import torch

# CLIP's second momentum and epsilon for transformers (Radford et al. 2021, table 18).
BETAS = (0.9, 0.98)
EPSILON = 1e-6
SGD_MOMENTUM = 0.9


def build_optimizer(model: torch.nn.Module, hyperparameters: dict[str, Any]) -> torch.optim.Optimizer:
    """The optimizer over all trainable parameters; biases, norms and logit scales get no weight decay.

    hyperparameters: those of the trial.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {
            "params": [parameter for parameter in trainable if parameter.ndim >= 2],
            "weight_decay": hyperparameters["weight_decay"],
        },
        {"params": [parameter for parameter in trainable if parameter.ndim < 2], "weight_decay": 0.0},
    ]
    learning_rate = hyperparameters["learning_rate"]
    match hyperparameters["optimizer"]:
        case "adamw":
            return torch.optim.AdamW(groups, lr=learning_rate, betas=BETAS, eps=EPSILON, fused=True)
        case "adam":
            return torch.optim.Adam(groups, lr=learning_rate, betas=BETAS, eps=EPSILON, fused=True)
        case "sgd":
            # not fused: where fp16 leaves the first step out, torch's fused kernel takes uninitialized momentum
            return torch.optim.SGD(groups, lr=learning_rate, momentum=SGD_MOMENTUM)
    raise AssertionError(hyperparameters["optimizer"])


def learning_rate_at(step: int, total_steps: int, hyperparameters: dict[str, Any]) -> float:
    """Learning rate of optimizer step `step` (from 0): a linear warm-up to learning_rate, then the schedule.

    cosine: learning_rate * (1 + cos(pi t)) / 2 and linear: learning_rate * (1 - t), with t the share of the steps
    after the warm-up that are done.
    """
    learning_rate, warmup = hyperparameters["learning_rate"], hyperparameters["warmup_steps"]
    if step < warmup:
        return learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, total_steps - warmup)
    match hyperparameters["lr_scheduler"]:
        case "cosine":
            return learning_rate * (1 + math.cos(math.pi * done)) / 2
        case "linear":
            return learning_rate * (1 - done)
        case "constant":
            return learning_rate
    raise AssertionError(hyperparameters["lr_scheduler"])


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Gives every parameter group the same learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
