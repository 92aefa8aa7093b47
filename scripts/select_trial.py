"""Chooses the best of a ranked stage by the fixed rule and writes best.json with the reason.

Validation scores alone decide. Where the best of all trials may have learned nothing, the defaults are chosen.
"""

import argparse
import json
from pathlib import Path

from retclip.core.io import read_json, write_json
from retclip.core.logs import log, run_entry
from retclip.search.expected_scores import expected_scores, with_expected
from retclip.search.selection import select


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--leaderboard", type=Path, required=True, help="leaderboard.csv of the stage")
    parser.add_argument("--stage", required=True, help="name of the stage, for best.json")
    parser.add_argument("--metric", required=True, help="selection.metric of the config")
    parser.add_argument("--defaults", type=json.loads, required=True, help="JSON: the baseline's values")
    parser.add_argument("--bracket", type=Path, help="the proposals, whose space is checked for borders")
    parser.add_argument(
        "--earlier", type=Path, help="leaderboard.csv of Phase 1, which a model of all trials reads, too"
    )
    parser.add_argument("--estimate", choices=("single", "model"), default="single", help="what finalists are taken by")
    parser.add_argument("--output", type=Path, required=True, help="best.json")
    options = parser.parse_args(arguments)

    import pandas as pd

    board = pd.read_csv(options.leaderboard)
    names = [name for name in options.defaults if board[name].nunique() > 1]
    tried = {name: board[name].drop_duplicates().tolist() for name in names}
    if options.bracket:
        tried = read_json(options.bracket)["space"]
    if options.earlier:
        expected = expected_scores(pd.read_csv(options.earlier), board)
        board = with_expected(board, expected, decides=options.estimate == "model")
    decision = {"stage": options.stage, **select(board, options.metric, options.defaults, tried)}
    log(f"{options.stage}: {decision['id']}: {decision['reason']}")
    if estimate := decision["estimate"]:
        log(
            f"{options.stage}: the highest single score has an optimistic bias of {estimate['optimistic_bias']:.3f} by "
            f"a model of all trials; what decides (selection.estimate): {options.estimate}"
        )
    flatness = decision["flatness"]
    if flatness and flatness["is_flat"]:
        log(
            f"{options.stage}: flat: {flatness['trials']} configurations differ by no more than patients and seeds "
            f"explain (standard deviation at most {flatness['high']:.3f}); any of them will do"
        )
    write_json(options.output, decision)


if __name__ == "__main__":
    run_entry(main)
