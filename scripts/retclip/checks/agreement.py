"""Whether a GPU computes what the CPU computes: the config's encoders on one batch, and a small trial's loss curve."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from retclip.checks.hardware import no_gpu
from retclip.checks.line import BROKEN, OK, Line
from retclip.checks.small_trial import small_trainer
from retclip.core.trial import Trial
from retclip.loading.dataset import Split
from retclip.loading.device import autocast, choose_precision, prepare_device
from retclip.models.encode import encode_batch
from retclip.models.loss import tripartite_loss

if TYPE_CHECKING:
    from retclip.models.retclip import RetClip

CPU = torch.device("cpu")
SAMPLES = 4
# How far features of length 1 may lie apart in any value, and the loss and the norm of its gradients as a share. bf16
# has 8 bits: 4e-3 an operation, and a deep encoder adds up many.
FEATURES_APART = {"fp32": 1e-4, "bf16": 5e-2, "fp16": 1e-2}
LOSS_APART = {"fp32": 1e-4, "bf16": 5e-2, "fp16": 1e-2}
GRADIENTS_APART = {"fp32": 1e-3, "bf16": 2e-1, "fp16": 5e-2}
# Of the small trial's losses, after each of its epochs.
CURVE_APART = {"fp32": 1e-3, "bf16": 5e-2, "fp16": 2e-2}
ADVICE = "keep off this node, or set training.precision to fp32"


def check_features(name: str, build: "Callable[[], RetClip]", read: Callable[[], Split], device: torch.device) -> Line:
    """The config's encoders on the GPU, in fp32 and in the precision that a run takes, against fp32 on the CPU."""
    if device.type != "cuda":
        return no_gpu(name)
    model, split = build(), read()
    wanted = _computed(model, split, CPU, "fp32")
    on_gpu = copy.deepcopy(model).to(device)
    told, broken = [], False
    for precision in _precisions(device):
        features, loss, gradients = _computed(on_gpu, split, device, precision)
        apart = (float((features - wanted[0]).abs().max()), abs(loss / wanted[1] - 1), abs(gradients / wanted[2] - 1))
        limits = (FEATURES_APART[precision], LOSS_APART[precision], GRADIENTS_APART[precision])
        broken = broken or not all(value <= limit for value, limit in zip(apart, limits, strict=True))
        told.append(f"{precision}: features {apart[0]:.1e}, loss {apart[1]:.1e}, gradients {apart[2]:.1e} "
                    f"(at most {', '.join(f'{limit:.0e}' for limit in limits)})")  # fmt: skip
    return Line(name, BROKEN if broken else OK, f"apart from the CPU's in {'; '.join(told)}", ADVICE if broken else "")


def check_curve(name: str, trial: Trial, folder: Path, device: torch.device) -> Line:
    """The small trial on the GPU, in fp32 and in the precision that a run takes, against fp32 on the CPU."""
    if device.type != "cuda":
        return no_gpu(name)
    wanted = _losses(trial, folder, CPU, "fp32")
    told, broken = [], False
    for precision in _precisions(device):
        losses = _losses(trial, folder, device, precision)
        same_length = len(losses) == len(wanted)
        apart = float(np.abs(losses / wanted - 1).max()) if same_length else float("inf")
        broken = broken or not apart <= CURVE_APART[precision]
        told.append(f"{precision} {apart:.1e} (at most {CURVE_APART[precision]:.0e})")
    found = f"losses of {len(wanted)} epochs apart from the CPU's by {', '.join(told)}"
    return Line(name, BROKEN if broken else OK, found, ADVICE if broken else "")


def _precisions(device: torch.device) -> list[str]:
    return list(dict.fromkeys(["fp32", choose_precision("auto", device)]))


def _computed(
    model: "RetClip", split: Split, device: torch.device, precision: str
) -> tuple[torch.Tensor, float, float]:
    """All features [6 * SAMPLES, D] on the CPU, the loss, and the norm of its gradients; without dropout."""
    prepare_device(device, precision)
    model.eval()
    model.zero_grad(set_to_none=True)
    batch: dict[str, Any] = split.batch(np.arange(SAMPLES), device)
    with autocast(device, precision):
        outputs = encode_batch(model, batch, augment=False)
    left, right = batch["present"].unbind(1)
    loss = tripartite_loss(outputs, left, right)["total"]
    loss.backward()
    given = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(given)
    model.zero_grad(set_to_none=True)
    features = torch.cat([value.detach().float().cpu() for value in outputs.values() if value.ndim == 2])
    return features, float(loss.detach()), float(norm)


def _losses(trial: Trial, folder: Path, device: torch.device, precision: str) -> np.ndarray:
    trainer = small_trainer(trial, folder, device, precision, f"{device.type}-{precision}")
    outcome = trainer.run()
    assert outcome is not None, "one process trains"
    return np.array([row["train_loss"] for row in outcome.progress.history])
