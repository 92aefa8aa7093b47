"""Stands for python in the command of a job: runs its script as a fork of fork_jobs.py, if that answers.

python -SE ask_fork.py ADDRESS SCRIPT ARGUMENTS
"""

import sys

from retclip.core.fork_client import run_as_fork

if __name__ == "__main__":
    sys.exit(run_as_fork(f"\0{sys.argv[1]}", sys.argv[2:]))
