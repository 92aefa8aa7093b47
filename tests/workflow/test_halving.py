"""Brackets and rungs in the real workflow: who is promoted goes on from the saved state, as if it had never stood."""

import json

import pandas as pd
import pytest
import yaml
from conftest import training_arguments
from running import entry, planned_jobs, snakemake

pytestmark = pytest.mark.slow
HALVING = {
    "run": "halving",
    "phase2": {
        "strategy": "tpe_halving",
        "brackets": 2,
        "epochs": 3,
        "rungs": {"slots": [3, 2, 1], "epochs": [1, 2, 3]},
    },
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, small_config):
    """The working directory of a run with two brackets, and the flags that made it."""
    folder = tmp_path_factory.mktemp("halving")
    (folder / "halving.yaml").write_text(yaml.safe_dump(HALVING))
    flags = [*small_config, folder / "halving.yaml"]
    snakemake(folder, *flags, "--", "results/halving/best.json")
    return folder, flags


def test_a_promoted_training_goes_on(finished):
    folder, _ = finished
    phase2 = folder / "results/halving/phase2"
    for bracket in range(2):
        for rung, slots in enumerate((3, 2, 1)):
            for slot in range(slots):
                metrics = json.loads((phase2 / f"b{bracket}r{rung}s{slot:02d}/metrics.json").read_text())
                assert metrics["epochs"] == rung + 1
                assert metrics["resumed_from"] == (rung if rung else None)
    proposals = [json.loads((phase2 / f"bracket-{bracket}.json").read_text()) for bracket in range(2)]
    assert proposals[1]["observed"] == 3
    drawn = [json.dumps(entry["configured"]) for bracket in proposals for entry in bracket["candidates"]]
    assert len(set(drawn)) == 6
    board = pd.read_csv(phase2 / "leaderboard.csv")
    assert board["id"].head(2).str.contains("r2s").all()
    assert board["note"].fillna("").str.startswith("stopped on its rung after").sum() == 10
    best = json.loads((phase2 / "best.json").read_text())
    assert best["id"] == "defaults" or "r2s" in best["id"]


def test_it_ends_as_if_it_had_never_stood_still(finished, tmp_path):
    folder, _ = finished
    results = folder / "results/halving"
    trial = tmp_path / "trial.json"
    trial.write_text((results / "phase2/b0r2s00/trial.json").read_text())
    entry("train_trial", "--trial", trial, "--data-dir", results / "data", "--encoder-dir",
          folder / "resources/text_encoders/demo--pubmedbert", "--state-dir", tmp_path / "state", "--code", "test",
          "--device", "cpu", "--output-dir", tmp_path)  # fmt: skip
    whole = json.loads((tmp_path / "metrics.json").read_text())
    rungs = json.loads((results / "phase2/b0r2s00/metrics.json").read_text())
    assert whole["resumed_from"] is None
    assert whole["val"] == rungs["val"]
    tables = [pd.read_parquet(path / "val_predictions.parquet") for path in (tmp_path, results / "phase2/b0r2s00")]
    pd.testing.assert_frame_equal(*tables)


def test_the_next_rung_goes_on_from_the_latest_weights_not_from_the_best(demo_data, plan_demo_trial, tmp_path):
    """Early stopping scores the best epoch; a rung that ends after it is still followed by the epochs that come."""
    found = {}
    for name, stops in (("rungs", (3, 5)), ("whole", (5,))):
        for stop in stops:
            trial = plan_demo_trial(
                tmp_path / name, epochs=5, early_stopping_patience=4, train_samples=200, learning_rate=0.03
            )
            content = json.loads(trial.read_text())
            content["budget"]["stop_epoch"] = stop
            trial.write_text(json.dumps(content))
            entry("train_trial", *training_arguments(demo_data, trial, tmp_path / f"state-{name}"))
            found[name, stop] = json.loads((tmp_path / name / "metrics.json").read_text())
    assert found["rungs", 3]["best_epoch"] < 3, "or there is nothing to see here"
    assert found["rungs", 5]["resumed_from"] == 3
    assert found["rungs", 5]["val"] == found["whole", 5]["val"]
    assert found["rungs", 5]["train_loss"] == found["whole", 5]["train_loss"]


def test_nothing_is_left_to_do(finished):
    folder, flags = finished
    assert planned_jobs(folder, *flags, "--", "results/halving/best.json") == {}


def test_optuna_reads_the_exported_study(finished):
    import optuna
    from optuna.storages.journal import JournalFileBackend

    folder, flags = finished
    snakemake(folder, *flags, "--", "export_study")
    journal = folder / "results/halving/phase2/optuna_journal.log"
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(journal)))
    study = optuna.load_study(study_name="halving", storage=storage)
    states = [trial.state.name for trial in study.trials]
    assert sorted(states) == ["COMPLETE"] * 2 + ["PRUNED"] * 4
    best = pd.read_csv(folder / "results/halving/phase2/leaderboard.csv").iloc[0]
    assert study.best_value == pytest.approx(best["metric"])
