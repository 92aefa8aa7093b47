"""Every process that worked on one training run: the device seconds that it used or lost.

The list lies beside the training's state and is written every few seconds, so that a process killed with -9
is in it, too. Importing this module does not import torch.
"""

from pathlib import Path
from typing import Any

from retclip.core import slurm
from retclip.core.io import read_json, write_json
from retclip.core.logs import log, seconds_since_start

BEAT_SECONDS = 10


class Attempts:
    """attempts.json of a state folder; this process is the last entry: {job, seconds}.

    writes: of several processes that train together, the first one.
    """

    def __init__(self, path: Path, writes: bool = True) -> None:
        self.path, self.writes = path, writes
        self.entries = _earlier(path) if path.is_file() else []
        self.earlier_seconds = sum(entry["seconds"] for entry in self.entries)
        self.entries.append({"job": slurm.job(), "seconds": 0.0})
        self.beat(at_once=True)

    @property
    def job(self) -> dict[str, Any] | None:
        """This process's Slurm job, if it is one."""
        job: dict[str, Any] | None = self.entries[-1]["job"]
        return job

    def beat(self, at_once: bool = False) -> None:
        """Records that this process is alive; writes at most every BEAT_SECONDS, unless at_once."""
        seconds = seconds_since_start()
        if self.writes and (at_once or seconds - self.entries[-1]["seconds"] >= BEAT_SECONDS):
            self.entries[-1]["seconds"] = seconds
            try:
                write_json(self.path, self.entries)
            except (OSError, ValueError) as error:  # an account of time is worth no training run
                log(f"{self.path.name} is not written any more, and lost time not counted: {error}")
                self.writes = False

    def lost_seconds(self, saved_seconds: float) -> float:
        """Seconds of earlier attempts that were lost, where this one resumed from `saved_seconds` of work: their
        start-up, and their work since the last checkpoint.
        """
        return max(0.0, self.earlier_seconds - saved_seconds)


def _earlier(path: Path) -> list[dict[str, Any]]:
    """The entries so far; a damaged list costs the account of earlier attempts, and no training run."""
    try:
        return [{"job": entry["job"], "seconds": float(entry["seconds"])} for entry in read_json(path)]
    except (OSError, ValueError, KeyError, TypeError):
        log(f"{path.name} is damaged: earlier attempts are not counted")
        return []
