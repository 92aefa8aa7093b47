"""The plan's arithmetic, against budgets worked out by hand, and what it refuses."""

import json
import re

import pytest
from running import entry, merge, merged

from retclip.core.config import drop_nulls
from retclip.core.table_counts import estimated_counts
from retclip.metrics.refusals import refuse_meaningless
from retclip.search.forecast import (
    HEADS_PER_SECOND,
    START_SECONDS,
    cached_seconds,
    device_seconds,
    forecast,
)
from retclip.search.jobs import cached_networks, jobs_of
from retclip.search.plan_text import compile_lines, plan_lines, refuse_costly
from retclip.search.requests import is_short

GUIDE = {"train": 12_989 - 1_299, "val": 1_299, "test": 3_253}
TRAINING_RUNS = {"phase1": 17, "phase2": 20, "confirm": 6, "final": 12}
TRAINING_RUNS_OF_ONE = {stage: [f"{stage}-0"] for stage in TRAINING_RUNS}


def test_the_guides_full_run():
    config = drop_nulls(merged())
    first, second, confirm, final = forecast(config, GUIDE, TRAINING_RUNS)
    # 2,000 samples, 2 epochs: ceil(2000 / 128) * 2 = 32 and ceil(2000 / 64) * 2 = 64 steps
    assert first.steps == (32, 64)
    assert first.configurations == 17
    # 11,690 samples, 10 epochs: 92 * 10 and 183 * 10 steps
    assert second.steps == (920, 1830)
    # its warm-up of 1,000 steps does not fit into 920: adjusted to 80 %
    assert second.warmup[1] == pytest.approx(0.8)
    assert any("warmup_steps 1000 becomes 736" in cut for cut in second.cuts)
    assert confirm.steps == second.steps
    assert final.samples_shown == pytest.approx(12 * 10 * (11_690 + 1_299 / 3))
    assert device_seconds([final], 100) == pytest.approx(final.samples_shown / 100)


def test_test_mode_is_too_short_to_rank():
    config = drop_nulls(merged("test_mode"))
    first, *_ = forecast(config, GUIDE, TRAINING_RUNS)
    assert first.steps == (2, 4)
    assert first.few_steps == first.configurations
    # batch 128 of 100 samples is 100; warm-ups of 300 and 500 steps are adjusted alike: fewer different training runs
    assert any("batch_size 128 becomes 100" in cut for cut in first.cuts)
    assert first.equal > 0
    lines = plan_lines("test", GUIDE, "", [first], None, None)
    assert any("too short to rank" in line and "phase1.train_samples" in line for line in lines)
    assert any(line.startswith("merged: Phase 1") for line in lines)
    assert any("not known before find_lr" in line for line in lines)


@pytest.mark.slow
def test_a_laptop_is_told_minutes_before_anything_has_run(tmp_path):
    """The guide's plan over its whole set, on features: the encoders are both pretrained and frozen."""
    config = drop_nulls(merged("laptop"))
    assert cached_networks(config) == {"image", "text"}
    jobs = jobs_of(config)
    numbers = {"phase1": len(jobs.phase1), "phase2": len(jobs.phase2), "confirm": len(jobs.confirm), "final": 12}
    assert numbers == TRAINING_RUNS
    stages = forecast(config, GUIDE, numbers)
    starts = 55 * START_SECONDS
    assert cached_seconds(stages, None, START_SECONDS) == pytest.approx(
        starts + device_seconds(stages, HEADS_PER_SECOND)
    )
    # where find_lr has measured the speed, that is taken
    assert cached_seconds(stages, 100.0, START_SECONDS) == pytest.approx(starts + device_seconds(stages, 100.0))
    table = tmp_path / "table.csv"
    rows = [f"P{i},{i}.png,left,{'ab'[i % 2]}" for i in range(1000)]
    table.write_text("\n".join(["patient_id,image,eye,label", *rows]))
    for i in range(1000):
        (tmp_path / f"{i}.png").touch()
    config["data"].update(manifest=str(table), image_root=str(tmp_path))
    ids = {stage: [f"{stage}-{i}" for i in range(count)] for stage, count in numbers.items()}
    command = ["--config", json.dumps(config), "--training-runs", json.dumps(ids), "--results-dir", tmp_path]
    command += ["--image-root", tmp_path]
    printed = entry("plan_run", *command, "--code", "0").stdout
    minutes = re.search(r"device time: about (\d+) minutes on one CPU core for 55 training runs", printed)
    assert minutes, printed
    assert 9 <= int(minutes[1]) <= 60
    config["plan"] = {"max_device_hours": 0.1}
    command[1] = json.dumps(config)
    refused = entry("plan_run", *command, "--code", "0", check=False)
    assert refused.returncode == 1
    assert "more than plan.max_device_hours = 0.1" in refused.stderr


