"""On a CPU, what a step frees serves the next one: the kernel is not asked for the same pages again and again."""

import subprocess
import sys

import pytest
from running import ENVIRONMENT, REPOSITORY

PAGES = 64 * 2**20 // 4096  # of one tensor
STEPS = f"""
import resource
import torch
from retclip.loading.device import prepare_device
prepare_device(torch.device("cpu"), "fp32")

def steps(count):
    for _ in range(count):
        first = torch.ones({PAGES * 1024})
        second = first + 1
        del first, second
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

before = steps(10)  # until the heap has its size
print(steps(10) - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone gives freed memory back at once")
def test_activations_are_kept_for_the_next_step():
    """Twenty tensors of 64 MB: without, each costs all of its pages. On busy cores the heap may grow once more."""
    environment = {**ENVIRONMENT, "PYTHONPATH": str(REPOSITORY / "scripts")}
    done = subprocess.run([sys.executable, "-c", STEPS], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 2 * PAGES
