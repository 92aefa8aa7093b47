"""The comparison of searches: what they spend and how they are judged, on a table whose scores are known."""

import sys

import numpy as np
import pytest
from running import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "tests/bench"))
sys.path.insert(0, str(REPOSITORY / "tests/workflow"))

import compare_searches
import search_photographs
from search_baselines import optuna_hyperband, syne_tune_asha
from search_choices import Reached, Said, by_model, by_score
from search_digits import EPOCHS, SPACE, Digits
from search_replay import BUDGET, PACKAGES, Replay, Way, search_all
from search_sharp import Sharp
from search_table import Answers, Table, Views, configurations, make_table

POINTS = configurations(SPACE)
TARGET, PATIENT = np.arange(200) % 4, np.arange(200) // 2


def known(values: dict, seed: int, epoch: int) -> float:
    """The higher the rate and the later the epoch, the better, in each seed by another amount."""
    return SPACE["learning_rate"].index(values["learning_rate"]) * epoch / 100 + seed / 1000 * values["temperature"]


def replay_of(seen: int, truth: list[int]) -> Replay:
    seen_scores = np.array([[known(values, seen, epoch) for epoch in range(1, EPOCHS + 1)] for values in POINTS])
    true = np.array([np.mean([known(values, seed, EPOCHS) for seed in truth]) for values in POINTS])
    return Replay(
        SPACE, Answers(seen_scores, np.zeros((len(POINTS), 200), int), Views(TARGET, PATIENT), true), number=4
    )


@pytest.mark.parametrize("strategy", ["random", "tpe", "tpe_halving"])
def test_strategies_spend_the_same_and_are_judged_by_seeds_that_they_did_not_see(strategy):
    replay = replay_of(seen=2, truth=[1, 3])
    trace = replay.judged(list(replay.search(strategy)))
    assert trace == replay.judged(list(replay.search(strategy)))
    costs = [spent for spent, _ in trace]
    assert costs == sorted(costs)
    assert costs[-1] == (196 if strategy == "tpe_halving" else 200)
    qualities = [sum(known(values, seed, EPOCHS) for seed in (1, 3)) / 2 for values in POINTS]
    assert any(trace[-1][1] == pytest.approx(quality) for quality in qualities)
    if strategy != "random":
        assert trace[-1][1] == pytest.approx(max(qualities), abs=1e-3), "the highest rate is easily found"


def test_search_and_truth_share_no_patient_and_no_seed():
    seeds, epochs = 3, 2
    named = np.random.default_rng(0).integers(0, 4, (5, seeds, epochs, 200)).astype(np.uint8)
    table = Table(named, Views(TARGET, PATIENT))
    for number in range(4):
        before = table.answers(number)
        seen_patients = set(before.views.patient)
        assert len(seen_patients) == 50
        is_seen, seen_seed = np.isin(PATIENT, list(seen_patients)), number % seeds
        # what the search does not see moves nothing that it sees, and the other way round
        hidden, shown = named.copy(), named.copy()
        hidden[:, seen_seed, :, ~is_seen] = hidden[:, [s for s in range(seeds) if s != seen_seed]] = 0
        shown[:, :, :, is_seen] = shown[:, seen_seed] = 0
        after = Table(hidden, table.views).answers(number)
        assert np.array_equal(after.seen, before.seen)
        assert np.array_equal(after.named, before.named)
        assert np.allclose(Table(shown, table.views).answers(number).truth, before.truth)
        recalls = [(before.named[0][before.views.target == k] == k).mean() for k in range(4)]
        assert before.seen[0, -1] == pytest.approx(np.mean(recalls)), "balanced accuracy"


def test_a_table_goes_on_where_it_was_stopped(tmp_path):
    trained = []

    class Small:
        name, space, seeds, epochs, baseline = (
            "small",
            {"learning_rate": [1e-3, 1e-2], "batch_size": [8]},
            (1, 2),
            2,
            {},
        )

        def views(self):
            return Views(np.array([0, 1]), np.array([0, 1]))

        def train(self, values, seed):
            if len(trained) == 3:
                raise KeyboardInterrupt
            trained.append((values["learning_rate"], seed))
            yield from ([seed, 0], [seed, 1])

    with pytest.raises(KeyboardInterrupt):
        make_table(Small(), tmp_path / "table.csv")
    begun = list(trained)
    trained.clear()
    with (tmp_path / "table.csv").open("a") as stream:
        stream.write("0.01,8,2,1.0,2")  # killed within a line
    table = make_table(Small(), tmp_path / "table.csv")
    assert begun + trained == [(rate, seed) for seed in (1, 2) for rate in (1e-3, 1e-2)]
    assert len(trained) == 1
    assert table.named.tolist() == [[[[seed, 0], [seed, 1]] for seed in (1, 2)]] * 2


