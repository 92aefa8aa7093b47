"""What Slurm says of the job that this process runs in, and how to ask for the same job once more."""

import os
import re
import signal
import subprocess
import sys
from typing import Any

from retclip.core.logs import log

# The exit status of a process that SIGTERM ended, by the shell's convention.
STOPPED = 128 + signal.SIGTERM

# The state in which an early warning finds a job. A cancelled or timed out one is snakemake's to retry, and one
# that was preempted is Slurm's to requeue.
WARNED = "RUNNING"
# A job that got a stop request while it still started up may have a time limit that no start-up fits in: after so
# many restarts it fails, and snakemake's retry asks for more time.
RESTARTS_WITHOUT_WORK = 3


def job() -> dict[str, Any] | None:
    """job_id, node and partition of the Slurm job around this process; None outside of Slurm."""
    if "SLURM_JOB_ID" not in os.environ:
        return None
    return {
        "job_id": os.environ["SLURM_JOB_ID"],
        "node": os.environ.get("SLURMD_NODENAME"),
        "partition": os.environ.get("SLURM_JOB_PARTITION"),
    }


def gpus_given() -> str | None:
    """The ids of the GPUs that Slurm gave this job ("0,1"); None outside of Slurm, or where it gave none."""
    if job() is None:
        return None
    return os.environ.get("SLURM_STEP_GPUS") or os.environ.get("SLURM_JOB_GPUS")


def stop_at_once() -> None:
    """From here on SIGTERM ends this process, which has nothing to save yet, and Slurm runs the job again."""

    def leave(number: int, frame: Any) -> None:
        log("stop request before the first step")
        requeue(RESTARTS_WITHOUT_WORK)
        sys.exit(STOPPED)

    signal.signal(signal.SIGTERM, leave)


def requeue(restarts: float = float("inf")) -> bool:
    """Asks Slurm to run this same job again, which costs no retry, and tells whether it will.

    False outside of Slurm, for a job that was cancelled or ran out of time, for one that had `restarts` already,
    and where the site does not allow requeueing.
    """
    here = job()
    if here is None:
        return False
    shown = _scontrol("-o", "show", "job", here["job_id"]) or ""
    state, count = re.search(r"JobState=(\w+)", shown), re.search(r"Restarts=(\d+)", shown)
    if state is None or count is None or state.group(1) != WARNED or int(count.group(1)) >= restarts:
        return False
    if _scontrol("requeue", here["job_id"]) is None:
        return False
    log("Slurm runs this job again")
    return True


def _scontrol(*arguments: str) -> str | None:
    """Its output; None where it fails or the controller does not answer while there is time left to leave."""
    try:
        done = subprocess.run(["scontrol", *arguments], capture_output=True, text=True, timeout=15)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
