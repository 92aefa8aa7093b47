"""What glibc's habit of giving freed memory back to the kernel costs a CNN on one core, and what keeping it saves; and
whether the size of evaluation's batches matters.

EfficientNet-lite0 with random weights at 224 px, one process each way: CPU seconds, those of the kernel included.
"""

import os
import subprocess
import sys
from pathlib import Path

from figures import Figure, speed_up
from running import ENVIRONMENT, REPOSITORY

IMAGES, ROUNDS = 128, 2
# Evaluation's, and one that takes about half of its memory.
BATCH, SMALL_BATCH = 64, 16
NETWORK = f"""
import resource, sys
import timm, torch
from retclip.loading.device import prepare_device
torch.set_num_threads(1)
if sys.argv[1] == "kept":
    prepare_device(torch.device("cpu"), "fp32")
training = sys.argv[2] == "training"
network = timm.create_model("tf_efficientnet_lite0", pretrained=False).train(training)
images = torch.randn(int(sys.argv[3]), 3, 224, 224)

def step():
    with torch.set_grad_enabled(training):
        found = network(images)
    if training:
        found.sum().backward()

step()
before = resource.getrusage(resource.RUSAGE_SELF)
for _ in range({IMAGES} // len(images)):
    step()
after = resource.getrusage(resource.RUSAGE_SELF)
print(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
"""


def measure(folder: Path) -> list[Figure]:
    """Inference and training, with and without; then inference by batch size. CPU seconds of so many images."""
    name = f"of EfficientNet-lite0, {IMAGES} images of 224 px, freed memory kept"
    found = []
    for what, goal in (("inference", ">= 2"), ("training", ">= 1")):
        kept, given_back = _in_turn(("kept", what, BATCH), ("given back", what, BATCH))
        found.append(speed_up(f"page faults: {what} {name}", kept, given_back, goal))
    large, small = _in_turn(("kept", "inference", BATCH), ("kept", "inference", SMALL_BATCH))
    return [*found, speed_up(f"inference {name}: batches of {BATCH}; of {SMALL_BATCH}", large, small, None)]


def _in_turn(*ways: tuple[str, str, int]) -> list[list[float]]:
    """CPU seconds of every round of each way."""
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(REPOSITORY / "scripts")}
    seconds: list[list[float]] = [[] for _ in ways]
    for _ in range(ROUNDS):
        for way, found in zip(ways, seconds, strict=True):
            command = [sys.executable, "-c", NETWORK, *map(str, way)]
            done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
            found.append(float(done.stdout))
    return seconds