@pytest.mark.parametrize("search", [optuna_hyperband, syne_tune_asha])
def test_baselines_spend_no_more_and_see_the_same_scores(search, monkeypatch):
    if search is syne_tune_asha:
        if not (PACKAGES / "syne_tune").is_dir():
            pytest.skip("no baselines: make bench-packages brings them")
        monkeypatch.syspath_prepend(PACKAGES)
    seen = replay_of(seen=2, truth=[1, 3]).answers.seen
    runs = list(search(seen, tuple(len(tried) for tried in SPACE.values()), BUDGET, 0))
    assert 1 <= len(runs) <= BUDGET / EPOCHS
    assert all(EPOCHS <= spent <= BUDGET for spent, _, _ in runs)
    assert all(score == seen[row, -1] for _, row, score in runs)


def test_tasks_of_other_sizes_are_compared_together():
    """Digits have 216 configurations, the others 200: what trains all of them is one row."""
    first, tasks = replay_of(seen=2, truth=[1, 3]), {}
    for task, rates in (("whole", 6), ("part", 5)):
        space = {**SPACE, "learning_rate": SPACE["learning_rate"][:rates]}
        keep = [row for row, values in enumerate(POINTS) if values["learning_rate"] in space["learning_rate"]]
        seen, named, views, truth = first.answers
        tasks[task] = search_all([Replay(space, Answers(seen[keep], named[keep], views, truth[keep]), 4)], ["random"])
    assert len(compare_searches.rows(tasks["part"])) == len(tasks["whole"])
    (row,) = compare_searches.together(tasks, dict.fromkeys(tasks, 0.0))
    assert row["search"] == "random, by model"


def test_a_model_chooses_where_luck_would():
    generator = np.random.default_rng(1)
    rows = generator.permutation(len(POINTS))[:20]
    truth = [known(POINTS[row], 1, EPOCHS) for row in rows]
    noisy = [Reached(10 * (place + 1), int(row), true + 0.2 * generator.normal())
             for place, (row, true) in enumerate(zip(rows, truth, strict=True))]  # fmt: skip
    chosen = [known(POINTS[choice], 1, EPOCHS) for choice in (by_score(noisy), by_model(POINTS, noisy))]
    assert chosen[1] >= chosen[0]
    assert by_model(POINTS, noisy[:3]) == by_score(noisy[:3]), "of three trials there is no model"


def test_the_stop_rule_tells_a_flat_task_from_one_that_is_not():
    classes = 8
    target = np.arange(200) % classes

    def said(chances):
        # all models share what is easy, as real ones do
        easy, generator = np.random.default_rng(0).random(200), np.random.default_rng(1)
        luck = 0.8 * easy + 0.2 * generator.random((len(POINTS), 1, EPOCHS, 200))
        wrong = (target + generator.integers(1, classes, luck.shape)) % classes
        named = np.where(luck < np.array(chances)[:, None, None, None], target, wrong).astype(np.uint8)
        answers = Table(np.repeat(named, 2, axis=1), Views(target, PATIENT)).answers(0)
        return Replay(SPACE, answers, 0).said(POINTS[0])

    flat, steep = said([0.6] * len(POINTS)), said([0.3 + known(values, 1, EPOCHS) for values in POINTS])
    assert flat == (True, True, True)
    assert steep == (True, False, False)


def test_where_nothing_was_learned_the_baseline_counts():
    replay = replay_of(seen=2, truth=[1, 3])
    random = Way(np.array([0.9, 0.9]))
    said = [Said(True, False, False), Said(False, False, False)]
    ends = compare_searches.guarded(random, [replay, replay], said, POINTS[7]).ends
    assert ends.tolist() == [0.9, pytest.approx(np.mean([known(POINTS[7], seed, EPOCHS) for seed in (1, 3)]))]


def test_the_sharp_landscape_has_another_top_in_each_replay():
    tops = [int(Sharp().table(number).answers(0).truth.argmax()) for number in range(3)]
    assert len(set(tops)) > 1
    answers = Sharp().table(0).answers(0)
    assert answers.seen.shape == (200, 10)
    near, far = np.sort(answers.truth)[-1], np.median(answers.truth)
    assert near - far > 0.08, "of .15 between the top and where it is flat"


def test_photographs_that_are_missing_are_named_and_left_out(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(search_photographs, "PLACES", (None, tmp_path))
    found = compare_searches.tasks_of(["photographs", "sharp"], tmp_path)
    assert list(found) == ["sharp"]
    assert "RETCLIP_REAL_DATA" in capsys.readouterr().err


def test_a_share_has_its_interval_and_a_cost_its_median():
    assert compare_searches.wilson(0.8, 100) == pytest.approx([0.711, 0.867], abs=1e-3)
    way = Way(np.array([0.6, 0.5]), [[(10, 0.2), (20, 0.6)], [(10, 0.4), (20, 0.5)]])
    assert way.cost_of(0.5) == 20
    assert way.cost_of(0.7) is None
    assert way.wins(Way(np.array([0.4, 0.5]))) == 0.75


@pytest.mark.slow
def test_the_digits_are_trained():
    task = Digits()
    named = next(task.train({**POINTS[0], "batch_size": 512, "learning_rate": 2e-3}, seed=1))
    views = task.views()
    assert named.shape == views.target.shape == views.patient.shape == (1000,)
    assert set(named.tolist()) <= set(range(10))
