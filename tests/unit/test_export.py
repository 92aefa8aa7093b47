"""Phase 2 as an Optuna study: optuna-dashboard shows the trials' ids, their true times and every epoch."""

import json
import os
from datetime import datetime
from pathlib import Path

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend

from retclip.search.export import export_study

METRIC = "zero_shot_balanced_accuracy"
SPACE = {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}
ENDED = 1_700_000_000.0


def finished(folder: Path, identity: str, rate: float, scores: list[float | None], ended: float, wall: float,
             status: str = "completed", steps: int = 30) -> Path:  # fmt: skip
    """The files of a trial that was evaluated after each epoch and ended at a time."""
    place = folder / identity
    place.mkdir()
    trial = {"id": identity, "configured": {"learning_rate": rate}, "budget": {"total_steps": 30}}
    path = place / "metrics.json"
    path.write_text(json.dumps({"trial": trial, "status": status, "epochs": len(scores), "steps": steps,
                                "wall_seconds": wall, "val": {METRIC: scores[-1]}}))  # fmt: skip
    rows = [f"{epoch},{'' if score is None else score}" for epoch, score in enumerate(scores, start=1)]
    (place / "history.csv").write_text("\n".join([f"epoch,{METRIC}", *rows, ""]))
    os.utime(path, (ended, ended))
    return path


@pytest.fixture
def study(tmp_path):
    paths = [
        finished(tmp_path, "b0r0s00", 1e-3, [0.2, 0.3], ENDED, 60, steps=20),
        finished(tmp_path, "b0r0s01", 2e-3, [0.1], ENDED + 100, 30, steps=10),
        # the next rung of the first one, whose history begins with the earlier epochs
        finished(tmp_path, "b0r1s00", 1e-3, [0.2, 0.3, 0.5], ENDED + 500, 40),
        finished(tmp_path, "b1r0s00", 5e-3, [0.2, None], ENDED + 600, 20, status="diverged"),
    ]
    journal = tmp_path / "journal.log"
    assert export_study(paths, SPACE, METRIC, "demo", journal) == 3
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(journal)))
    return optuna.load_study(study_name="demo", storage=storage)


def test_a_trial_has_its_ids(study):
    assert [trial.user_attrs["id"] for trial in study.trials] == ["b0r0s00, b0r1s00", "b0r0s01", "b1r0s00"]
    assert [trial.user_attrs["status"] for trial in study.trials] == ["completed", "completed", "diverged"]


def test_a_trial_has_its_true_times(study):
    first, second, _ = study.trials
    assert first.datetime_start == datetime.fromtimestamp(ENDED - 60)
    assert first.datetime_complete == datetime.fromtimestamp(ENDED + 500)
    assert second.duration.total_seconds() == 30


def test_every_epoch_is_an_intermediate_value(study):
    first, second, third = study.trials
    assert first.intermediate_values == {1: 0.2, 2: 0.3, 3: 0.5}
    assert first.value == 0.5
    assert second.intermediate_values == {1: 0.1}
    # a broken trial counts as the worst of all
    assert third.intermediate_values == {1: 0.2, 2: 0.1}
    assert third.value == 0.1
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED", "COMPLETE"]
