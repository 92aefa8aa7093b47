"""What happens to snakemake itself: killed with its children left behind, started twice, and a clock set back."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from reliability.faults import MOMENTS, content
from running import ENVIRONMENT, REPOSITORY, planned_jobs, snakemake

pytestmark = pytest.mark.slow
BOARD = "results/small/phase1/leaderboard.csv"


def without_phase1(small_run: Path, target: Path) -> Path:
    """The small run up to its data: three training runs and their ranking are left."""
    shutil.copytree(small_run, target, symlinks=True)
    for name in ("phase1", "state"):
        shutil.rmtree(target / "results/small" / name)
    return target


def start(folder: Path, flags: list[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), "--directory",
               str(folder), "--cores", "2", "--rerun-incomplete", *flags, "--", BOARD]  # fmt: skip
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                            start_new_session=True)  # fmt: skip


def assert_phase1_is_the_same(folder: Path, small_run: Path) -> None:
    for path in (small_run / "results/small/phase1").glob("*/*"):
        again = folder / path.relative_to(small_run)
        assert content(again) == content(path), path
    left = [path for path in (folder / "results").rglob(".*") if path.name != ".snakemake_timestamp"]
    assert not left


def test_killed_with_its_children_left_behind(small_run, small_config, injected, tmp_path):
    """They keep running, and meet the jobs of the next snakemake: neither disturbs the other."""
    moments = random.Random(3)
    for number in range(MOMENTS):
        with injected("kill -9", "snakemake"):
            folder = without_phase1(small_run, tmp_path / f"run-{number}")
            process = start(folder, small_config)
            deadline = time.monotonic() + 60
            while not list(folder.glob("results/small/state/*/lock")) and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(moments.uniform(0, 8))
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            snakemake(folder, *small_config, "--unlock")
            snakemake(folder, *small_config, "--", BOARD)
            assert_phase1_is_the_same(folder, small_run)
            assert planned_jobs(folder, *small_config, "--", BOARD) == {}


def test_two_at_once(small_run, small_config, injected, tmp_path):
    with injected("a second one at once", "snakemake"):
        folder = without_phase1(small_run, tmp_path / "run")
        process = start(folder, small_config)
        deadline = time.monotonic() + 60
        while not list(folder.glob(".snakemake/locks/*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        second = snakemake(folder, *small_config, "--", BOARD, check=False)
        assert second.returncode != 0
        assert "Directory cannot be locked" in second.stderr
        assert "Traceback" not in second.stderr
        assert process.wait() == 0
        assert_phase1_is_the_same(folder, small_run)


def test_a_clock_that_was_set_back(small_run, small_config, injected, tmp_path):
    """All that is there comes from the future: snakemake says so, and resumes once all files are dated again."""
    with injected("clock set back a day", "snakemake"):
        folder = tmp_path / "run"
        shutil.copytree(small_run, folder, symlinks=True)
        for path in folder.rglob("*"):
            status = path.lstat()
            later = (status.st_atime_ns + 86_400 * 10**9, status.st_mtime_ns + 86_400 * 10**9)
            os.utime(path, ns=later, follow_symlinks=False)
        assert planned_jobs(folder, *small_config) == {}
        shutil.rmtree(folder / "results/small/phase1/baseline")
        target = ("--", "results/small/phase1/baseline/metrics.json")
        stopped = snakemake(folder, *small_config, *target, check=False)
        assert stopped.returncode != 0
        assert "clock skew" in stopped.stdout + stopped.stderr
        snakemake(folder, *small_config, "--touch", "--forceall")
        snakemake(folder, *small_config, *target)
        log = (folder / "results/small/logs/train_phase1_trial/baseline.log").read_text()
        assert "already complete" in log
        assert_phase1_is_the_same(folder, small_run)
