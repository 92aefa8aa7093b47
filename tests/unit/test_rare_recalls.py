"""Balanced accuracy is as sure as its rarest class lets it be: intervals over studies of a known truth."""

import numpy as np
import pandas as pd
import pytest

from retclip.metrics import rare_classes, scores

METRIC = "zero_shot_balanced_accuracy"
COMMON = 0.7
# at a coverage of .95, fewer than this of 300 studies have one chance in 500
STUDIES, FEWEST = 300, 273


def study(generator, rare, recall):
    """Named classes of 200 units of three classes and a few of a rare one, each unit a patient."""
    target = np.repeat(np.arange(4), [rare, 80, 60, 60])
    is_right = generator.random(len(target)) < np.where(target == 0, recall, COMMON)
    return target, np.eye(4)[np.where(is_right, target, (target + 1) % 4)]


@pytest.mark.slow
@pytest.mark.parametrize("recall", [0.5, 0.8])
@pytest.mark.parametrize("rare", [1, 3, 5])
def test_intervals_hold_the_truth_where_a_class_has_few_patients(rare, recall):
    generator, held = np.random.default_rng([rare, int(10 * recall)]), 0
    for _ in range(STUDIES):
        target, named = study(generator, rare, recall)
        draws = scores.interval_draws(METRIC, target, named, np.arange(len(target)), draws=200)
        low, high = np.quantile(draws[np.isfinite(draws)], [0.025, 0.975])
        held += low <= (recall + 3 * COMMON) / 4 <= high
    assert held >= FEWEST


def test_a_score_of_classes_with_many_patients_is_resampled_as_ever():
    target, named = study(np.random.default_rng(1), rare_classes.FEW_PATIENTS, 0.5)
    patients = np.arange(len(target))
    assert (
        scores.interval_draws(METRIC, target, named, patients) == scores.bootstrap(METRIC, target, named, patients)
    ).all()


def test_two_eyes_of_a_patient_say_no_more_than_one():
    """A class of three patients with two equal eyes each is as unsure as with one."""
    target, named = study(np.random.default_rng(2), 3, 0.8)
    patients = np.arange(len(target))
    one = scores.interval_draws(METRIC, target, named, patients)
    two = scores.interval_draws(METRIC, target.repeat(2), named.repeat(2, axis=0), patients.repeat(2))
    assert one == pytest.approx(two, nan_ok=True)


def test_standard_errors_know_of_it_and_differences_of_equal_models_stay_nothing():
    target, named = study(np.random.default_rng(3), 3, 1.0)
    table = pd.DataFrame(
        {"target": target, "patient_id": np.arange(len(target)), **{f"score_{k}": named[:, k] for k in range(4)}}
    )
    plain = scores.draws_of(METRIC, table)
    assert scores.standard_error(METRIC, table) > 1.3 * plain[np.isfinite(plain)].std()
    assert not np.nan_to_num(plain - scores.draws_of(METRIC, table)).any()
