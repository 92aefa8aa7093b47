"""How search strategies do at equal cost: replayed with our own proposal code over a table of real training runs.

  make bench-search        results/bench/search_table.csv (trained once, 30 CPU minutes; resumes where it was stopped),
                           the comparison on the terminal, and results/bench/search.json

A strategy sees the scores of one seed only, as a user would; the configuration that it ends with is judged by
its score in the two other seeds. The cost is counted in epochs: 20 full training runs, or four brackets of 12 > 5 > 2
training runs at 2/5/10 epochs, which cost 196. Seeds 0 to 99 were fixed beforehand. As a ceiling stands beside them the
best of all configurations by the one seed that is seen: noise alone keeps it from the best there is.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from running import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "scripts"))
sys.path.insert(0, str(REPOSITORY / "tests/bench"))

from documents import metrics_of, trial_of
from search_table import EPOCHS, SEEDS, SPACE, configurations, make_table

from retclip.metrics.metrics_document import Metrics
from retclip.search import layout
from retclip.search.promotion import promoted
from retclip.search.proposals import observations, propose

if TYPE_CHECKING:
    import pandas as pd

FOLDER = Path("results/bench")
METRIC = "score"
TRIALS = 20
BUDGET = TRIALS * EPOCHS
PHASE2 = {"trials": TRIALS, "trials_per_round": 4, "brackets": 4, "space": SPACE,
          "rungs": {"slots": [12, 5, 2], "epochs": [2, 5, 10]}}  # fmt: skip
STRATEGIES = ("random", "tpe", "gp", "tpe_halving")
REPLAYS = range(100)
# A replay's brackets have seeds of their own.
SEED_STRIDE = 1000


class Replay:
    """The table as answers: score(values, seed, epoch), and how good a configuration is in the seeds not seen."""

    def __init__(self, table: "pd.DataFrame") -> None:
        keys = table[[*SPACE, "seed"]].to_numpy(dtype=float)
        curves = table[[f"epoch_{epoch}" for epoch in range(1, EPOCHS + 1)]].to_numpy()
        self.curves = {tuple(key): curve for key, curve in zip(keys.tolist(), curves, strict=True)}

    def score(self, values: dict[str, Any], seed: int, epoch: int) -> float:
        return float(self.curves[(*(float(values[name]) for name in SPACE), float(seed))][epoch - 1])

    def quality(self, values: dict[str, Any], seen: int) -> float:
        return float(np.mean([self.score(values, seed, EPOCHS) for seed in SEEDS if seed != seen]))

    def everything(self, number: int) -> float:
        """The quality of what one seed calls the best where every configuration is trained to the end."""
        seen = SEEDS[number % len(SEEDS)]
        return self.quality(max(configurations(), key=lambda values: self.score(values, seen, EPOCHS)), seen)

    def search(self, strategy: str, number: int) -> Iterator[tuple[int, float]]:
        """(epochs spent, quality of the best so far) after each training run that reached the end."""
        slots = layout.slots({**PHASE2, "strategy": strategy})
        seen = SEEDS[number % len(SEEDS)]
        documents: dict[str, Metrics] = {}
        spent, best = 0, (-1.0, 0.0)
        rungs = dict.fromkeys((slot.bracket, slot.rung) for slot in slots.values())
        reached = 0
        for bracket, rung in rungs:
            members = layout.members(slots, bracket, rung)
            if rung == 0:
                known = observations([documents[name] for name in layout.before(slots, bracket)], METRIC)
                proposed = propose(SPACE, {}, len(members), SEED_STRIDE * number + bracket, strategy, known)
                reached = 0
            else:
                below = [documents[name] for name in layout.members(slots, bracket, rung - 1)]
                proposed = promoted(below, METRIC, len(members))
            stop = slots[members[0]].stop_epoch or EPOCHS
            for name, values in zip(members, proposed, strict=True):
                score = self.score(values, seen, stop)
                documents[name] = _metrics(values, stop, score)
                spent += stop - reached
                if stop == EPOCHS:
                    best = max(best, (score, self.quality(values, seen)), key=itemgetter(0))
                    yield spent, best[1]
            reached = stop


def _metrics(values: dict[str, Any], epochs: int, score: float) -> Metrics:
    """A metrics.json with all that a search reads."""
    trial = trial_of(configured=values)
    trial = replace(trial, budget=replace(trial.budget, total_steps=EPOCHS))
    return metrics_of(trial, {METRIC: score}, steps=epochs, epochs=epochs)


def compare(replay: Replay, strategies: tuple[str, ...] = STRATEGIES, replays: range = REPLAYS) -> list[dict[str, Any]]:
    """Two figures a strategy: how often it beats random search of equal cost, and the cost that reaches its median."""
    traces = {}
    for strategy in strategies:
        traces[strategy] = [list(replay.search(strategy, number)) for number in replays]
        print(f"{strategy}: replayed", file=sys.stderr, flush=True)
    ends = {strategy: np.array([trace[-1][1] for trace in found]) for strategy, found in traces.items()}
    baseline = float(np.median(ends["random"]))
    figures = []
    for strategy in strategies:
        if strategy != "random":
            figures.append(_wins(strategy, ends[strategy], ends["random"]))
        cost = _cost_of(traces[strategy], baseline)
        ratio = None if cost is None else cost / BUDGET
        goal = "<= 0.5" if strategy == "tpe_halving" else None
        figures.append(
            _figure(f"{strategy}: cost of random-{TRIALS}'s median", cost, "epochs", BUDGET, ratio, goal, None)
        )
        figures.append(_figure(f"{strategy}: score of its choice in unseen seeds", float(np.median(ends[strategy])),
                               "balanced accuracy", baseline, None, None,
                               [float(share) for share in np.quantile(ends[strategy], [0.25, 0.75])]))  # fmt: skip
    everything = np.array([replay.everything(number) for number in replays])
    figures.append(_wins(f"all {len(replay.curves) // len(SEEDS)} trained", everything, ends["random"]))
    return figures


def _wins(name: str, found: np.ndarray, random: np.ndarray) -> dict[str, Any]:
    """The share of replays in which it ends with a better configuration than random search; equal counts half."""
    wins = (found > random) + 0.5 * (found == random)
    goal = ">= 0.75" if name == "tpe_halving" else None
    return _figure(f"{name}: wins against random-{TRIALS}", float(wins.mean()), "share of replays", None, None, goal,
                   _wilson(float(wins.sum()), len(wins)))  # fmt: skip


def _cost_of(traces: list[list[tuple[int, float]]], quality: float) -> int | None:
    """The first cost at which the median over replays is as good as `quality`."""
    for cost in sorted({cost for trace in traces for cost, _ in trace}):
        reached = [[found for spent, found in trace if spent <= cost] for trace in traces]
        if np.median([found[-1] if found else 0.0 for found in reached]) >= quality:
            return cost
    return None


def _wilson(successes: float, trials: int) -> list[float]:
    """The 95 % interval of a share (Wilson 1927)."""
    z = 1.96
    share = successes / trials
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * np.sqrt(share * (1 - share) / trials + z * z / (4 * trials**2))
    return [middle - half, middle + half]


def _figure(name, value, unit, baseline, ratio, goal, spread) -> dict[str, Any]:
    """In the format of `make bench`: spread is an interval of the value where there is no ratio."""
    return {"name": name, "value": value, "unit": unit, "baseline": baseline, "ratio": ratio, "goal": goal,
            "spread": spread}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()

    import pandas as pd

    path = FOLDER / "search_table.csv"
    make_table(path)
    table = pd.read_csv(path)
    last = table[f"epoch_{EPOCHS}"]
    print(
        f"{len(table)} runs of {len(table) // len(SEEDS)} configurations, {table['seconds'].sum() / 60:.0f} CPU "
        f"minutes; final scores {last.min():.2f} to {last.max():.2f}, median {last.median():.2f}"
    )
    better = table[last >= last.quantile(2 / 3)]
    for epoch in PHASE2["rungs"]["epochs"][:-1]:
        whole, part = (some[f"epoch_{epoch}"].corr(some[last.name], method="spearman") for some in (table, better))
        print(f"rank correlation of epoch {epoch} with the last: {whole:.2f}; among the better third {part:.2f}")
    figures = compare(Replay(table))
    print(f"{'':50}{'value':>8}  {'interval':<14}{'of budget':>10}  goal")
    for figure in figures:
        value = "never" if figure["value"] is None else f"{figure['value']:.3g}"
        interval = "" if figure["spread"] is None else "{:.2f} to {:.2f}".format(*figure["spread"])
        ratio = "" if figure["ratio"] is None else f"{figure['ratio']:.2f}"
        print(f"{figure['name']:50}{value:>8}  {interval:<14}{ratio:>10}  {figure['goal'] or ''}")
    (FOLDER / "search.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
