"""Which commit of this repository is running."""

import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]


def commit() -> str | None:
    """The commit's hash, with -dirty where files differ from it; None outside of a git clone or without git."""
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=15)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
