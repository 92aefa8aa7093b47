"""What the finals of the small run say on test: reference rows, and what a report shows of the winner."""

import json

import numpy as np
import pandas as pd
import pytest
from running import entry

from retclip.core.model_looks import read_looks

pytestmark = pytest.mark.slow
METRIC = "zero_shot_balanced_accuracy"


@pytest.fixture
def final(small_run):
    return small_run / "results/small/final"


def test_the_initial_weights_stand_beside_the_tuned(final):
    """Random heads know no class; the same tower with labels does, a little, untrained as it is."""
    found = json.loads((final / "initial-s1/evaluation.json").read_text())
    low, high = (found["zero_shot"][METRIC][key] for key in ("low", "high"))
    assert low <= found["levels"]["chance"][METRIC] + 0.05
    assert high < 0.4
    assert found["probe"]["features"] == "tower"
    assert len(found["linear_probe"][METRIC]["seeds"]) == 5
    tuned = json.loads((final / "pubmedbert-s1/evaluation.json").read_text())
    assert tuned["counts"] == found["counts"]
    assert tuned["probe"]["features"] == "image"
    tables = [pd.read_parquet(final / name / "predictions.parquet") for name in ("initial-s1", "pubmedbert-s1")]
    assert tables[0]["sample_id"].equals(tables[1]["sample_id"])


def test_looks_are_what_the_predictions_say(final):
    looks = read_looks(final / "pubmedbert-s1/looks.npz")
    table = pd.read_parquet(final / "pubmedbert-s1/predictions.parquet")
    count = len(looks.eye)
    assert looks.picture.shape == (count, 1, 64, 64, 3)
    assert looks.picture.max(axis=(1, 2, 3, 4)).min() > 50
    scores = table[[f"score_{k}" for k in range(len(looks.classes))]].to_numpy()
    for i in range(count):
        row = (table["target"] == looks.target[i]) & (table["eye"] == looks.eye[i])
        assert np.isclose(scores[row, looks.prediction[i]], looks.score[i], atol=1e-5).any()
        assert 1 / len(looks.classes) <= looks.probability[i] <= 1
        assert (np.diff(looks.prompt_score[i]) <= 0).all()
    right = looks.target == looks.prediction
    for k in set(looks.target):
        here = looks.target == k
        assert 1 <= here.sum() <= 4
        assert (right & here).sum() <= 2
    mapped = np.isfinite(looks.occlusion).all(axis=(1, 2, 3))
    assert mapped.sum() == min(count, 12)
    patients = pd.read_parquet(final.parent / "data/samples_test.parquet")["patient_id"].nunique()
    assert looks.embedding.shape == (patients, 2)
    assert (looks.embedding_label >= 0).all()


def test_private_looks_have_no_pictures(final, tmp_path):
    folder = final / "pubmedbert-s1"
    entry("collect_looks", "--trial", folder / "trial.json", "--model-dir", folder / "model", "--predictions",
          folder / "predictions.parquet", "--data-dir", final.parent / "data", "--private", "--output",
          tmp_path / "looks.npz")  # fmt: skip
    looks = read_looks(tmp_path / "looks.npz")
    assert len(looks.picture) == len(looks.eye) == 0
    assert len(looks.embedding) > 0
