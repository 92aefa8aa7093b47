"""What a CNN costs on one core: with memory that glibc gives back to the kernel beside memory that is kept; in batches
of two sizes; and in channels_last beside contiguous.

Networks of timm with random weights, one process each way: CPU seconds, those of the kernel included.
"""

import os
import subprocess
import sys
from pathlib import Path

from figures import Figure, speed_up
from running import ENVIRONMENT, REPOSITORY

ROUNDS = 2
LITE = "tf_efficientnet_lite0"
# Evaluation's batch, and one that takes about half of its memory.
BATCH, SMALL_BATCH = 64, 16
# Whose layouts are compared: network -> its name in a row, pixels, images, goals of inference and training. The demo's
# is too small to gain, and stays contiguous (retclip.models.memory_layout).
NETWORKS = {
    LITE: ("EfficientNet-lite0", 224, 128, ">= 1.2", ">= 1.3"),
    "resnet50": ("ResNet-50", 224, 32, ">= 1", ">= 1"),
    "demo_conv": ("the demo's encoder", 64, 8192, None, None),
}
NETWORK = """
import resource, sys
import timm, torch
import retclip.demo.image_encoder
from retclip.loading.device import prepare_device
memory, layout, what, name, side, batch, images = sys.argv[1:]
torch.set_num_threads(1)
if memory == "kept":
    prepare_device(torch.device("cpu"), "fp32")
training = what == "training"
network = timm.create_model(name, pretrained=False).train(training)
if layout == "channels_last":
    torch.nn.utils.convert_conv2d_weight_memory_format(network, torch.channels_last)
given = torch.randn(int(batch), 3, int(side), int(side))

def step():
    with torch.set_grad_enabled(training):
        found = network(given)
    if training:
        found.sum().backward()

step()
before = resource.getrusage(resource.RUSAGE_SELF)
for _ in range(int(images) // len(given)):
    step()
after = resource.getrusage(resource.RUSAGE_SELF)
print(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
"""


def measure(folder: Path) -> list[Figure]:
    """Inference and training by memory and by layout, inference by batch size. CPU seconds of so many images."""
    title, side, images, *_ = NETWORKS[LITE]
    name = f"of {title}, {images} images of {side} px, freed memory kept"
    found = []
    for what, goal in (("inference", ">= 2"), ("training", ">= 1")):
        kept, given_back = _in_turn(_way(LITE, what), _way(LITE, what, memory="given back"))
        found.append(speed_up(f"page faults: {what} {name}", kept, given_back, goal))
    large, small = _in_turn(_way(LITE, "inference"), _way(LITE, "inference", batch=SMALL_BATCH))
    found.append(speed_up(f"inference {name}: batches of {BATCH}; of {SMALL_BATCH}", large, small, None))
    for network, (title, side, images, *goals) in NETWORKS.items():
        for what, goal in zip(("inference", "training"), goals, strict=True):
            last = _way(network, what, layout="channels_last", batch=SMALL_BATCH)
            seconds = _in_turn(last, _way(network, what, batch=SMALL_BATCH))
            row = f"{what} of {title}, {images} images of {side} px: channels_last; contiguous"
            found.append(speed_up(row, *seconds, goal))
    return found


def _way(network: str, what: str, memory: str = "kept", layout: str = "contiguous", batch: int = BATCH) -> list[str]:
    _, side, images, *_ = NETWORKS[network]
    return [memory, layout, what, network, str(side), str(batch), str(images)]


def _in_turn(*ways: list[str]) -> list[list[float]]:
    """CPU seconds of every round of each way."""
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(REPOSITORY / "scripts")}
    seconds: list[list[float]] = [[] for _ in ways]
    for _ in range(ROUNDS):
        for way, found in zip(ways, seconds, strict=True):
            command = [sys.executable, "-c", NETWORK, *way]
            done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
            found.append(float(done.stdout))
    return seconds
