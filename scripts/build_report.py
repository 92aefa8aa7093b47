"""Writes the report of a run: one self-contained page, and beside it every figure, table and number as a file.

Reads what the stages wrote; chooses nothing. Without privacy.private: false in the run's config, it holds aggregates
alone: no image, text, id or path of a patient. With --interim it is made of what has finished so far.
"""

import argparse
from pathlib import Path

from retclip.core.logs import log, run_entry
from retclip.report.page import build_report
from retclip.report.run_folder import read_run


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run-folder", type=Path, required=True, help="results/{run}, with its run.json")
    parser.add_argument("--interim", action="store_true", help="the run has not ended: leave out what is missing")
    parser.add_argument("--output-folder", type=Path, required=True, help="gets index.html, figures/, tables/, ...")
    options = parser.parse_args(arguments)

    run = read_run(options.run_folder, options.interim)
    build_report(run, options.output_folder)
    log(f"the report: {(options.output_folder / 'index.html').resolve()}")


if __name__ == "__main__":
    run_entry(main)
