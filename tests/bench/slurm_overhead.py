"""What Slurm costs beside the work: the same run on one machine, through Slurm, and with Phase 1's trials grouped.

  make bench-slurm                          the tests' small run, some minutes; needs root and Slurm's packages
  make bench-slurm RUN="--config config/demo.yaml"   the whole demo, once locally and twice through Slurm

One machine is the whole cluster: every number holds the daemons, too. Prints a table; wall times in seconds.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from conftest import SMALL
from running import ENVIRONMENT, REPOSITORY
from slurm.lab import Lab, why_not

GROUPED = {
    "groups": ["train_phase1_trial=phase1"],
    "group-components": ["phase1=4"],
    "set-resource-scopes": ["at_once=local"],
    "resources": ["at_once=1"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, action="append", help="overlays instead of the tests' small run")
    options = parser.parse_args()
    reason = why_not()
    if reason:
        sys.exit(reason)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        configs = [path.resolve() for path in options.config or []]
        if not configs:
            (folder / "small.yaml").write_text(SMALL)
            configs = [REPOSITORY / "config/demo.yaml", folder / "small.yaml"]
        (folder / "gpu.yaml").write_text("training: {gpus: 1}\n")
        overlays = ["--configfile", *map(str, configs), str(folder / "gpu.yaml")]
        print(f"{'':24}{'wall':>8}{'jobs':>6}{'of each job, median: in Slurm, at work':>42}")
        seconds = _timed(folder / "locally", ["--cores", "2", "--resources", "gpu=2", *overlays])
        print(f"{'locally, two at a time':24}{seconds:8.0f}{'':6}", flush=True)
        lab = Lab(folder / "lab")
        (folder / "lab").mkdir()
        lab.start()
        try:
            for title, changes in (("through Slurm", {}), ("Phase 1 in fours", GROUPED)):
                done = len(lab.jobs())
                work = folder / title.replace(" ", "_")
                seconds = _timed(work, ["--profile", str(_profile(folder / f"profile-{done}", changes)), *overlays])
                jobs = lab.jobs()[done:]
                held = statistics.median(_held(job) for job in jobs)
                print(f"{title:24}{seconds:8.0f}{len(jobs):6}{held:30.1f}{_at_work(work):12.1f}", flush=True)
        finally:
            lab.stop()


def _profile(folder: Path, changes: dict[str, list[str]]) -> Path:
    folder.mkdir()
    profile = yaml.safe_load((REPOSITORY / "slurm/config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump({**profile, **changes}))
    return folder


def _timed(work: Path, arguments: list[str]) -> float:
    """Wall seconds of one whole run in a new folder."""
    work.mkdir()
    command = [sys.executable, "-m", "snakemake", "--directory", str(work), *arguments]
    started = time.monotonic()
    done = subprocess.run(command, env=ENVIRONMENT, cwd=REPOSITORY, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout[-3000:] + done.stderr[-3000:])
    return time.monotonic() - started


def _held(job: dict[str, str]) -> float:
    """Wall seconds between a job's start and its end, as Slurm wrote them down."""
    start, end = (datetime.fromisoformat(job[name]) for name in ("StartTime", "EndTime"))
    return (end - start).total_seconds()


def _at_work(work: Path) -> float:
    """Median wall seconds of the commands themselves, as Snakemake measured them."""
    tables = (work / "results").glob("*/benchmarks/[eft]*/*.tsv")
    return statistics.median(float(table.read_text().splitlines()[1].split("\t")[0]) for table in tables)


if __name__ == "__main__":
    main()
