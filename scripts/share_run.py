"""Copies what of a finished run may be given away: report, tables and models. Searches every file of the copy for each
id, text and image path of the data, and each place and pattern of the config; where one is found, nothing is shared.

    share_run.py --run-folder results/full --output-folder results/full-shared
"""

import argparse
from pathlib import Path

from retclip.core.logs import run_entry
from retclip.core.plain_text import printable
from retclip.report.sharing import share_run


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run-folder", type=Path, required=True, help="results/{run}, finished")
    parser.add_argument("--output-folder", type=Path, required=True, help="new, or of an earlier copy of this run")
    options = parser.parse_args(arguments)
    print(printable(share_run(options.run_folder, options.output_folder)))


if __name__ == "__main__":
    run_entry(main)
