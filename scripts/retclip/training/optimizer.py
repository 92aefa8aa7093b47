"""Optimizers and learning-rate schedules, as in CLIP training."""

import math
from typing import Any

import torch

from retclip.models.blocks import distances

# CLIP's second momentum and epsilon for transformers (Radford et al. 2021, table 18).
BETAS = (0.9, 0.98)
EPSILON = 1e-6
SGD_MOMENTUM = 0.9
# Of the logit scales, where the trial's is lower: at 1e-5 a scale moves by under 1 % in a run, and whether it may learn
# makes no difference. CLIP trained its own at 5e-4.
SCALE_LEARNING_RATE = 1e-3


class DecoupledSGD(torch.optim.SGD):
    """SGD whose weight decay goes past the gradient and its momentum, as AdamW's does (Loshchilov and Hutter 2019)."""

    def step(self, closure: Any = None) -> Any:
        """One step. The decay is that of the layer's learning rate, without the rest of the group's factor."""
        decays = [group["weight_decay"] for group in self.param_groups]
        with torch.no_grad():
            for group, decay in zip(self.param_groups, decays, strict=True):
                if decay:
                    rate = group["lr"] / group["factor"] * group["layer"]
                    torch._foreach_mul_(group["params"], 1 - rate * decay)
                group["weight_decay"] = 0.0
        try:
            return super().step(closure)
        finally:
            for group, decay in zip(self.param_groups, decays, strict=True):
                group["weight_decay"] = decay


def build_optimizer(model: torch.nn.Module, hyperparameters: dict[str, Any]) -> torch.optim.Optimizer:
    """The optimizer over all trainable parameters; biases, norms and logit scales get no weight decay.

    hyperparameters: those of the trial. Weight decay is decoupled from the gradient in each choice: coupled, a decay of
    0.2 outweighs a gradient that was clipped to 1. So adam is adamw. `factor` of a group: its learning rate in those of
    the trial, see set_learning_rate; `layer`: the share of it that layer_decay leaves. Raises ValueError where layers
    decay of an encoder that has none.
    """
    learning_rate, is_sgd = hyperparameters["learning_rate"], hyperparameters["optimizer"] == "sgd"
    trainable = [(name, one) for name, one in model.named_parameters() if one.requires_grad]
    # where the trial's own learning rate is as high, scales are vectors like any other
    slow = learning_rate < SCALE_LEARNING_RATE
    scales = [one for name, one in trainable if slow and name.rsplit(".", 1)[-1].startswith("logit_scale")]
    factor = _sgd_factor(trainable) if is_sgd else 1.0
    groups: list[dict[str, Any]] = [
        {"params": params, "weight_decay": decay, "factor": factor * layer, "layer": layer}
        for layer, layers in _layers(model, trainable, hyperparameters["layer_decay"]).items()
        for params, decay in (
            ([one for one in layers if one.ndim >= 2], hyperparameters["weight_decay"]),
            ([one for one in layers if one.ndim < 2 and not any(one is scale for scale in scales)], 0.0),
        )
        if params or layer == 1.0
    ]
    if scales:
        groups.append(
            {"params": scales, "weight_decay": 0.0, "factor": SCALE_LEARNING_RATE / learning_rate, "layer": 1.0}
        )
    groups = [{**group, "lr": learning_rate * group["factor"]} for group in groups]
    match hyperparameters["optimizer"]:
        case "adamw" | "adam":
            return torch.optim.AdamW(groups, lr=learning_rate, betas=BETAS, eps=EPSILON, fused=True)
        case "sgd":
            # not fused: where fp16 leaves the first step out, torch's fused kernel takes uninitialized momentum
            return DecoupledSGD(groups, lr=learning_rate, momentum=SGD_MOMENTUM)
    raise AssertionError(hyperparameters["optimizer"])


def _layers(
    model: Any, trainable: list[tuple[str, torch.nn.Parameter]], decay: float
) -> dict[float, list[torch.nn.Parameter]]:
    """Share of the learning rate -> the parameters that get it, the head's first: decay to the power of the distance
    from the head (Clark et al. 2020; Bao et al. 2022)."""
    distance = distances(model) if decay != 1.0 else {}
    found: dict[float, list[torch.nn.Parameter]] = {1.0: []}
    for name, one in trainable:
        found.setdefault(decay ** distance.get(name, 0), []).append(one)
    return dict(sorted(found.items(), reverse=True))


def _sgd_factor(trainable: list[tuple[str, torch.nn.Parameter]]) -> float:
    """With it SGD's learning rate means what Adam's means: a gradient of norm 1, which momentum adds up, moves N
    weights as far as if each of them moved by the learning rate, by its product with the root of N."""
    return (1 - SGD_MOMENTUM) * math.sqrt(sum(one.numel() for _, one in trainable))


def restore(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Takes over a saved state_dict, each tensor of it laid out in memory as its weights are: fused AdamW goes through
    weights and moments as they lie, and would pair the wrong ones."""
    optimizer.load_state_dict(state)
    for weights, kept in optimizer.state.items():
        for name, value in kept.items():
            if isinstance(value, torch.Tensor) and value.shape == weights.shape and value.stride() != weights.stride():
                kept[name] = torch.empty_like(weights, dtype=value.dtype).copy_(value)


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
    """Gives every parameter group the learning rate, times the group's factor."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["factor"]


def learning_rate_of(optimizer: torch.optim.Optimizer) -> float:
    """The learning rate that was set last, without a factor."""
    group = optimizer.param_groups[0]
    return group["lr"] / group["factor"]
