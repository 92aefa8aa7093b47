"""Scores against scikit-learn and against slow, obvious oracles."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

from retclip.core import scores
from retclip.report.comparisons import Estimate, holm


def random_case(seed: int, samples: int = 60, classes: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return (
        generator.integers(0, classes, samples),
        generator.normal(size=(samples, classes)).round(1),  # rounding makes ties
        generator.integers(0, samples // 2, samples),
    )


@pytest.mark.parametrize("seed", range(5))
def test_point_scores_are_those_of_scikit_learn(seed):
    target, values, _ = random_case(seed)
    guess = values.argmax(1)
    found = scores.zero_shot_scores(target, values)
    assert found["zero_shot_accuracy"] == pytest.approx((guess == target).mean())
    assert found["zero_shot_balanced_accuracy"] == pytest.approx(balanced_accuracy_score(target, guess))
    assert found["zero_shot_macro_f1"] == pytest.approx(f1_score(target, guess, average="macro"))
    rocs = [roc_auc_score(target == c, values[:, c]) for c in range(4)]
    assert found["zero_shot_macro_auroc"] == pytest.approx(np.mean(rocs))


def test_a_class_that_is_missing_from_the_targets_does_not_count():
    target = np.array([0, 0, 2, 2])
    values = np.eye(3)[[0, 0, 2, 1]]
    assert scores.zero_shot_scores(target, values)["zero_shot_balanced_accuracy"] == pytest.approx(0.75)


def test_what_cannot_be_given_is_none():
    one_class = scores.zero_shot_scores(np.zeros(3, int), np.eye(2)[[0, 0, 1]])
    assert one_class["zero_shot_macro_auroc"] is None
    assert one_class["zero_shot_balanced_accuracy"] == pytest.approx(2 / 3)
    nothing = scores.zero_shot_scores(np.zeros(0, int), np.zeros((0, 2)))
    assert set(nothing.values()) == {None}


@pytest.mark.parametrize("metric", scores.ZERO_SHOT)
def test_bootstrap_equals_scoring_the_repeated_rows(metric):
    """The slow oracle writes every resampled patient's rows out and scores them plainly."""
    target, values, patients = random_case(3)
    draws = scores.bootstrap(metric, target, values, patients, draws=20, seed=7)
    units = np.unique(patients)
    generator = np.random.default_rng(7)
    counts = generator.multinomial(len(units), np.full(len(units), 1 / len(units)), size=20)
    for draw, count in zip(draws, counts, strict=True):
        rows = np.concatenate(
            [np.flatnonzero(patients == unit).repeat(n) for unit, n in zip(units, count, strict=True)]
        )
        assert draw == pytest.approx(scores.zero_shot_scores(target[rows], values[rows])[metric])


def table_of(target, values, patients, samples) -> pd.DataFrame:
    table = pd.DataFrame({"sample_id": samples, "patient_id": patients, "target": target})
    return table.assign(**{f"score_{k}": values[:, k] for k in range(values.shape[1])})


def test_a_patient_comes_and_goes_with_both_eyes():
    """Doubling every patient's rows adds no information, so the standard error must not shrink."""
    target, values, _ = random_case(1, samples=200)
    patients = np.arange(200)
    single = scores.standard_error("zero_shot_balanced_accuracy", table_of(target, values, patients, patients))
    twice = table_of(target.repeat(2), values.repeat(2, axis=0), patients.repeat(2), patients.repeat(2))
    assert scores.standard_error("zero_shot_balanced_accuracy", twice) == pytest.approx(single, rel=0.02)


def test_rows_without_a_label_are_not_scored_but_ranked():
    target, values, _ = random_case(1, samples=100)
    names = np.arange(100)
    labelled = table_of(target, values, names, names).assign(image_to_text_rank=1 + names % 4)
    unlabelled = labelled.assign(sample_id=names + 100, patient_id=names + 100, target=-1)
    both = pd.concat([labelled, unlabelled], ignore_index=True)
    assert len(scores.unpack(both)[0]) == 100
    draws = scores.draws_of("image_to_text_recall_at_1", both)
    assert draws.mean() == pytest.approx(0.25, abs=0.01)
    assert draws.std() == pytest.approx(np.sqrt(0.25 * 0.75 / 200), rel=0.1)  # the binomial formula
    # two rows of one sample are one query
    eyes = pd.concat([both, both], ignore_index=True)
    assert scores.draws_of("image_to_text_recall_at_1", eyes).std() == pytest.approx(draws.std(), rel=1e-6)


def test_levels_are_what_a_simulation_of_guessing_gives():
    generator = np.random.default_rng(0)
    target = generator.choice(4, size=4000, p=[0.6, 0.2, 0.15, 0.05])
    guesses = generator.normal(size=(4000, 4))
    found, levels = scores.zero_shot_scores(target, guesses), scores.chance_levels(target, 4)
    for metric in scores.ZERO_SHOT:
        assert levels[metric] == pytest.approx(found[metric], abs=0.03), metric
    majority = scores.majority_levels(target, 4)
    assert majority["zero_shot_accuracy"] == pytest.approx((target == 0).mean())
    assert majority["zero_shot_balanced_accuracy"] == pytest.approx(0.25)


def test_holms_rule():
    """The example of a textbook: at 5 %, .005 and .01 of .01, .04, .03, .005 stand."""
    gaps = {name: Estimate(0.1, p_value=p) for name, p in {"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}.items()}
    assert holm(gaps) == ["a", "d"]
    assert holm({"a": Estimate(None), "b": Estimate(0.1, p_value=0.049)}) == ["b"]
