"""Grids, proposals, budgets and the choice: pure functions of the search floor."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from documents import BUDGET, ENCODER, metrics_of, trial_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running import declared_defaults

from retclip.core.config import HYPERPARAMETERS
from retclip.core.io import canonical_json
from retclip.metrics.registry import METRICS, ZERO_SHOT
from retclip.search import budget, candidates, layout, proposals, selection, space
from retclip.search.importance import importances
from retclip.search.promotion import promoted
from retclip.search.recommendation import recommend_encoder
from retclip.search.wandb_sweep import sweep

DEFAULTS = {
    **declared_defaults(),
    "learning_rate": 1e-5,
    "batch_size": 128,
    "warmup_steps": 500,
    "weight_decay": 0.2,
    "temperature": 0.07,
    "learnable_temperature": True,
    "epochs": 10,
    "lr_scheduler": "cosine",
    "optimizer": "adamw",
    "max_grad_norm": 1.0,
    "freeze": "none",
    "augment": True,
    "same_class_negatives": "keep",
    "context_length": 77,
    "early_stopping_patience": 3,
    "precision": "auto",
}
GUIDE_GRID = {
    "learning_rate": [1e-6, 5e-6, 1e-5, 5e-5],
    "batch_size": [64, 128],
    "warmup_steps": [300, 500],
}
GUIDE_SPACE = {
    "learning_rate": {"times_best": [0.2, 0.6, 1.0, 1.4, 2.0]},
    "batch_size": "from_best",
    "warmup_steps": [500, 1000],
    "weight_decay": [0.1, 0.2, 0.3],
    "temperature": [0.05, 0.07, 0.1],
}


def specification(**changes):
    fields = {
        "id": "p1-00000000",
        "phase": "phase1",
        "text_encoder": "pubmedbert",
        "text_encoder_settings": ENCODER,
        "seed": 1,
        "image_encoder": {"architecture": "ViT-B-16"},
        "image_size": 224,
        "selection_metric": "zero_shot_balanced_accuracy",
        "train_samples": None,
        "val_samples": None,
        "epochs": None,
        "class_prompts": {"healthy": ["a healthy fundus"]},
        "shuffled_texts": False,
    }
    return {**fields, **changes}


def test_the_grid_of_the_guide_has_16_points_and_inserting_a_value_renames_none():
    trials = space.grid(GUIDE_GRID)
    assert len(trials) == 16
    wider = space.grid({**GUIDE_GRID, "learning_rate": [1e-6, 2e-6, 5e-6, 1e-5, 5e-5]})
    assert set(trials) < set(wider)
    assert len(set(wider) - set(trials)) == 4


def test_auto_learning_rates_are_named_by_position_and_resolved_later():
    trials = space.grid({**GUIDE_GRID, "learning_rate": "auto"})
    assert len(trials) == 16
    values = next(iter(trials.values()))
    assert space.resolve_auto(values, [1.0, 2.0, 3.0, 4.0])["learning_rate"] == 1.0


@pytest.mark.parametrize("seed", range(5))
def test_proposals_are_distinct_inside_and_do_not_change_when_more_follow(seed):
    absolute = space.near_best(GUIDE_SPACE, DEFAULTS)
    twenty = proposals.propose(absolute, DEFAULTS, 20, seed, "random")
    thirty = proposals.propose(absolute, DEFAULTS, 30, seed, "random")
    assert thirty[:20] == twenty
    assert len({canonical_json(values) for values in thirty}) == 30
    for values in thirty:
        assert all(values[name] in allowed for name, allowed in absolute.items())
        assert values["epochs"] == DEFAULTS["epochs"]


def test_a_whole_finite_space_can_be_drawn_and_one_more_is_refused():
    tiny = {"weight_decay": [0.1, 0.2], "temperature": [0.05, 0.07]}
    assert len(proposals.propose(tiny, DEFAULTS, 4, 0, "random")) == 4
    with pytest.raises(ValueError, match=r"only 4 new configurations for 5 trials"):
        proposals.propose(tiny, DEFAULTS, 5, 0, "random")


def test_ranges_are_drawn_inside_their_bounds():
    ranges = {
        "learning_rate": {"low": 1e-6, "high": 1e-4, "log": True},
        "warmup_steps": {"low": 100, "high": 1000, "int": True},
    }
    drawn = proposals.propose(ranges, DEFAULTS, 50, 0, "random")
    assert all(1e-6 <= values["learning_rate"] <= 1e-4 for values in drawn)
    assert all(isinstance(values["warmup_steps"], int) for values in drawn)


def test_a_short_run_warms_up_for_the_same_share_of_its_steps():
    counts = {"train": 12_989, "val": 1000}
    full = budget.plan(specification(), DEFAULTS, counts)
    assert full.budget.total_steps == 1020  # 102 steps an epoch
    assert full.hyperparameters["warmup_steps"] == 500
    short = budget.plan(specification(train_samples=2000, epochs=2), DEFAULTS, counts)
    assert short.budget.total_steps == 32
    assert short.hyperparameters["warmup_steps"] == round(500 * 32 / 1020)
    assert short.configured["warmup_steps"] == 500


def test_test_mode_takes_2_to_4_steps():
    counts = {"train": 12_989, "val": 1000}
    steps = [
        budget.plan(
            specification(train_samples=100, val_samples=50, epochs=2), {**DEFAULTS, "batch_size": size}, counts
        ).budget.total_steps
        for size in (64, 128)
    ]
    assert steps == [4, 2]


def test_adjustments_are_recorded():
    trial = budget.plan(
        specification(train_samples=100, epochs=2), {**DEFAULTS, "batch_size": 128}, {"train": 50_000, "val": 9}
    )
    assert trial.hyperparameters["batch_size"] == 100
    assert [cut.key for cut in trial.budget.cuts] == ["batch_size"]
    long = budget.plan(specification(), {**DEFAULTS, "warmup_steps": 1000}, {"train": 11_700, "val": 9})
    assert long.budget.total_steps == 920
    assert long.hyperparameters["warmup_steps"] == 736  # the 1000 of the guide in 920 steps, adjusted to 80 %
    assert long.budget.cuts[0].configured == 1000


def test_nothing_to_contrast_is_refused():
    with pytest.raises(ValueError, match="1 training samples"):
        budget.plan(specification(), DEFAULTS, {"train": 1, "val": 1})


def run(identifier, score, error=0.01, patients=200, cost=1000, offset=0, **values):
    """A Run whose predictions give about `score`, deterministic in the id."""
    target = np.arange(patients) % 2
    right = (np.arange(patients) + offset) % patients < round(score * patients)
    guess = np.where(right, target, 1 - target)
    table = pd.DataFrame(
        {
            "patient_id": [str(i) for i in range(patients)],
            "target": target,
            "score_0": (guess == 0).astype(float),
            "score_1": (guess == 1).astype(float),
        }
    )
    trial = budget.plan(
        specification(id=identifier, train_samples=cost), {**DEFAULTS, **values}, {"train": 10_000, "val": patients}
    )
    balanced = float(np.mean([right[target == c].mean() for c in (0, 1)]))
    val = {
        "loss": 1.0,
        **dict.fromkeys(METRICS, balanced),
        "standard_error": dict.fromkeys(METRICS, error),
        "levels": {"chance": dict.fromkeys(ZERO_SHOT, 0.5), "majority": {}},
    }
    return candidates.Candidate(identifier, [candidates.Run(metrics_of(trial, val), table)])


METRIC = "zero_shot_balanced_accuracy"


def decide(*candidates, tried=None):
    board = selection.leaderboard(selection.rank(list(candidates), METRIC), METRIC)
    return board, selection.select(board, METRIC, DEFAULTS, tried or {})


def test_the_best_score_wins_when_it_is_clearly_better():
    board, best = decide(run("a", 0.7), run("b", 0.9, learning_rate=2e-5))
    assert best["id"] == "b"
    assert list(board["id"]) == ["b", "a"]
    assert best["configured"]["learning_rate"] == 2e-5
    assert best["configured"]["epochs"] == 10


def test_a_tie_goes_to_the_lower_planned_cost_and_then_to_the_better_score():
    _, best = decide(run("dear", 0.9, cost=5000), run("cheap", 0.895, cost=1000, offset=30, learning_rate=2e-5))
    assert best["id"] == "cheap"
    assert best["ties"] == ["dear"]
    _, best = decide(run("z", 0.9), run("a", 0.895, offset=30, learning_rate=2e-5))
    assert best["id"] == "z", "the better score wins among equals, never the lower id"


def test_where_nothing_beats_chance_the_defaults_are_kept():
    _, best = decide(run("a", 0.51, learning_rate=3e-5), run("b", 0.5))
    assert best["id"] == "defaults"
    assert best["configured"] == DEFAULTS
    assert "undecided" in best["reason"]


def test_a_diverged_trial_ranks_last_and_all_diverged_means_the_defaults():
    broken = run("x", 0.9, learning_rate=1.0)
    broken.runs[0].metrics = metrics_of(broken.runs[0].trial, status="diverged")
    board, best = decide(broken, run("a", 0.8))
    assert list(board["id"]) == ["a", "x"]
    assert best["id"] == "a"
    _, best = decide(broken)
    assert best["id"] == "defaults"


def test_configs_that_became_equal_are_merged():
    board, best = decide(run("first", 0.9, batch_size=2000), run("second", 0.9, batch_size=4000))
    assert board["note"].iloc[1] == "equal to first after the budget's adjustments"
    assert best["runners_up"] == []


def test_a_best_value_on_the_border_is_said():
    tried = {"learning_rate": [1e-6, 1e-5, 1e-4], "batch_size": [64, 128]}
    _, best = decide(run("a", 0.9, learning_rate=1e-4), tried=tried)
    assert len(best["warnings"]) == 1
    assert best["warnings"][0].startswith("learning_rate = 0.0001 lies on the border")
    assert best["borders"] == {"learning_rate": 1.0e-4}
    tried = {"learning_rate": {"low": 1e-6, "high": 1.1e-4, "log": True}, "weight_decay": {"low": 0.0, "high": 0.4}}
    _, best = decide(run("a", 0.9, learning_rate=1e-4), tried=tried)
    assert [line.split()[0] for line in best["warnings"]] == ["learning_rate"]


def test_trials_of_a_few_steps_cannot_rank():
    board, _ = decide(run("a", 0.9), run("b", 0.6))
    short = selection.select(board.assign(steps=[2, 4]), METRIC, DEFAULTS, {})
    assert short["warnings"][0].startswith("the trials took only 2 to 4 optimizer steps")
    assert not any("optimizer steps" in line for line in selection.select(board, METRIC, DEFAULTS, {})["warnings"])


def test_several_seeds_are_averaged():
    one, other = run("a", 0.8), run("a", 0.9)
    one.runs += other.runs
    board, _ = decide(one)
    assert board["metric"].iloc[0] == pytest.approx(0.85, abs=0.01)


def test_every_hyperparameter_stands_in_the_leaderboard():
    board, _ = decide(run("a", 0.8))
    assert set(HYPERPARAMETERS) <= set(board.columns)
    assert board["epochs"].iloc[0] == 10


def test_the_encoder_is_recommended_by_the_mean_over_seeds():
    finals = []
    for encoder, score in [("a", 0.7), ("a", 0.9), ("b", 0.85), ("b", 0.79)]:
        trial = replace(run(encoder, 0.8).runs[0].trial, text_encoder=encoder)
        finals.append(metrics_of(trial, {METRIC: score}))
    decision = recommend_encoder(finals, METRIC)
    assert decision["encoder"] == "b"
    assert decision["val_scores"]["a"] == pytest.approx(0.8)


# --- strategies ------------------------------------------------------------------------------------------------

STRATEGIES = ("random", "grid", "qmc", "tpe", "gp", "tpe_halving")
LISTS = {"learning_rate": [1e-4, 3e-4, 1e-3, 3e-3], "batch_size": [32, 64, 128], "optimizer": ["adamw", "sgd"]}
RANGES = {
    "learning_rate": {"low": 1e-5, "high": 1e-2, "log": True},
    "warmup_steps": {"low": 1, "high": 90, "int": True},
}
BASE = {"learning_rate": 1e-3, "batch_size": 64, "optimizer": "adamw", "warmup_steps": 10, "weight_decay": 0.1}


def seen(count, allowed=LISTS):
    """Observations of `count` random configurations; the higher the learning rate, the better; one diverged."""
    drawn = proposals.propose(allowed, BASE, count, 0, "random")
    scores = [values["learning_rate"] * 100 for values in drawn]
    found = [proposals.Observation(values, {4: score}, True) for values, score in zip(drawn, scores, strict=True)]
    return [*found[:-1], proposals.Observation(drawn[-1], {1: None}, True)]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("allowed", [LISTS, RANGES], ids=["lists", "ranges"])
@pytest.mark.parametrize("observed", [0, 9], ids=["blind", "informed"])
def test_every_strategy_proposes_new_points_of_the_space(strategy, allowed, observed):
    if strategy == "grid" and allowed is RANGES:
        return
    known = seen(observed, allowed) if observed else []
    few = proposals.propose(allowed, BASE, 3, 5, strategy, known)
    more = proposals.propose(allowed, BASE, 6, 5, strategy, known)
    assert more[:3] == few
    every = [*(entry.values for entry in known), *more]
    assert len({json.dumps(values, sort_keys=True) for values in every}) == len(every)
    for values in more:
        assert values["weight_decay"] == BASE["weight_decay"]
        for name, span in allowed.items():
            if isinstance(span, list):
                assert values[name] in span
                assert type(values[name]) is type(span[0])
            else:
                assert span["low"] <= values[name] <= span["high"]


NUMBERS = st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=5, unique=True)
WHOLE = st.lists(st.integers(2, 512), min_size=1, max_size=5, unique=True)
SPACES = st.fixed_dictionaries(
    {},
    optional={
        "learning_rate": NUMBERS | st.just({"low": 1e-5, "high": 1e-2, "log": True}),
        "batch_size": WHOLE,
        "warmup_steps": WHOLE | st.just({"low": 1, "high": 90, "int": True}),
        "weight_decay": NUMBERS | st.just({"low": 0.0, "high": 0.5}),
        "optimizer": st.lists(st.sampled_from(["adamw", "adam", "sgd"]), min_size=1, max_size=3, unique=True),
    },
).filter(bool)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(allowed=SPACES, seed=st.integers(0, 10_000), count=st.integers(1, 4), data=st.data())
def test_no_proposals_repeat_leave_the_space_or_change_when_their_number_grows(allowed, seed, count, data):
    possible = space.size(allowed)
    known_count = data.draw(st.integers(0, 12 if possible is None else min(12, possible - 1)))
    count = count if possible is None else min(count, possible - known_count)
    known = seen(known_count, allowed) if known_count else []
    lists = possible is not None
    for strategy in ("random", "qmc", "tpe", "tpe_halving", *(["grid"] if lists else [])):
        more = proposals.propose(allowed, BASE, count, seed, strategy, known)
        assert proposals.propose(allowed, BASE, 1, seed, strategy, known) == more[:1]
        every = [canonical_json(values) for values in [*(entry.values for entry in known), *more]]
        assert len(set(every)) == len(every)
        for values in more:
            assert {name: values[name] for name in BASE.keys() - allowed.keys()} == {
                name: BASE[name] for name in BASE.keys() - allowed.keys()
            }
            for name, span in allowed.items():
                inside = values[name] in span if isinstance(span, list) else span["low"] <= values[name] <= span["high"]
                assert inside, (strategy, name, values[name])


@pytest.mark.parametrize(
    "strategy", ["random", "qmc", "tpe", pytest.param("gp", marks=pytest.mark.slow), "tpe_halving"]
)
def test_the_last_points_of_a_space_are_found_without_many_draws(strategy, monkeypatch):
    import optuna

    asked = []
    ask = optuna.Study.ask
    monkeypatch.setattr(optuna.Study, "ask", lambda *arguments: asked.append(1) or ask(*arguments))
    whole = proposals.propose(LISTS, BASE, 24, 0, "grid")
    known = [proposals.Observation(values, {4: values["learning_rate"] * 100}, True) for values in whole[:22]]
    last = proposals.propose(LISTS, BASE, 2, 5, strategy, known)
    assert sorted(map(canonical_json, last)) == sorted(map(canonical_json, whole[22:]))
    assert len(asked) <= 100
    assert proposals.propose(LISTS, BASE, 2, 5, strategy, known) == last
    assert proposals.propose(LISTS, BASE, 1, 5, strategy, known) == last[:1]
    with pytest.raises(ValueError, match=r"only 2 new configurations for 3 trials"):
        proposals.propose(LISTS, BASE, 3, 5, strategy, known)


def test_the_last_of_two_thousand_points_is_found():
    steps = {"warmup_steps": {"low": 1, "high": 1000, "int": True}, "optimizer": ["adamw", "sgd"]}
    whole = [{**BASE, "warmup_steps": step, "optimizer": name} for step in range(1, 1001) for name in ("adamw", "sgd")]
    left = whole.pop(1234)
    known = [proposals.Observation(values, {4: 0.5}, True) for values in whole]
    assert [proposals.propose(steps, BASE, 1, seed, "random", known) for seed in range(3)] == [[left]] * 3


def test_a_sampler_that_names_what_is_known_gets_the_point_next_to_it():
    """All of the best learning rate is known: the second best is nearer to it than the worst."""
    named = {"learning_rate": 3e-3, "batch_size": 128, "optimizer": "sgd"}
    found = proposals._nearest_new(named, LISTS, 1, lambda point: point["learning_rate"] != 3e-3)
    assert found == {"learning_rate": 1e-3, "batch_size": 128, "optimizer": "sgd"}


@pytest.mark.parametrize("strategy", ["tpe", "gp"])
def test_what_was_seen_steers_the_proposals(strategy):
    """After twenty trials that say "higher is better", proposals lie higher than random ones."""
    known = seen(20, RANGES)
    steered = proposals.propose(RANGES, BASE, 12, 1, strategy, known)
    blind = proposals.propose(RANGES, BASE, 12, 1, "random")
    assert np.median([v["learning_rate"] for v in steered]) > 1.5 * np.median([v["learning_rate"] for v in blind])


def test_optuna_is_told_the_worst_score_of_what_diverged_and_the_curve_of_what_was_cut():
    import optuna

    values = [{**BASE, "learning_rate": rate} for rate in LISTS["learning_rate"]]
    known = [
        proposals.Observation(values[0], {2: 0.3, 4: 0.5}, True),
        proposals.Observation(values[1], {2: 0.2}, False),
        proposals.Observation(values[2], {1: None}, True),
        proposals.Observation({**values[3], "batch_size": 999}, {4: 0.9}, True),  # no longer in the space
    ]
    told = proposals.optuna_trials(known, LISTS)
    states = optuna.trial.TrialState
    assert [trial.state for trial in told] == [states.COMPLETE, states.PRUNED, states.COMPLETE]
    assert [trial.value for trial in told] == [0.5, 0.2, 0.2]
    assert told[1].intermediate_values == {2: 0.2}


def metrics(values, epochs, total, score, status="completed"):
    trial = trial_of(configured=values, budget={**BUDGET, "total_steps": total * 10})
    return metrics_of(trial, {"score": score}, status=status, epochs=epochs, steps=epochs * 10)


def test_rungs_of_one_training_are_one_observation():
    first, second = {"learning_rate": 1}, {"learning_rate": 2}
    documents = [metrics(first, 2, 10, 0.2), metrics(second, 2, 10, 0.3), metrics(second, 10, 10, 0.6),
                 metrics({"learning_rate": 3}, 1, 10, None, "diverged")]  # fmt: skip
    found = proposals.observations(documents, "score")
    assert [(entry.scores, entry.finished) for entry in found] == [
        ({2: 0.2}, False),
        ({2: 0.3, 10: 0.6}, True),
        ({1: None}, True),
    ]
    assert promoted(documents[:2], "score", 1) == [second]
    assert promoted([documents[3], documents[0]], "score", 2) == [first, {"learning_rate": 3}]


def phase2(strategy, **changes):
    return {"strategy": strategy, "trials": 10, "trials_per_round": 4, "brackets": 2, "space": LISTS,
            "rungs": {"slots": [6, 3, 1], "epochs": [2, 5, 10]}, **changes}  # fmt: skip


def test_the_layout_of_every_strategy():
    shapes = {strategy: layout.slots(phase2(strategy)) for strategy in STRATEGIES}
    assert list(shapes["random"])[:2] == ["b0r0s00", "b0r0s01"]
    assert [len(shapes[strategy]) for strategy in STRATEGIES] == [10, 24, 10, 10, 10, 20]
    assert layout.members(shapes["tpe"], 2, 0) == ["b2r0s00", "b2r0s01"]
    assert layout.before(shapes["tpe"], 1) == ["b0r0s00", "b0r0s01", "b0r0s02", "b0r0s03"]
    halving = shapes["tpe_halving"]
    assert layout.members(halving, 1, 2) == ["b1r2s00"]
    assert [halving[name].stop_epoch for name in ("b0r0s00", "b0r1s00", "b0r2s00")] == [2, 5, None]


def test_a_layout_that_the_space_cannot_fill_is_refused():
    with pytest.raises(ValueError, match="has 24 distinct configurations, fewer than the 40"):
        layout.slots(phase2("random", trials=40))
    with pytest.raises(ValueError, match=r"phase2\.strategy is grid, so phase2\.space must have lists"):
        layout.slots(phase2("grid", space=RANGES))


def board(trials, effect, seed=0):
    """A leaderboard whose score follows the learning rate alone, as far as `effect` says; the rest is noise."""
    drawn = proposals.propose(LISTS, BASE, trials, seed, "random")
    noise = np.random.default_rng(seed).normal(size=trials)
    scores = [effect * np.log(values["learning_rate"]) + error for values, error in zip(drawn, noise, strict=True)]
    return pd.DataFrame(drawn).assign(metric=scores, status="completed", may_be_chosen=True)


@pytest.mark.slow
def test_importances_find_what_mattered_and_their_intervals_say_how_surely():
    found = importances(board(20, effect=5), list(LISTS), draws=40)
    assert found[0]["name"] == "learning_rate"
    assert found[0]["low"] > 0.6
    assert sum(entry["value"] for entry in found) == pytest.approx(1)
    assert all(entry["low"] <= entry["value"] <= entry["high"] for entry in found)
    unsure = importances(board(20, effect=0), list(LISTS), draws=40)
    assert max(entry["high"] - entry["low"] for entry in unsure) > 0.4
    assert found == importances(board(20, effect=5), list(LISTS), draws=40)


def test_importances_of_too_few_trials_are_not_given():
    few = board(12, effect=5)
    few["may_be_chosen"] = [False] * 3 + [True] * 9
    assert importances(few, list(LISTS), draws=2) == []
    few["may_be_chosen"] = [False] * 2 + [True] * 9 + [False]
    few["metric"] = [*few["metric"][:-1], None]  # it diverged, and counts as the worst
    few["status"] = ["completed"] * 11 + ["diverged"]
    assert len(importances(few, [*LISTS, "weight_decay"], draws=2)) == 3


def test_a_sweep_has_the_guides_five_hyperparameters_as_the_space_has_them():
    wide = {"learning_rate": {"low": 1e-6, "high": 1e-4, "log": True}, "batch_size": "from_best",
            "warmup_steps": {"low": 100, "high": 1000, "int": True}, "temperature": {"times_best": [0.5, 1.0]},
            "optimizer": ["adamw", "sgd"]}  # fmt: skip
    content = sweep(wide, DEFAULTS, METRIC, "full", "retclip-tune", ["${env}", "${args}"], "wandb_trial.py")
    assert content["method"] == "bayes"
    assert content["metric"] == {"name": METRIC, "goal": "maximize"}
    assert content["parameters"] == {
        "learning_rate": {"distribution": "log_uniform_values", "min": 1e-6, "max": 1e-4},
        "batch_size": {"values": [128]},
        "warmup_steps": {"distribution": "int_uniform", "min": 100, "max": 1000},
        "temperature": {"values": [0.035, 0.07]},
        "weight_decay": {"value": 0.2},
    }
