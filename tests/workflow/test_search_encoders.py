"""A search of each text encoder's own, switched on after a run: it alone trains, and its choice becomes final."""

import json
import shutil

import pandas as pd
import pytest
from running import entry, planned_jobs, snakemake

pytestmark = pytest.mark.slow
METRIC = "zero_shot_balanced_accuracy"
MORE = "model: {text_encoders: {biobert: {source: demo}}}\n"
TRIALS = ["bert_base-b0r0s00", "bert_base-b0r0s01"]


@pytest.fixture(scope="module")
def searched(small_run, small_config, tmp_path_factory):
    """The small run's folder with searches of all text encoders, and the flags that made it."""
    folder = tmp_path_factory.mktemp("searched")
    shutil.copytree(small_run, folder / "run", symlinks=True)
    (folder / "own.yaml").write_text("phase2: {search_encoders: all}\n")
    flags = [*small_config, folder / "own.yaml"]
    jobs = planned_jobs(folder / "run", *flags)
    trained = {rule: names for rule, names in jobs.items() if rule.startswith("train_")}
    # what the search encoder had is what it has
    assert trained == {
        "train_encoder_trial": {*TRIALS, "bert_base-c0s0"}, "train_final": {"bert_base-s2001"},
    }  # fmt: skip
    snakemake(folder / "run", *flags)
    return folder / "run", flags


@pytest.fixture(scope="module")
def results(searched):
    return searched[0] / "results/small"


def _read(path):
    return json.loads(path.read_text())


def _recomputed(folder):
    """The balanced accuracy of a training run's predictions on validation."""
    table = pd.read_parquet(folder / "val_predictions.parquet")
    named = table.filter(like="score_").to_numpy().argmax(axis=1)
    known = table["target"] >= 0
    return (named == table["target"])[known].groupby(table["target"][known]).mean().mean()


def test_both_searches_tried_the_same_configurations(results):
    theirs = _read(results / "phase2/bracket-0.json")
    own = _read(results / "encoders/bert_base/bracket-0.json")
    assert own == theirs
    for trial, candidate in zip(TRIALS, own["candidates"], strict=True):
        trained = _read(results / f"encoders/{trial}/metrics.json")
        assert trained["trial"]["configured"] == candidate["configured"]
        assert trained["trial"]["text_encoder"] == "bert_base"
        assert trained["val"][METRIC] == pytest.approx(_recomputed(results / f"encoders/{trial}"))
    budgets = [
        _read(results / f"{trial}/trial.json")["budget"] for trial in ("phase2/b0r0s00", f"encoders/{TRIALS[0]}")
    ]
    assert budgets[0] == budgets[1]


def test_its_own_fresh_seeds_decide_what_becomes_final(results):
    scores = {trial: _recomputed(results / f"encoders/{trial}") for trial in TRIALS}
    board = pd.read_csv(results / "encoders/bert_base/leaderboard.csv")
    assert board.set_index("id")["metric"].to_dict() == pytest.approx(scores)
    finalists = _read(results / "encoders/bert_base/finalists.json")
    fresh = _read(results / "encoders/bert_base-c0s0/metrics.json")
    seed = _read(results / "confirm/c0s0/trial.json")["seed"]
    assert (fresh["trial"]["configured"], fresh["trial"]["seed"]) == (finalists["configured"], seed)
    best = _read(results / "encoders/bert_base/best.json")
    if best["id"] != "defaults":
        assert best["metric"] == pytest.approx(_recomputed(results / "encoders/bert_base-c0s0"))
    assert _read(results / "final/bert_base-s2001/trial.json")["configured"] == best["configured"]
    theirs = _read(results / "best.json")["configured"]
    assert _read(results / "final/pubmedbert-s2001/trial.json")["configured"] == theirs


def test_the_page_says_that_both_were_tuned(results):
    tables = results / "report/tables"
    rows = pd.read_csv(tables / "encoders.csv").set_index("text encoder")
    assert rows["configuration"].to_dict() == dict.fromkeys(("pubmedbert", "bert_base"), "tuned with it")
    searches = pd.read_csv(tables / "encoder_searches.csv").set_index("text encoder")
    assert searches["trials"].to_dict() == {"pubmedbert": 2, "bert_base": 2}
    found = {}
    for encoder, folders in (("pubmedbert", ["phase2/b0r0s00", "phase2/b0r0s01"]),
                             ("bert_base", [f"encoders/{trial}" for trial in TRIALS])):  # fmt: skip
        best = max(_recomputed(results / folder) for folder in folders)
        assert searches["best validation score"][encoder] == pytest.approx(best, abs=0.0006)
        stage = "phase2" if encoder == "pubmedbert" else "encoders/bert_base"
        found[encoder] = pd.read_csv(results / stage / "leaderboard.csv")["p_value"][0]
    low, high = sorted(found, key=found.get)
    corrected = {low: min(1, 2 * found[low]), high: max(min(1, 2 * found[low]), found[high])}
    assert searches["p (Holm)"].to_dict() == pytest.approx(corrected, rel=0.06)
    page = (results / "report/index.html").read_text()
    assert "Each text encoder was tuned: bert_base with as many trials as pubmedbert" in page
    assert "inherited" not in page
    methods = (results / "report/methods.md").read_text()
    assert "done once more with each other text encoder" in methods
    told = _read(results / "report/results.json")["encoders"]["searches"]
    assert told["bert_base"]["configured"] == _read(results / "encoders/bert_base/best.json")["configured"]
    trials = pd.read_csv(results / "report/trials.csv")
    assert trials["stage"].value_counts()["encoders"] == 3


def test_status_counts_them(results):
    said = entry("show_status", "--run-folder", results).stdout
    assert "Text encoders     3 of 3" in said
    assert "All trials have finished." in said


def test_another_encoder_trains_its_own_trials_alone(searched, tmp_path):
    folder, flags = searched
    (tmp_path / "more.yaml").write_text(MORE)
    jobs = planned_jobs(folder, *flags, tmp_path / "more.yaml")
    trained = {rule: names for rule, names in jobs.items() if rule.startswith("train_")}
    assert trained == {
        "train_encoder_trial": {"biobert-b0r0s00", "biobert-b0r0s01", "biobert-c0s0"},
        "train_final": {"biobert-s2001"},
    }  # fmt: skip
    assert jobs["select_encoder"] == {"biobert"}
