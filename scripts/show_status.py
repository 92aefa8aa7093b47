"""Prints in ten lines how far a run is: what has finished, the best so far, and how long the rest may take.

It reads what lies in the run's folder, so it may be asked at any time and disturbs nothing.
"""

import argparse
from pathlib import Path

from retclip.core.logs import run_entry
from retclip.core.plain_text import printable
from retclip.report.progress import status_lines
from retclip.report.run_folder import read_run


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run-folder", type=Path, required=True, help="results/{run}, with its run.json")
    options = parser.parse_args(arguments)
    print(printable("\n".join(status_lines(read_run(options.run_folder, interim=True)))))


if __name__ == "__main__":
    run_entry(main)
