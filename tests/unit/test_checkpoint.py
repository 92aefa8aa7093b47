"""A checkpoint's file: the memory that a resume takes, and what is wrong with it."""

import subprocess
import sys

import pytest
import torch
from running import ENVIRONMENT, REPOSITORY

from retclip.training.checkpoint_file import load_checkpoint, save_checkpoint

MEGABYTES = 60


@pytest.mark.slow
def test_a_resume_holds_its_checkpoint_once(tmp_path):
    """At most 1.2 times the file; read whole and copied it was three times."""
    path = tmp_path / "key" / "checkpoint.pt"
    path.parent.mkdir()
    save_checkpoint(path, {"model": {str(i): torch.randn(MEGABYTES * 1_000_000 // 40) for i in range(10)}})
    resume = f"""
import re
from pathlib import Path
import torch
from retclip.training.checkpoint_file import load_checkpoint
def highest():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
Path("/proc/self/clear_refs").write_text("5")  # the highest so far is forgotten, a parent's too
before = highest()
saved = load_checkpoint(Path({str(path)!r}))
total = sum(float(value.sum()) for value in saved["model"].values())
print(highest() - before)
"""
    environment = {**ENVIRONMENT, "PYTHONPATH": str(REPOSITORY / "scripts")}
    done = subprocess.run([sys.executable, "-c", resume], env=environment, capture_output=True, text=True, check=True)
    assert MEGABYTES * 1e6 / 2 < int(done.stdout) < 1.2 * path.stat().st_size


def test_one_wrong_byte_anywhere_is_noticed(tmp_path):
    path = tmp_path / "key" / "checkpoint.pt"
    path.parent.mkdir()
    save_checkpoint(path, {"model": {"weight": torch.arange(1000)}})
    whole = path.read_bytes()
    found = load_checkpoint(path)
    assert found is not None
    assert torch.equal(found["model"]["weight"], torch.arange(1000))
    for position in (0, len(whole) // 2, len(whole) - 40, len(whole) - 1):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        assert load_checkpoint(path) is None
    for length in (0, 10, 32, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert load_checkpoint(path) is None
