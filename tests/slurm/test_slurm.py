"""The small run through a real Slurm, as a user types it: snakemake --profile slurm."""

import json
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from running import ENVIRONMENT, REPOSITORY
from slurm.lab import SNAKEMAKE

pytestmark = pytest.mark.slow


class Finished(NamedTuple):
    """The working directory of the run, what the terminal got, and what Slurm wrote down of its jobs (see lab.py)."""

    work: Path
    said: str
    jobs: list[dict[str, str]]
    events: list[tuple[str, float, str, str, list[str]]]


@pytest.fixture(scope="module")
def finished(lab, tmp_path_factory, small_config):
    """A run that went through Slurm; every training run asked for one of two GPUs."""
    before = len(lab.jobs())
    work = tmp_path_factory.mktemp("cluster")
    # every training run asks for a GPU; the lab's compute nothing, so that the demo's device stays cpu
    (work / "gpu.yaml").write_text("training: {gpus: 1}\n")
    command = [*SNAKEMAKE, "--profile", "slurm", "--directory", str(work), *small_config, str(work / "gpu.yaml")]
    done = subprocess.run(command, env=ENVIRONMENT, cwd=REPOSITORY, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    jobs = lab.jobs()[before:]
    ids = {job["JobId"] for job in jobs}
    return Finished(work, done.stdout + done.stderr, jobs, [event for event in lab.events() if event[2] in ids])


def gpu_jobs(results: Path) -> int:
    """How many jobs compute on an encoder: training runs, evaluations, prompts, qualitative examples, the LR finder."""
    made = ("*/*/metrics.json", "final/*/evaluation.json", "final/*/prompts.json", "final/*/qualitative_examples.npz",
            "find_lr/curve.csv")  # fmt: skip
    return sum(len(list(results.glob(pattern))) for pattern in made)


def test_it_ends_with_a_report(finished):
    results = finished.work / "results/small"
    assert (results / "report/index.html").is_file()
    metrics = json.loads((results / "final/pubmedbert-s2001/metrics.json").read_text())
    assert metrics["status"] == "completed"


def test_trainings_ran_on_gpus_and_two_never_shared_one(finished):
    events = finished.events
    with_gpu = [event for event in events if event[0] == "start" and event[4]]
    assert len(with_gpu) == gpu_jobs(finished.work / "results/small")
    assert {partition for _, _, _, partition, _ in with_gpu} == {"gpu"}
    assert {job["JobState"] for job in finished.jobs} == {"COMPLETED"}
    in_use: dict[str, str] = {}
    most = 0
    for event, _, job, _, gpus in events:
        for gpu in gpus:
            if event == "start":
                assert gpu not in in_use, f"jobs {job} and {in_use[gpu]} on GPU {gpu}"
                in_use[gpu] = job
            else:
                del in_use[gpu]
        most = max(most, len(in_use))
    assert most == 2


def test_the_audit_of_a_node_reaches_the_terminal(finished):
    log = (finished.work / "results/small/logs/audit_data.log").read_text()
    lines = log.splitlines()
    assert lines
    assert "\n".join(lines) in finished.said


def test_small_steps_do_not_queue(finished):
    """Plans, rankings and the report run where snakemake runs: no job of Slurm's is theirs."""
    data = 1 + 2 + 1 + 1 + 1  # drawing, two encoders, build, audit, reference models
    assert len(finished.jobs) == gpu_jobs(finished.work / "results/small") + data
