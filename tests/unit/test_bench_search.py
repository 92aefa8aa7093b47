"""The replay of search strategies: what it spends and how it judges, on a table whose scores are known."""

import sys

import pandas as pd
import pytest
from running import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "tests/bench"))

import search_replay
import search_table
from search_table import COLUMNS, EPOCHS, SEEDS, SPACE, configurations


def known(values: dict, seed: int, epoch: int) -> float:
    """The higher the rate and the later the epoch, the better, in each seed by another amount."""
    return SPACE["learning_rate"].index(values["learning_rate"]) * epoch / 100 + seed / 1000 * values["temperature"]


@pytest.fixture(scope="module")
def replay() -> search_replay.Replay:
    rows = [
        [*values.values(), seed, 1.0, *(known(values, seed, epoch) for epoch in range(1, EPOCHS + 1))]
        for values in configurations()
        for seed in SEEDS
    ]
    assert len(rows) >= 600
    return search_replay.Replay(pd.DataFrame(rows, columns=list(COLUMNS)))


@pytest.mark.parametrize("strategy", ["random", "tpe", "tpe_halving"])
def test_strategies_spend_the_same_and_are_judged_by_seeds_that_they_did_not_see(replay, strategy):
    trace = list(replay.search(strategy, 4))
    assert trace == list(replay.search(strategy, 4))
    costs = [spent for spent, _ in trace]
    assert costs == sorted(costs)
    assert costs[-1] == (196 if strategy == "tpe_halving" else 200)
    unseen = [seed for seed in SEEDS if seed != SEEDS[4 % len(SEEDS)]]
    qualities = [sum(known(values, seed, EPOCHS) for seed in unseen) / len(unseen) for values in configurations()]
    assert any(trace[-1][1] == pytest.approx(quality) for quality in qualities)
    if strategy != "random":
        assert trace[-1][1] == pytest.approx(max(qualities), abs=1e-3), "the highest rate is easily found"


def test_a_share_has_its_interval_and_a_cost_its_median():
    assert search_replay._wilson(80, 100) == pytest.approx([0.711, 0.867], abs=1e-3)
    traces = [[(10, 0.2), (20, 0.6)], [(10, 0.4), (20, 0.5)]]
    assert search_replay._cost_of(traces, 0.5) == 20
    assert search_replay._cost_of(traces, 0.7) is None


@pytest.mark.slow
def test_the_digits_are_trained(monkeypatch):
    monkeypatch.setattr(search_table, "EPOCHS", 1)
    task = search_table.Task()
    (score,) = task.train({**configurations()[0], "batch_size": 512, "learning_rate": 2e-3}, seed=1)
    assert 0.0 <= score <= 1.0
