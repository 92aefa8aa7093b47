"""Draws the configurations of one bracket of Phase 2 around the best of Phase 1, knowing the brackets before it.

Writes bracket.json: `candidates`, one per slot. Trial k does not depend on how many trials follow. After a flat Phase
1, and with --stop-when-flat, they are all its best configuration, so that one training run serves every slot.
"""

import argparse
import json
from pathlib import Path

from retclip.core.io import read_json, write_json
from retclip.core.logs import log, run_entry
from retclip.metrics.metrics_document import Metrics
from retclip.search.flatness import ends_search
from retclip.search.proposals import observations, propose
from retclip.search.space import near_best


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--best", type=Path, required=True, help="phase1/best.json")
    parser.add_argument("--space", type=json.loads, required=True, help="JSON: phase2.space of the config")
    parser.add_argument("--strategy", required=True, help="phase2.strategy of the config")
    parser.add_argument("--observed", type=Path, nargs="*", default=[], help="metrics.json of what was trained so far")
    parser.add_argument("--metric", required=True, help="selection.metric of the config")
    parser.add_argument("--slots", type=int, required=True, help="how many configurations")
    parser.add_argument("--seed", type=int, required=True, help="of this bracket: base seed + bracket")
    parser.add_argument("--stop-when-flat", action="store_true", help="after a flat Phase 1, draw nothing")
    parser.add_argument("--output", type=Path, required=True, help="bracket.json")
    options = parser.parse_args(arguments)

    decision = read_json(options.best)
    best = decision["configured"]
    space = near_best(options.space, best)
    observed = observations([Metrics.read(path) for path in options.observed], options.metric)
    if options.stop_when_flat and ends_search(decision):
        log(f"Phase 1 is flat, so that all {options.slots} slots are its best configuration, which is trained once")
        drawn = [best] * options.slots
    else:
        drawn = propose(space, best, options.slots, options.seed, options.strategy, observed)
    write_json(
        options.output,
        {
            "strategy": options.strategy,
            "seed": options.seed,
            "space": space,
            "observed": len(observed),
            "candidates": [{"configured": values} for values in drawn],
        },
    )


if __name__ == "__main__":
    run_entry(main)
