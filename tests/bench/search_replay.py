"""Searches replayed where every training run is known: ours, by the product's own layout, proposals and promotions,
and other projects'."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from documents import metrics_of, trial_of
from running import REPOSITORY
from search_choices import Reached, Said, by_model, by_score, stop_rule
from search_table import Answers, Values, configurations

from retclip.core.io import canonical_json
from retclip.metrics.metrics_document import Metrics
from retclip.search import layout
from retclip.search.promotion import promoted
from retclip.search.proposals import observations, propose

METRIC = "score"
TRIALS = 20
RUNGS = {"slots": [12, 5, 2], "epochs": [2, 5, 10]}
EPOCHS = RUNGS["epochs"][-1]
BUDGET = TRIALS * EPOCHS
PHASE2 = {"trials": TRIALS, "trials_per_round": 4, "brackets": 4, "rungs": RUNGS}
STRATEGIES = ("random", "qmc", "tpe", "gp", "tpe_halving")
# A replay's brackets have seeds of their own.
SEED_STRIDE = 1000
PACKAGES = REPOSITORY / "resources/bench/packages"


class Replay:
    """What a search finds where every training run is known. number: all randomness of a search follows from it."""

    def __init__(self, space: dict[str, list[Any]], answers: Answers, number: int) -> None:
        self.space, self.answers, self.number = space, answers, number
        self.points = configurations(space)
        self.rows = {canonical_json(values): row for row, values in enumerate(self.points)}

    def search(self, strategy: str) -> Iterator[Reached]:
        """Each training run that reached the end, by the product's own layout, proposals and promotions."""
        slots = layout.slots({**PHASE2, "space": self.space, "strategy": strategy})
        documents: dict[str, Metrics] = {}
        spent = reached = 0
        for bracket, rung in dict.fromkeys((slot.bracket, slot.rung) for slot in slots.values()):
            members = layout.members(slots, bracket, rung)
            if rung == 0:
                known = observations([documents[name] for name in layout.before(slots, bracket)], METRIC)
                proposed = propose(self.space, {}, len(members), SEED_STRIDE * self.number + bracket, strategy, known)
                reached = 0
            else:
                below = [documents[name] for name in layout.members(slots, bracket, rung - 1)]
                proposed = promoted(below, METRIC, len(members))
            stop = slots[members[0]].stop_epoch or EPOCHS
            for name, values in zip(members, proposed, strict=True):
                row = self.rows[canonical_json(values)]
                score = float(self.answers.seen[row, stop - 1])
                documents[name] = _metrics(values, stop, score)
                spent += stop - reached
                if stop == EPOCHS:
                    yield Reached(spent, row, score)
            reached = stop

    def said(self, defaults: Values) -> Said:
        """What best.json says after a random search."""
        return stop_rule(self.points, list(self.search("random")), self.answers, defaults)

    def truth_of(self, values: Values) -> float:
        """How good a configuration is."""
        return float(self.answers.truth[self.rows[canonical_json(values)]])

    def judged(self, runs: Sequence[Reached]) -> list[tuple[int, float]]:
        """(epochs spent, truth of the best so far) after each of these runs."""
        best = list(accumulate(runs, lambda one, other: max(one, other, key=attrgetter("score"))))
        return [(run.spent, float(self.answers.truth[leader.row])) for run, leader in zip(runs, best, strict=True)]


def _metrics(values: Values, epochs: int, score: float) -> Metrics:
    """A metrics.json with all that a search reads."""
    trial = trial_of(configured=values)
    trial = replace(trial, budget=replace(trial.budget, total_steps=EPOCHS))
    return metrics_of(trial, {METRIC: score}, steps=epochs, epochs=epochs)


@dataclass
class Way:
    """One way to search. ends: truth of what each replay ended with [R]. traces: see Replay.judged."""

    ends: np.ndarray
    traces: list[list[tuple[int, float]]] | None = None

    def wins(self, other: "Way") -> float:
        """The share of replays in which it ends with a better configuration than another; equal counts half."""
        return float(((self.ends > other.ends) + 0.5 * (self.ends == other.ends)).mean())

    def cost_of(self, quality: float) -> int | None:
        """The first cost at which the median over replays is as good."""
        traces = self.traces or []
        for cost in sorted({cost for trace in traces for cost, _ in trace}):
            reached = [[found for spent, found in trace if spent <= cost] for trace in traces]
            if np.median([found[-1] if found else 0.0 for found in reached]) >= quality:
                return cost
        return None


def search_all(replays: list[Replay], strategies: Sequence[str]) -> dict[str, Way]:
    """Every strategy with both estimates, the baselines, and what training everything would end with."""
    ways = {}
    for strategy in strategies:
        runs = [list(replay.search(strategy)) for replay in replays]
        modeled = [
            replay.answers.truth[by_model(replay.points, found)] for replay, found in zip(replays, runs, strict=True)
        ]
        ways |= {strategy: _by_score(replays, runs), f"{strategy}, by model": Way(np.array(modeled))}
        print(f"{strategy}: replayed", file=sys.stderr, flush=True)
    for name, traces in _baselines(replays).items():
        ways[name] = _by_score(replays, [[Reached(*run) for run in trace] for trace in traces])
    everything = [replay.answers.truth[int(replay.answers.seen[:, -1].argmax())] for replay in replays]
    return {**ways, "all configurations trained": Way(np.array(everything))}


def _by_score(replays: list[Replay], runs: list[list[Reached]]) -> Way:
    """A search that ended no run has chosen nothing."""
    pairs = list(zip(replays, runs, strict=True))
    ends = [replay.answers.truth[by_score(found)] if found else 0.0 for replay, found in pairs]
    return Way(np.array(ends), [replay.judged(found) for replay, found in pairs])


def _baselines(replays: list[Replay]) -> dict[str, list[list[list[Any]]]]:
    """The traces of other projects' searches; none without their packages."""
    if not (PACKAGES / "syne_tune").is_dir():
        print("no baselines: make bench-packages brings them", file=sys.stderr)
        return {}
    with tempfile.TemporaryDirectory() as folder:
        answers, traces = Path(folder, "answers.npz"), Path(folder, "traces.json")
        shape = [len(tried) for tried in replays[0].space.values()]
        seen, seeds = [replay.answers.seen for replay in replays], [replay.number for replay in replays]
        np.savez(answers, seen=seen, seeds=seeds, shape=shape, budget=BUDGET)
        script = REPOSITORY / "tests/bench/search_baselines.py"
        environment = {**os.environ, "PYTHONPATH": str(PACKAGES)}
        subprocess.run([sys.executable, str(script), str(answers), str(traces)], env=environment, check=True)
        known: dict[str, list[list[list[Any]]]] = json.loads(traces.read_text())
    return known
