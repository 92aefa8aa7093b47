"""What a run may add to its finals: a budget for each text encoder, one-factor effects, the shuffled control, and
fractions of the patients."""

import json
import shutil

import pandas as pd
import pytest
from running import planned_jobs, snakemake

from retclip.data.splits import of_patients_within

pytestmark = pytest.mark.slow
OPTIONS = """
final: {learning_rate_factors: [0.5, 1.0]}
ablation: true
controls: {shuffled_texts: true}
study: {data_fractions: [0.25, 0.5, 1.0]}
"""
TUNED = ("learning_rate", "batch_size", "warmup_steps", "weight_decay", "temperature")
METRIC = "zero_shot_balanced_accuracy"


@pytest.fixture(scope="module")
def results(small_run, small_config, tmp_path_factory):
    """results/small of the small run with all of it switched on afterwards."""
    folder = tmp_path_factory.mktemp("options")
    shutil.copytree(small_run, folder / "run", symlinks=True)
    (folder / "own.yaml").write_text(OPTIONS)
    flags = [*small_config, folder / "own.yaml"]
    jobs = planned_jobs(folder / "run", *flags)
    assert not {"train_phase1_trial", "train_phase2_trial", "train_confirm_trial"} & set(jobs)
    snakemake(folder / "run", *flags)
    return folder / "run/results/small"


def _read(path):
    return json.loads(path.read_text())


def test_each_encoder_takes_its_own_best_rate(results):
    """By validation, among the multiples of the winner's; the final training has it."""
    winner = _read(results / "best.json")["configured"]
    for encoder in ("pubmedbert", "bert_base"):
        tried = [_read(results / f"encoders/{encoder}-x{position}/metrics.json") for position in (0, 1)]
        rates = [metrics["trial"]["configured"]["learning_rate"] for metrics in tried]
        assert rates == pytest.approx([0.5 * winner["learning_rate"], winner["learning_rate"]])
        best = _read(results / f"encoders/{encoder}/best.json")
        if best["id"] != "defaults":
            assert best["metric"] == max(metrics["val"][METRIC] for metrics in tried)
        final = _read(results / f"final/{encoder}-s2001/trial.json")
        assert final["configured"] == best["configured"]


def test_an_ablation_has_one_of_the_winners_values(results):
    winner = _read(results / "best.json")["configured"]
    default = _read(results / "final/baseline-s2001/trial.json")["configured"]
    for name in TUNED:
        values = _read(results / f"final/ablation_{name}-s2001/trial.json")["configured"]
        assert values == {**default, name: winner[name]}


def test_fractions_are_trained_on_their_patients_and_evaluated_like_the_finals(results):
    train = pd.read_parquet(results / "data/samples_train.parquet")
    tuned = _read(results / "final/pubmedbert-s2001/trial.json")
    patients, scores = [], []
    for percent in (25, 50):
        folder = results / f"final/subset_{percent}-s2001"
        metrics, evaluation = _read(folder / "metrics.json"), _read(folder / "evaluation.json")
        kept = train[of_patients_within(train, percent / 100)]
        patients.append(kept["patient_id"].nunique())
        assert metrics["trial"]["subset"] == {"fraction": percent / 100, "patients": patients[-1]}
        assert metrics["train_samples"] == len(kept)
        assert metrics["trial"]["configured"] == tuned["configured"]
        table = pd.read_parquet(folder / "predictions.parquet")
        named = table.filter(like="score_").to_numpy().argmax(axis=1)
        right = (named == table["target"])[table["target"] >= 0]
        scores.append(right.groupby(table["target"]).mean().mean())
        assert evaluation["zero_shot"][METRIC]["value"] == pytest.approx(scores[-1])
    whole = train["patient_id"].nunique()
    assert 0 < patients[0] < patients[1] < whole
    rows = pd.read_csv(results / "report/tables/more_data.csv", dtype=str)
    assert rows["train patients"].tolist() == [*(f"{count:,}" for count in patients), f"{whole:,} (all)"]
    told = rows.iloc[:, 1].str.split().str[0].astype(float).tolist()
    assert told[:-1] == pytest.approx(scores, abs=0.0006)
    page = (results / "report/index.html").read_text()
    assert "each number of patients has fewer than 3 seeds" in page
    assert (results / "report/figures/more_data.svg").is_file()
    # all patients are the finals themselves
    assert sorted(path.name for path in (results / "final").glob("subset_*")) == ["subset_25-s2001", "subset_50-s2001"]


def test_the_page_tells_of_all_of_it(results):
    page = (results / "report/index.html").read_text()
    assert "Ablation: the baseline with one tuned value, against the baseline, both with" in page
    assert "Learning rates that bert_base tried" in page
    methods = (results / "report/methods.md").read_text()
    assert "Trained on texts shuffled between patients, the same configuration scores" in methods


def test_every_training_is_in_the_table(results):
    trials = pd.read_csv(results / "report/trials.csv")
    assert not trials.duplicated(["stage", "id"]).any()
    assert trials["stage"].value_counts().to_dict() == {
        "phase1": 3, "phase2": 2, "confirm": 1, "encoders": 4, "final": 11,
    }  # fmt: skip
    for _, row in trials.iterrows():
        metrics = _read(results / row["stage"] / row["id"] / "metrics.json")
        assert row[METRIC] == pytest.approx(metrics["val"][METRIC], nan_ok=True)
