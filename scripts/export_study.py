"""Writes the whole of Phase 2 as an Optuna journal, which optuna-dashboard opens.

Each configuration is a trial with its ids, its times and its score after each epoch (history.csv beside metrics.json).
"""

import argparse
from pathlib import Path

from retclip.core.io import read_json
from retclip.core.logs import log, run_entry
from retclip.search.export import export_study


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--metrics", type=Path, nargs="+", required=True, help="metrics.json of every trial")
    parser.add_argument("--bracket", type=Path, required=True, help="bracket.json, for the space")
    parser.add_argument("--metric", required=True, help="selection.metric of the config")
    parser.add_argument("--name", required=True, help="of the study")
    parser.add_argument("--output", type=Path, required=True, help="the journal")
    options = parser.parse_args(arguments)

    space = read_json(options.bracket)["space"]
    count = export_study(options.metrics, space, options.metric, options.name, options.output)
    log(f"{count} trials in {options.output}")


if __name__ == "__main__":
    run_entry(main)
