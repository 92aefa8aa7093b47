"""What Slurm costs beside the work: Phase 1's trials on one machine, without Slurm, and through it in three ways.

  make bench-slurm                          thirteen short trials, some minutes; needs root and Slurm's packages
  make bench-slurm RUN="--config config/demo.yaml"   the Phase 1 of other overlays

One machine is the whole cluster: every number holds the daemons, too. The ways take turns, as often as --rounds says,
on copies of one folder in which all but the training runs is done. Prints a table; wall times in seconds.
"""

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from conftest import SMALL
from running import ENVIRONMENT, REPOSITORY
from slurm.lab import Lab, why_not

SHORT = "phase1: {space: {learning_rate: [5.0e-4, 1.0e-3, 2.0e-3, 4.0e-3], warmup_steps: [2, 4, 8]}}\n"
# title -> what the profile says in place of slurm/config.yaml
WAYS: dict[str, dict[str, object]] = {
    "a job for each": {"group-components": ["phase1=1"]},
    "in groups of four": {"groups": ["train_phase1_trial=phase1"]},
    "as a job array": {"group-components": ["phase1=1"], "slurm-array-jobs": "train_phase1_trial"},
}
# as the plugin says it, of one job and of an array
SUBMITTED = re.compile("has been submitted with SLURM jobid|Submitted array job")


class Measured(NamedTuple):
    """Wall seconds; calls of sbatch; of each job, seconds in Slurm; of each training run, seconds of its command."""

    wall: float
    submissions: int
    held: list[float]
    at_work: list[float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, action="append", help="overlays instead of thirteen short trials")
    parser.add_argument("--rounds", type=int, default=2, help="how often each way is measured")
    options = parser.parse_args()
    reason = why_not()
    if reason:
        sys.exit(reason)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        configs = [path.resolve() for path in options.config or []]
        if not configs:
            (folder / "small.yaml").write_text(SMALL)
            (folder / "short.yaml").write_text(SHORT)
            configs = [REPOSITORY / "config/demo.yaml", folder / "small.yaml", folder / "short.yaml"]
        (folder / "gpu.yaml").write_text("training: {gpus: 1}\n")
        overlays = ["--configfile", *map(str, configs), str(folder / "gpu.yaml")]
        locally = ["--profile", "none", "--cores", "2", "--resources", "gpu=2"]
        prepared = folder / "prepared"
        prepared.mkdir()
        for rule in ("plan_phase1_trial", "audit_data"):
            _snakemake(prepared, [*locally, "--until", rule, *overlays])
        lab = Lab(folder / "lab")
        (folder / "lab").mkdir()
        lab.start()
        ways = {"without Slurm": locally}
        for number, (title, changes) in enumerate(WAYS.items()):
            ways[title] = ["--profile", str(_profile(folder / f"profile{number}", changes))]
        measured: dict[str, list[Measured]] = {title: [] for title in ways}
        try:
            for repeated in range(options.rounds):
                for title in ways:
                    work = folder / f"{title}-{repeated}".replace(" ", "_")
                    shutil.copytree(prepared, work)
                    arguments = [*ways[title], "--until", "train_phase1_trial", *overlays]
                    measured[title].append(_measure(lab, work, arguments))
        finally:
            lab.stop()
    print(_table(measured))


def _profile(folder: Path, changes: dict[str, object]) -> Path:
    folder.mkdir()
    profile = yaml.safe_load((REPOSITORY / "slurm/config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump({**profile, **changes}))
    return folder


def _snakemake(work: Path, arguments: list[str]) -> str:
    command = [sys.executable, "-m", "snakemake", "--directory", str(work), *arguments]
    done = subprocess.run(command, env=ENVIRONMENT, cwd=REPOSITORY, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout[-3000:] + done.stderr[-3000:])
    return done.stdout + done.stderr


def _measure(lab: Lab, work: Path, arguments: list[str]) -> Measured:
    before = len(lab.jobs())
    started = time.monotonic()
    said = _snakemake(work, arguments)
    wall = time.monotonic() - started
    jobs = lab.jobs()[before:]
    tables = (work / "results").glob("*/benchmarks/train_phase1_trial/*.tsv")
    at_work = [float(table.read_text().splitlines()[1].split("\t")[0]) for table in tables]
    return Measured(wall, len(SUBMITTED.findall(said)), [_held(job) for job in jobs], at_work)


def _held(job: dict[str, str]) -> float:
    """Wall seconds between a job's start and its end, as Slurm wrote them down."""
    start, end = (datetime.fromisoformat(job[name]) for name in ("StartTime", "EndTime"))
    return (end - start).total_seconds()


def _table(measured: dict[str, list[Measured]]) -> str:
    plain = [one.wall for one in measured["a job for each"]]
    lines = [f"{'':20}{'wall':>8}{'of a job for each':>26}{'submissions':>13}{'GPUs held':>11}{'at work':>9}"]
    for title, rounds in measured.items():
        ratios = sorted(one.wall / other for one, other in zip(rounds, plain, strict=True))
        spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        wall, held, at_work = (
            statistics.median(values)
            for values in zip(*((one.wall, sum(one.held), sum(one.at_work)) for one in rounds), strict=True)
        )
        lines.append(f"{title:20}{wall:8.0f}{spread:>26}{rounds[-1].submissions:13}{held:11.0f}{at_work:9.0f}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
