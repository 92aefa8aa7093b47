"""The tables of predictions that training runs and evaluations write: who has a row, and what is scored of it."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from documents import ORIGIN

from retclip.evaluation import validation
from retclip.evaluation.test_set import prediction_table, retrieval_of
from retclip.evaluation.validation import (
    Features,
    predictions,
    retrieval_ranks,
    standard_errors,
    validation_scores,
)
from retclip.metrics import evaluation_report as evaluation
from retclip.metrics import scores
from retclip.metrics.estimates import INTERVAL
from retclip.metrics.thresholds import choose_thresholds

CLASSES = ["a", "b", "c"]
COUNT = 40
UNITS = ("left", "right", "patient")
SCALES = dict.fromkeys(UNITS, 10.0)
# a healthy half, eyes that are absent, eyes of several labels, and a quarter of the samples without any label
LABELS = [("a", "b"), ("b", ""), ("a|c", "c"), ("", "")]
PRESENT = [(True, True), (True, False), (True, True), (True, True)]


@dataclass
class Samples:
    """As much of a Split as its predictions need."""

    level: str

    def __post_init__(self) -> None:
        self.classes = [] if self.level == "none" else CLASSES
        left, right = ([LABELS[i % 4][eye] for i in range(COUNT)] for eye in (0, 1))
        self.frame = pd.DataFrame({
            "sample_id": [f"s{i}" for i in range(COUNT)], "patient_id": [f"p{i // 2}" for i in range(COUNT)],
            "label": left, "label_left": left, "label_right": right})  # fmt: skip
        self.present = np.array([PRESENT[i % 4] for i in range(COUNT)])
        columns = {"eye": {"left": left, "right": right}, "patient": {"patient": left}, "none": {}}[self.level]
        index = {name: k for k, name in enumerate(CLASSES)}
        self.targets = {unit: np.array([index.get(label, -1) for label in own]) for unit, own in columns.items()}
        self.texts = {"patient": [f"text {i % 30}" for i in range(COUNT)]}

    def __len__(self) -> int:
        return COUNT


def random_features(rows: int, seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {unit: torch.nn.functional.normalize(torch.randn(rows, 8, generator=generator)) for unit in UNITS}


@pytest.fixture(params=["eye", "patient", "none"])
def samples(request):
    return Samples(request.param)


@pytest.fixture
def features():
    found = random_features(COUNT, 0)
    texts = {unit: torch.nn.functional.normalize(found[unit] + 1.2 * value) for unit, value in
             random_features(COUNT, 1).items()}  # fmt: skip
    return Features(found, texts, 1.0)


@pytest.fixture
def class_texts(samples):
    return random_features(len(CLASSES), 2) if samples.classes else {}


def documented(samples, features, table):
    retrieval = retrieval_of(samples, features)
    return evaluation.evaluation_document(table, samples.frame, samples.classes, retrieval, {}, False, ORIGIN)


def test_retrieval_is_of_every_sample_in_score_and_interval(samples, features, class_texts):
    val = predictions(samples, features, class_texts)
    test = prediction_table(samples, features, class_texts, class_texts, SCALES)
    found = documented(samples, features, test).retrieval
    errors, known = standard_errors(val), validation_scores(samples, features, val)
    for metric in scores.RETRIEVAL:
        direction, k = metric.split("_recall_at_")
        for table in (val, test):
            queries = table.drop_duplicates("sample_id")
            assert len(queries) == COUNT
            assert (queries[f"{direction}_rank"] <= int(k)).mean() == pytest.approx(known.scores[metric])
        assert found[metric]["value"] == pytest.approx(known.scores[metric])
        assert errors[metric] == pytest.approx(found[metric]["standard_error"])
        draws = scores.draws_of(metric, test)
        assert np.quantile(draws, INTERVAL) == pytest.approx([found[metric]["low"], found[metric]["high"]])
    assert 0.1 < found["image_to_text_recall_at_1"]["value"] < 0.95, "or the test could not fail"


def test_every_sample_is_ranked_once_for_its_rows_and_for_the_scores(samples, features, class_texts, monkeypatch):
    """Every query with every answer: what grows fastest of a validation."""
    ranked = retrieval_ranks(features, samples.texts["patient"])
    asked = []
    monkeypatch.setattr(validation, "retrieval_ranks", lambda *given: asked.append(given) or ranked)
    table = predictions(samples, features, class_texts)
    seen = []
    monkeypatch.setattr(validation, "retrieval_scores", lambda ranks: seen.append(ranks) or {})
    validation_scores(samples, features, table)
    assert len(asked) == 1
    # in the order of the samples, whatever the rows' is
    assert {name: values.tolist() for name, values in seen[0].items()} == {
        name: values.tolist() for name, values in ranked.items()
    }


def test_samples_without_a_row_of_their_own_are_not_scored(samples, features, class_texts):
    table = predictions(samples, features, class_texts)
    scored = sum(int(((target >= 0) & (samples.present[:, i] if unit != "patient" else True)).sum())
                 for i, (unit, target) in enumerate(samples.targets.items()))  # fmt: skip
    assert len(scores.unpack(table)[0]) == scored
    others = table[table["target"] < 0]
    assert (others["eye"] == "patient").all()
    assert others["sample_id"].is_unique
    assert not set(others["sample_id"]) & set(table.loc[table["target"] >= 0, "sample_id"])
    assert table["target"].dtype == np.int64
    test = prediction_table(samples, features, class_texts, class_texts, SCALES)
    kept = test[[name for name in test if name.startswith("score_")]]
    assert np.isfinite(kept.to_numpy()).all()
    document, without = documented(samples, features, test), documented(
        samples, features, test[(test["target"] >= 0) | test["labels"].ne("")].reset_index(drop=True)
    )  # fmt: skip
    for part in ("zero_shot", "zero_shot_single_template", "multi_label", "per_class", "calibration", "counts"):
        assert getattr(document, part) == getattr(without, part)
    assert choose_thresholds(test, samples.classes) == choose_thresholds(test[test["target"] >= 0], samples.classes)


def test_the_columns_of_both_tables(features, samples, class_texts):
    score = [f"score_{k}" for k in range(len(samples.classes))]
    first = ["sample_id", "patient_id", "eye", "target", *score, "image_to_text_rank", "text_to_image_rank"]
    assert list(predictions(samples, features, class_texts)) == first
    template = [f"template_{k}" for k in range(len(samples.classes))]
    test = prediction_table(samples, features, class_texts, class_texts, SCALES)
    assert list(test) == [*first, *template, "labels", "logit_scale"]
    assert test["labels"].str.contains("|", regex=False).any() == (samples.level != "none")
