"""Promotes the best trials of a rung: the next rung's slot k resumes the k-th of them from its saved state."""

import argparse
from pathlib import Path

from retclip.core.io import write_json
from retclip.core.logs import run_entry
from retclip.metrics.metrics_document import Metrics
from retclip.search.promotion import promoted


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--metrics", type=Path, nargs="+", required=True, help="metrics.json of the rung, by slot")
    parser.add_argument("--metric", required=True, help="selection.metric of the config")
    parser.add_argument("--slots", type=int, required=True, help="how many are promoted")
    parser.add_argument("--output", type=Path, required=True, help="JSON with `candidates`, best first")
    options = parser.parse_args(arguments)

    best = promoted([Metrics.read(path) for path in options.metrics], options.metric, options.slots)
    write_json(options.output, {"candidates": [{"configured": values} for values in best]})


if __name__ == "__main__":
    run_entry(main)
