"""Ranks the finished trials of a stage on the validation data and writes its leaderboard.csv.

A candidate is a configuration: ID where its training bears the same name, or ID=TRAINING,TRAINING where it was trained
with several seeds, whose scores are averaged.
"""

import argparse
from pathlib import Path

from retclip.core.io import write_csv
from retclip.core.logs import run_entry
from retclip.metrics.metrics_document import Metrics
from retclip.search.candidates import Candidate, Run
from retclip.search.selection import leaderboard, rank


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage-dir", type=Path, required=True, help="where each training run has its folder")
    parser.add_argument("--candidates", nargs="+", required=True, metavar="ID[=TRAINING,...]")
    parser.add_argument("--metric", required=True, help="selection.metric of the config")
    parser.add_argument("--output", type=Path, required=True, help="leaderboard.csv")
    options = parser.parse_args(arguments)

    candidates = [
        Candidate(name, [_read_run(options.stage_dir / training) for training in (training_runs or name).split(",")])
        for name, _, training_runs in (candidate.partition("=") for candidate in options.candidates)
    ]
    write_csv(options.output, leaderboard(rank(candidates, options.metric), options.metric))


def _read_run(folder: Path) -> Run:
    import pandas as pd

    return Run(Metrics.read(folder / "metrics.json"), pd.read_parquet(folder / "val_predictions.parquet"))


if __name__ == "__main__":
    run_entry(main)
