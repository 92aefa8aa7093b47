"""How fast the config's encoders train here: samples a second, and the share of what the device multiplies at best."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from retclip.checks.line import NOT_RUN, OK, SLOW, Line
from retclip.core.trial import Trial
from retclip.loading.dataset import Split
from retclip.loading.device import HALVES, autocast, grad_scaler, is_out_of_memory, prepare_device
from retclip.models.encode import encode_batch
from retclip.models.loss import tripartite_loss
from retclip.training.gradient_cache import backward
from retclip.training.optimizer import build_optimizer

if TYPE_CHECKING:
    from retclip.models.retclip import RetClip

BATCHES = (64, 256)
# A first step of so few samples tells whether larger ones would take longer than anyone waits here.
FIRST_BATCH, MOST_STEP_SECONDS = 4, 8.0
SECONDS, FEWEST_STEPS = 4.0, 2
MATMUL_SIDE, MATMULS = {"cuda": 8192, "cpu": 1024}, {"cuda": 20, "cpu": 3}
# Below this share of its peak a GPU waits for something; steps with less arithmetic than that cannot fill one.
LEAST_SHARE, FILLS_A_GPU = 0.1, 1e12


@dataclass(frozen=True)
class Speed:
    """peak: operations a second of large products. samples_per_second: batch size -> measured; share: of the peak.
    missing: batch size -> why it was not measured. sample_flops: operations of a step for each sample."""

    peak: float
    samples_per_second: dict[int, float]
    share: dict[int, float]
    missing: dict[int, str]
    sample_flops: float


def measure(trial: Trial, model: "RetClip", split: Split, device: torch.device, precision: str) -> Speed:
    """Trains the config's model on seeded data, in batches of BATCHES where a step takes no longer than
    MOST_STEP_SECONDS, else in one of FIRST_BATCH."""
    prepare_device(device, precision)
    step = _stepping(trial, model.to(device), split, device, precision)
    split.cache_on_device(device)
    peak = matmul_peak(device, precision)
    speeds: dict[int, float] = {}
    missing: dict[int, str] = {}
    with FlopCounterMode(display=False) as counter:  # and the step that warms up
        step(FIRST_BATCH)
    flops = counter.get_total_flops() / FIRST_BATCH
    first = FIRST_BATCH / _rate(step, FIRST_BATCH, 1, 0.0, device)
    for batch in BATCHES:
        expected = first * batch / FIRST_BATCH
        if expected > MOST_STEP_SECONDS:
            missing[batch] = f"a step would take about {expected:.0f} s"
            continue
        try:
            step(batch)
            speeds[batch] = _rate(step, batch, FEWEST_STEPS, SECONDS, device)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            missing[batch] = "out of memory"
    if not speeds:
        speeds[FIRST_BATCH] = FIRST_BATCH / first
    share = {batch: speeds[batch] * flops / peak for batch in speeds}
    return Speed(peak, speeds, share, missing, flops)


def check_speed(name: str, speed: Speed, batch: int, device: torch.device) -> Line:
    """One batch size of what was measured."""
    if batch not in speed.samples_per_second:
        why = speed.missing[batch]
        if why == "out of memory":
            return Line(name, SLOW, f"a batch of {batch} is out of memory: it would train in micro-batches",
                        "set training.gradient_checkpointing, or leave this batch size out of both spaces")  # fmt: skip
        return Line(name, NOT_RUN, f"{why}, at the speed of a batch of {FIRST_BATCH}")
    share = speed.share[batch]
    found = (f"{speed.samples_per_second[batch]:,.0f} samples a second, {share:.0%} of the {speed.peak / 1e12:.3g} "
             "TFLOP/s of large products")  # fmt: skip
    if device.type == "cuda" and share < LEAST_SHARE and speed.sample_flops * batch > FILLS_A_GPU:
        return Line(name, SLOW, found, "see nvidia-smi -q -d PERFORMANCE, and give the job more CPU cores")
    return Line(name, OK, found)


def matmul_peak(device: torch.device, precision: str) -> float:
    """Operations a second of large products in this precision, the fastest of three runs."""
    side, count = MATMUL_SIDE[device.type], MATMULS[device.type]
    left, right = (torch.randn(side, side, device=device).to(HALVES.get(precision, torch.float32)) for _ in range(2))
    best = 0.0
    for _ in range(4):
        wait_for(device)
        started = time.monotonic()
        for _ in range(count):
            left @ right
        wait_for(device)
        best = max(best, 2 * side**3 * count / (time.monotonic() - started))
    return best


def _stepping(
    trial: Trial, model: "RetClip", split: Split, device: torch.device, precision: str
) -> Callable[[int], None]:
    """step(batch size): one optimizer step as a trainer takes it, on other samples each time."""
    hyperparameters = trial.hyperparameters
    optimizer, scaler = build_optimizer(model, hyperparameters), grad_scaler(device, precision)
    order, taken = np.random.default_rng(0).permutation(len(split)), [0]
    model.train()

    def encode(batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        with autocast(device, precision):
            return encode_batch(model, batch, hyperparameters["augment"])

    def step(batch_size: int) -> None:
        indices = np.resize(np.roll(order, -taken[0]), batch_size)
        taken[0] += batch_size
        left, right = torch.from_numpy(split.present[indices]).unbind(1)
        optimizer.zero_grad(set_to_none=True)
        backward(encode, [split.batch(indices, device)], [taken[0]],
                 lambda outputs: tripartite_loss(outputs, left, right)["total"], scaler.scale)  # fmt: skip
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), hyperparameters["max_grad_norm"])
        scaler.step(optimizer)
        scaler.update()
        model.clamp_logit_scales()

    return step


def _rate(step: Callable[[int], None], batch: int, fewest: int, seconds: float, device: torch.device) -> float:
    """Samples a second over at least `fewest` steps and `seconds`."""
    wait_for(device)
    started, done = time.monotonic(), 0
    while done < fewest or time.monotonic() - started < seconds:
        step(batch)
        wait_for(device)
        done += 1
    return done * batch / (time.monotonic() - started)


def wait_for(device: torch.device) -> None:
    """Until it has computed what it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
