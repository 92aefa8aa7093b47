"""Prints in ten lines how far a run is: what has finished, the best so far, and how long the rest may take.

It reads what lies in the run's folder, so it may be asked at any time and disturbs nothing. On a cluster it also asks
squeue: what runs, what waits and why, and what failed, with the last line of its log.
"""

import argparse
from pathlib import Path

from retclip.core.logs import run_entry
from retclip.core.plain_text import printable
from retclip.core.slurm_queue import queue_lines
from retclip.report.progress import status_lines
from retclip.report.run_folder import read_run


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run-folder", type=Path, required=True, help="results/{run}, with its run.json")
    options = parser.parse_args(arguments)
    lines = status_lines(read_run(options.run_folder, interim=True))
    work = options.run_folder.absolute().parents[1]
    print(printable("\n".join([*lines, *queue_lines(work, options.run_folder.name)])))


if __name__ == "__main__":
    run_entry(main)
