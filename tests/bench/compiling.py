"""training.compile on one core: a compiled step beside a plain one, and what the first step costs.

Shapes, data and the step are those of stepping.py (2 of 12 layers), in fp32 as a CPU's trials take it. How long a first
step compiles hardly hangs on the number of layers, since equal layers share their kernels; how long it traces does.
"""

from multiprocessing import get_context
from pathlib import Path

import numpy as np
from figures import Figure, in_turn, speed_up

ROUNDS = 3


def measure(folder: Path) -> list[Figure]:
    """Ratios of CPU seconds; processes of their own, since one keeps what it has compiled."""
    with get_context("spawn").Pool(1, maxtasksperchild=1) as one_each:
        (plain_first, cold, compiled, plain), (_, cached, _, _) = one_each.map(_steps, [folder, folder], chunksize=1)
    from stepping import BATCH

    return [
        speed_up("compile: a step in fp32, two eyes, beside a plain one", compiled, plain, None, (BATCH, BATCH)),
        Figure("compile: the first step, beside a plain first step", cold, "CPU s", plain_first, cold / plain_first,
               spread=(cold / plain_first,) * 2),
        Figure("compile: the first step of another process, beside the one that compiled", cached, "CPU s", cold,
               cached / cold, spread=(cached / cold,) * 2),
    ]  # fmt: skip


def _steps(folder: Path) -> tuple[float, float, list[float], list[float]]:
    """CPU seconds: a first step, plain and compiled, and each round's steps, compiled and plain."""
    from shapes import CONTEXT, VIT_B_16, model, samples, tokenize, write_fingerprint, write_split
    from stepping import BATCH, CPU, LAYERS, Training

    from retclip.loading.dataset import Split
    from retclip.training.compiled_steps import compile_encoders

    data = folder / "data"
    frame = samples(2 * BATCH, "both")
    if not data.exists():
        write_split(data, "train", frame, 4 * BATCH)
    split = Split(data, "train", write_fingerprint(data, {"train": frame}), tokenize, CONTEXT)
    trained = {}
    for name in ("plain", "compiled"):
        trained[name] = Training(model({**VIT_B_16, "layers": LAYERS}, LAYERS, 0.0), "ours fp32")
    compile_encoders(trained["compiled"].net, CPU, folder)
    ways = {name: lambda one=one: one.step(split, np.arange(BATCH)) for name, one in trained.items()}
    first = in_turn(ways, 1)
    rounds = in_turn(ways, ROUNDS)
    return first["plain"][0], first["compiled"][0], rounds["compiled"], rounds["plain"]
