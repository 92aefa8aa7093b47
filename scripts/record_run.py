"""Writes down what a run is, before anything of it has finished: its config, and the training runs that follow from it,
each with what it is for.

The report reads it, and during the run `make status` and `make interim`, which need no Snakemake.
"""

import argparse
import json
from pathlib import Path

from retclip.core.io import write_json
from retclip.core.logs import run_entry
from retclip.search.layout import facts_of_training_runs


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=json.loads, required=True, help="JSON: the checked config")
    parser.add_argument("--training-runs", type=json.loads, required=True, help="JSON: stage -> id -> epochs it adds")
    parser.add_argument("--facts", type=json.loads, required=True, help="JSON: stage -> id -> what it is for")
    parser.add_argument("--initial", required=True, help="id of the evaluation of the initial weights")
    parser.add_argument("--output", type=Path, required=True, help="run.json")
    options = parser.parse_args(arguments)
    facts = facts_of_training_runs(options.config, options.training_runs, options.facts)
    record = {
        "config": options.config,
        "training_runs": options.training_runs,
        "facts": facts,
        "initial": options.initial,
    }
    write_json(options.output, record)


if __name__ == "__main__":
    run_entry(main)
