"""How much each hyperparameter of Phase 2 mattered, with a bootstrap interval: importances.csv, best first.

Empty where there are too few trials to say anything.
"""

import argparse
from pathlib import Path

from retclip.core.io import write_csv
from retclip.core.logs import run_entry
from retclip.search.importance import importances


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--leaderboard", type=Path, required=True, help="leaderboard.csv of Phase 2")
    parser.add_argument("--names", nargs="+", required=True, help="the hyperparameters of phase2.space")
    parser.add_argument("--seed", type=int, required=True, help="of the bootstrap")
    parser.add_argument("--output", type=Path, required=True, help="CSV with name, value, low, high")
    options = parser.parse_args(arguments)

    import pandas as pd

    rows = importances(pd.read_csv(options.leaderboard), options.names, seed=options.seed)
    write_csv(options.output, pd.DataFrame(rows, columns=["name", "value", "low", "high"]))


if __name__ == "__main__":
    run_entry(main)
