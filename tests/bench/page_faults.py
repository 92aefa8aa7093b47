"""What glibc's habit of giving freed memory back to the kernel costs a CNN on one core, and what keeping it saves.

EfficientNet-lite0 with random weights at 224 px, one process each way: CPU seconds, those of the kernel included.
"""

import os
import subprocess
import sys
from pathlib import Path

from figures import Figure, speed_up
from running import ENVIRONMENT, REPOSITORY

IMAGES, BATCH, ROUNDS = 128, 64, 2
NETWORK = f"""
import resource, sys
import timm, torch
from retclip.loading.device import prepare_device
torch.set_num_threads(1)
if sys.argv[1] == "kept":
    prepare_device(torch.device("cpu"), "fp32")
training = sys.argv[2] == "training"
network = timm.create_model("tf_efficientnet_lite0", pretrained=False).train(training)
images = torch.randn({BATCH}, 3, 224, 224)

def step():
    with torch.set_grad_enabled(training):
        found = network(images)
    if training:
        found.sum().backward()

step()
before = resource.getrusage(resource.RUSAGE_SELF)
for _ in range({IMAGES // BATCH}):
    step()
after = resource.getrusage(resource.RUSAGE_SELF)
print(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
"""


def measure(folder: Path) -> list[Figure]:
    """Inference and training, with and without; the figures are CPU seconds of so many images."""
    return [_of(what, goal) for what, goal in (("inference", ">= 2"), ("training", ">= 1"))]


def _of(what: str, goal: str) -> Figure:
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(REPOSITORY / "scripts")}
    seconds: dict[str, list[float]] = {"kept": [], "given back": []}
    for _ in range(ROUNDS):
        for way, found in seconds.items():
            command = [sys.executable, "-c", NETWORK, way, what]
            done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
            found.append(float(done.stdout))
    name = f"page faults: {what} of EfficientNet-lite0, {IMAGES} images of 224 px, freed memory kept"
    return speed_up(name, seconds["kept"], seconds["given back"], goal)
