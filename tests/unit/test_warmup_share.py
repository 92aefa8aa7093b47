"""A warm-up as a share of the steps, and dimensions of a search that cannot matter."""

import pytest
from documents import SPECIFICATION, VALUES
from running import merged

from retclip.core.config import check_form, drop_nulls
from retclip.core.warmup import check_warmup
from retclip.search import budget
from retclip.search.dead_dimensions import dead_dimensions
from retclip.search.forecast import forecast
from retclip.search.plan_text import plan_lines

COUNTS = {"train": 2_076, "val": 300, "test": 600}
PLANNED = {**SPECIFICATION, "id": "t", "phase": "phase2", "text_encoder": "x", "seed": 1,
           "selection_metric": "zero_shot_accuracy"}  # fmt: skip
NUMBERS = {"phase1": 17, "phase2": 20, "confirm": 6, "final": 12}


def by_share(**sections) -> dict:
    """The full config with a warm-up by share in its defaults."""
    config = merged()
    config["defaults"].update(warmup_steps=0, warmup_share=0.1)
    for phase in ("phase1", "phase2"):
        config[phase]["space"].pop("warmup_steps")
    for section, values in sections.items():
        config[section]["space"].update(values)
    return drop_nulls(config)


def test_every_trial_warms_up_for_its_share():
    values = {**VALUES, "warmup_steps": 0, "warmup_share": 0.1}
    long = budget.plan(PLANNED, {**values, "batch_size": 100, "epochs": 10}, COUNTS)
    assert (long.budget.total_steps, long.hyperparameters["warmup_steps"]) == (210, 21)
    short = budget.plan(
        {**PLANNED, "epochs": 2, "train_samples": 100}, {**values, "batch_size": 50, "epochs": 10}, COUNTS
    )
    assert (short.budget.total_steps, short.hyperparameters["warmup_steps"]) == (4, 0)
    assert long.configured["warmup_share"] == 0.1
    assert long.hyperparameters["warmup_share"] == 0.0, "its steps say it already"
    assert long.budget.cuts == ()


def test_a_share_of_which_nothing_is_left_to_train_is_cut():
    values = {**VALUES, "warmup_steps": 0, "warmup_share": 0.9, "batch_size": 100, "epochs": 10}
    trial = budget.plan(PLANNED, values, COUNTS)
    assert trial.hyperparameters["warmup_steps"] == 168
    (cut,) = trial.budget.cuts
    assert (cut.key, cut.configured, cut.used) == ("warmup_share", 0.9, 0.8)


def test_steps_and_a_share_at_once_are_refused():
    check_form(by_share(), "config")
    check_warmup(by_share(phase2={"warmup_share": [0.05, 0.1]}), "config")
    check_warmup(drop_nulls(merged()), "config")
    for config, where in (
        (by_share(phase2={"warmup_steps": [10, 20]}), "phase2.space.warmup_steps"),
        (by_share(phase1={"warmup_steps": [10]}), "phase1.space.warmup_steps"),
        ({**by_share(), "defaults": {**by_share()["defaults"], "warmup_steps": 500}}, "defaults.warmup_steps"),
    ):
        with pytest.raises(ValueError, match=f"config: {where} and defaults.warmup_share both set the warm-up") as told:
            check_warmup(config, "config")
        assert len(str(told.value)) <= 300
    with pytest.raises(ValueError, match="both set the warm-up"):
        budget.plan(PLANNED, {**VALUES, "warmup_steps": 5, "warmup_share": 0.1}, COUNTS)


def test_the_plan_proposes_a_share_where_it_cuts_most_warm_ups():
    """The guide's 500 and 1,000 steps on 2,076 patients, whose runs have 170 to 330 steps."""
    lines = plan_lines("x", COUNTS, "", forecast(drop_nulls(merged()), COUNTS, NUMBERS), None, None)
    (line,) = (line for line in lines if "warmup_share" in line)
    assert "Phase 2" in line
    assert "warmup_steps: 0" in line
    many = {"train": 40_000, "val": 300, "test": 600}
    lines = plan_lines("x", many, "", forecast(drop_nulls(merged()), many, NUMBERS), None, None)
    assert not any("warmup_share" in line for line in lines)


def test_dimensions_that_cannot_matter_are_named():
    """100 samples: both batch sizes become 100; 170 steps: both warm-ups become 80 % of them."""
    config = merged()
    config["phase1"].update(train_samples=60)
    found = dead_dimensions(drop_nulls(config), {**COUNTS, "train": 900})
    assert any(line.startswith("phase1.space.batch_size: all of its values become the same") for line in found)
    assert any(line.startswith("phase2.space.warmup_steps: all of its values become the same") for line in found)
    assert not any("learning_rate" in line or "temperature" in line for line in found)
    assert dead_dimensions(drop_nulls(merged("demo")), {"train": 1_000, "val": 140, "test": 260}) == []


def test_a_weight_decay_that_moves_no_weight_is_named():
    """1e-5 in 170 steps: a decay of .3 and one of .1 differ by less than a thousandth of a weight."""
    config = merged()
    config["phase1"]["space"]["learning_rate"] = [1.0e-6, 1.0e-5]
    (line,) = (line for line in dead_dimensions(drop_nulls(config), COUNTS) if "weight_decay" in line)
    assert line.startswith("phase2.space.weight_decay: ")
    assert "0.1 to 0.3" in line
    config["phase1"]["space"]["learning_rate"] = [1.0e-3]
    assert not any("weight_decay" in line for line in dead_dimensions(drop_nulls(config), COUNTS))
