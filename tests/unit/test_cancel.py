"""make cancel: which jobs are a run's, asked of a squeue and a scancel that write down what they are told.

tests/slurm does it to a real Slurm.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from running import REPOSITORY

RUN_ID = "0b6e0f4e-6a1f-4f43-9d0c-2f4f3f0a7c11"
# as Slurm's: one line a job, each field of --format replaced
SQUEUE = """#!/bin/bash
[ ! -f {folder}/down ] || { echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1; }
for word; do case $word in --format=*) format=${word#--format=} ;; esac; done
while IFS=$'\\t' read -r id name state place; do
  line=${format//%i/$id}; line=${line//%j/$name}; line=${line//%t/$state}; printf '%s\\n' "${line//%Z/$place}"
done < {folder}/queue
"""
SCANCEL = """#!/bin/bash
printf '%s\\n' "$@" >> {folder}/cancelled
"""


class Queue:
    """A queue of jobs, and cancel_jobs.sh asked in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name, text in (("squeue", SQUEUE), ("scancel", SCANCEL)):
            (folder / name).write_text(text.replace("{folder}", str(folder)))
            (folder / name).chmod(0o755)
        self.fill()

    def fill(self, *jobs: tuple[str, str, str, Path]) -> None:
        (self.folder / "queue").write_text("".join("\t".join(map(str, job)) + "\n" for job in jobs))
        (self.folder / "cancelled").unlink(missing_ok=True)

    def cancel(self, folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "MAKE"))}
        environment |= {"PATH": f"{self.folder}:{environment['PATH']}", **variables}
        return subprocess.run(["make", "cancel", *words], cwd=folder, env=environment, capture_output=True, text=True)

    @property
    def cancelled(self) -> list[str]:
        path = self.folder / "cancelled"
        return path.read_text().split() if path.is_file() else []


@pytest.fixture
def queue(tmp_path):
    return Queue(tmp_path / "slurm")


@pytest.fixture
def clone(tmp_path):
    """A clone whose path has blanks, bars and an umlaut."""
    folder = tmp_path / "Über das | Auge's data" / "clone"
    (folder / "slurm").mkdir(parents=True)
    shutil.copy2(REPOSITORY / "Makefile", folder)
    shutil.copy2(REPOSITORY / "slurm/cancel_jobs.sh", folder / "slurm")
    return folder


def test_in_a_path_with_blanks(queue, clone, tmp_path):
    prefixed = f"mine_{RUN_ID}"
    queue.fill(
        ("7", RUN_ID, "R", clone),
        ("8_[1-3]", prefixed, "PD", clone),
        ("9", "retclip-tune", "R", clone),
        ("10", "jupyter", "R", clone),
        ("11", RUN_ID, "CG", clone),
        ("12", RUN_ID, "R", clone.parent),
    )
    done = queue.cancel(clone)
    assert done.returncode == 0, done.stderr
    assert queue.cancelled == ["7", "8_[1-3]", "9"]
    assert f"cancelled 3 jobs of {clone}" in done.stdout


def test_through_a_symbolic_link(queue, clone, tmp_path):
    link = tmp_path / "a link"
    link.symlink_to(clone)
    # Slurm may know either name
    for place in (clone, link):
        queue.fill(("7", RUN_ID, "R", place))
        for asked in (clone, link):
            assert queue.cancel(asked).returncode == 0
        assert queue.cancelled == ["7", "7"]


def test_with_directory(queue, clone, tmp_path):
    scratch = tmp_path / "scratch me"
    scratch.mkdir()
    queue.fill(("7", RUN_ID, "R", scratch))
    done = queue.cancel(clone)
    assert done.returncode != 0
    assert "cancelled 0 jobs" in done.stdout
    assert "1 jobs of" in done.stdout
    assert f"make cancel DIR={str(scratch).replace(' ', chr(92) + ' ')}" in done.stdout
    assert queue.cancelled == []
    done = queue.cancel(clone, f"DIR={scratch}")
    assert done.returncode == 0
    assert "cancelled 1 jobs" in done.stdout
    assert queue.cancelled == ["7"]


def test_nothing_to_cancel_a_controller_and_a_queue_that_does_not_answer(queue, clone):
    done = queue.cancel(clone)
    assert done.returncode == 0
    assert "cancelled 0 jobs" in done.stdout
    queue.fill(("7", RUN_ID, "R", clone), ("9", "retclip-tune", "R", clone))
    assert queue.cancel(clone, SLURM_JOB_ID="9").returncode == 0
    assert queue.cancelled == ["7"]
    (queue.folder / "down").touch()
    done = queue.cancel(clone)
    assert done.returncode != 0
    assert "error: squeue cannot be asked, so nothing was cancelled" in done.stderr
    done = queue.cancel(clone, "DIR=nowhere")
    assert done.returncode != 0
    assert "error: DIR=nowhere is no folder" in done.stderr
