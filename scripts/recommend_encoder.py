"""Recommends a text encoder by the mean validation score of its final training runs; test has no say.

A seed that diverged or ran out of memory counts as chance, and is named in recommendation.json.
"""

import argparse
from pathlib import Path

from retclip.core.io import write_json
from retclip.core.logs import log, run_entry
from retclip.metrics.metrics_document import Metrics
from retclip.search.recommendation import recommend_encoder


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--metrics", type=Path, nargs="+", required=True, help="metrics.json of each final")
    parser.add_argument("--metric", required=True, help="selection.metric of the config")
    parser.add_argument("--output", type=Path, required=True, help="recommendation.json")
    options = parser.parse_args(arguments)

    decision = recommend_encoder([Metrics.read(path) for path in options.metrics], options.metric)
    log(f"recommended text encoder: {decision['encoder']} ({decision['reason']})")
    write_json(options.output, decision)


if __name__ == "__main__":
    run_entry(main)
