"""Compares finished runs of the same data on one page: configurations, scores with paired 95 % CIs, and cost.

Differences are against the first run, over the same test patients. Runs whose splits hold other samples are shown
beside it, but not compared; the page says so.
"""

import argparse
from pathlib import Path

from retclip.core.logs import log, run_entry
from retclip.report.comparison import compare, read_studies
from retclip.report.comparison_page import build_comparison


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run-folders", type=Path, nargs="+", required=True, help="results/{run}, the reference first")
    parser.add_argument("--output-folder", type=Path, required=True, help="gets index.html, comparison.json, ...")
    options = parser.parse_args(arguments)

    build_comparison(compare(read_studies(options.run_folders)), options.output_folder)
    log(f"the comparison: {(options.output_folder / 'index.html').resolve()}")


if __name__ == "__main__":
    run_entry(main)