def test_a_confirmation_is_forecast_as_it_is_planned():
    """With its own epochs, though Phase 2 searches over them; on all data where it names no samples."""
    config = drop_nulls(merged())
    config["phase2"].update(train_samples=100, trials=4, space={"epochs": [1, 9], "batch_size": [64, 32]})
    config["confirm"]["epochs"] = 3
    # ceil(11,690 / 64) = 183 and ceil(11,690 / 32) = 366 steps an epoch
    (confirm,) = forecast(config, GUIDE, {"confirm": 6})
    assert confirm.steps == (183 * 3, 366 * 3)
    planned = jobs_of(config).specification("confirm", "c0s0")
    assert (planned["epochs"], planned["train_samples"]) == (3, None)


def test_device_hours_are_refused():
    config = drop_nulls(merged())
    config["plan"] = {"max_device_hours": 2}
    refuse_costly(config, 7_000)
    refuse_costly(config, None)
    with pytest.raises(ValueError, match=r"2\.5 device-hours, more than plan\.max_device_hours = 2"):
        refuse_costly(config, 9_000)


def test_a_metric_that_the_labels_cannot_give():
    with pytest.raises(ValueError, match=r"selection\.metric is zero_shot_accuracy, but the data has no labels"):
        refuse_meaningless("zero_shot_accuracy", 0)
    with pytest.raises(ValueError, match="one class"):
        refuse_meaningless("zero_shot_accuracy", 1)
    refuse_meaningless("image_to_text_recall_at_10", 0)
    refuse_meaningless("zero_shot_accuracy", 2)


def test_counts_without_reading_an_image(tmp_path):
    table = tmp_path / "table.csv"
    rows = [f"P{i // 2},{i}.png,{('left', 'right')[i % 2]},{'ab'[i // 2 % 2]}" for i in range(200)]
    table.write_text("\n".join(["patient_id,image,eye,label", *rows]))
    data = {"source": "manifest", "manifest": str(table), "patient_id": "patient_id", "test_fraction": 0.2,
            "val_fraction": 0.1}  # fmt: skip
    assert estimated_counts(data) == {"splits": {"train": 72, "val": 8, "test": 20}, "labels": 2}
    assert estimated_counts({**data, "source": "retclip_tsv"}) is None
    table.write_text(table.read_text().replace("label\n", "split\n").replace(",a", ",train").replace(",b", ",test"))
    counts = estimated_counts(data)
    assert counts == {"splits": {"train": 45, "val": 5, "test": 50}, "labels": 0}


@pytest.mark.slow
def test_the_plan_says_what_is_counted_and_what_is_estimated(tmp_path):
    """A table of which every row is read is no estimate; patients that are still to be drawn are one."""
    table = tmp_path / "table.csv"
    table.write_text("patient_id,image,eye,label\n" + "\n".join(f"P{i},{i}.png,left,{'ab'[i % 2]}" for i in range(60)))
    for i in range(60):
        (tmp_path / f"{i}.png").touch()
    config = drop_nulls(merged("laptop"))
    config["data"].update(manifest=str(table), image_root=str(tmp_path))
    flags = ["--training-runs", json.dumps(TRAINING_RUNS_OF_ONE), "--results-dir", tmp_path, "--image-root", tmp_path]
    printed = entry("plan_run", "--config", json.dumps(config), *flags, "--code", "0").stdout
    (line,) = (line for line in printed.splitlines() if line.startswith("run "))
    assert "estimated" not in line
    assert "every row was read" in line
    assert "images that cannot be read and near-duplicates" in line
    demo = drop_nulls(merged("demo"))
    printed = entry("plan_run", "--config", json.dumps(demo), *flags, "--code", "0").stdout
    (line,) = (line for line in printed.splitlines() if line.startswith("run "))
    assert "estimated from data.demo_patients" in line


def test_what_is_short_is_known_of_heads_and_else_by_its_speed():
    """Three epochs of 1,000 samples, and of 300 to validate, of which each costs a third: 3,300 samples and 10 s."""
    counts = {"train": 1000, "val": 300, "test": 0}
    laptop, demo = drop_nulls(merged("laptop")), drop_nulls(merged("demo"))
    assert is_short(laptop, "phase1", None, None)
    assert is_short(laptop, "phase1", counts, None)
    assert not is_short(laptop, "phase1", {**counts, "train": 10**7}, None)
    assert not is_short(demo, "phase1", None, 1e9)
    assert not is_short(demo, "phase1", counts, None)
    assert is_short(demo, "phase1", counts, 3300 / 289)
    assert not is_short(demo, "phase1", counts, 3300 / 291)
    demo["phase1"]["train_samples"] = 100
    assert is_short(demo, "phase1", counts, 3300 / 291)
    demo["phase2"]["space"]["epochs"] = [1, 100]  # which of them, nobody knows
    assert not is_short(demo, "phase2", counts, 1e9)


@pytest.mark.parametrize(
    ("overlay", "said"),
    [
        ({}, None),
        ({"training": {"compile": True}}, "no figure above counts what that costs"),
        ({"training": {"compile": True, "augment": False}, "model": {"freeze": "both"}}, "nothing is compiled"),
    ],
)
def test_what_compiling_costs_is_named(overlay, said):
    config = merged()
    merge(config, overlay)
    lines = compile_lines(drop_nulls(config))
    assert bool(lines) == bool(said)
    assert all(said in line for line in lines)
