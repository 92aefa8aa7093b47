"""Writes the report of a run: one self-contained page, and its figures as files.

Reads what the stages wrote; chooses nothing. The page holds aggregates alone: no picture, text, id or path of a
patient. With --private the paths that the config names are left out, too.
"""

import argparse
import json
from pathlib import Path

from retclip.core.logs import run_entry, say
from retclip.report.inputs import read_run
from retclip.report.page import build_report
from retclip.report.privacy import without_paths
from retclip.report.trials import write_trials


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run-folder", type=Path, required=True, help="results/{run}")
    parser.add_argument("--config", type=json.loads, required=True, help="the run's config, as JSON")
    parser.add_argument("--trainings", type=json.loads, required=True, help="JSON: stage -> ids of its trainings")
    parser.add_argument("--private", action="store_true", help="leave out the paths that the config names")
    parser.add_argument("--output-page", type=Path, required=True, help="index.html")
    parser.add_argument("--output-trials", type=Path, required=True, help="CSV, one row a training")
    parser.add_argument("--output-figures", type=Path, required=True, help="folder for {figure}.svg")
    options = parser.parse_args(arguments)

    run = read_run(options.run_folder, options.trainings)
    config = without_paths(options.config) if options.private else options.config
    write_trials(run, options.output_trials)
    build_report(run, config, options.output_page, options.output_figures)
    say(f"the report: {options.output_page.resolve()}")


if __name__ == "__main__":
    run_entry(main)
