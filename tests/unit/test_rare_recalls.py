"""Balanced accuracy is as sure as its rarest classes let it be: 95 % CIs over studies of a known truth."""

import numpy as np
import pandas as pd
import pytest
from recomputed import mean_accuracy, resampled
from simulations import ONE_RARE, RARE_CLASSES, rare_study

from retclip.metrics import differences, rare_classes, scores
from retclip.metrics.evaluation_report import scores_with_intervals

METRIC = "zero_shot_balanced_accuracy"
STUDIES = 120


def named_rightly(counts, wrong=0):
    """Patients of one eye each, all named rightly but for the first `wrong` of class 0."""
    target = np.repeat(np.arange(len(counts)), counts)
    named = np.where(np.arange(len(target)) < wrong, 1, target)
    return target, np.eye(len(counts))[named], np.arange(len(target))


def estimated(target, named, patients):
    return scores.estimated(METRIC, target, named, patients, scores.resamples(patients, 20))


def test_three_patients_of_a_class_named_rightly_do_not_prove_a_recall_of_one():
    found = scores_with_intervals(*named_rightly([3, 3, 3, 3]))[METRIC]
    assert found["value"] == found["high"] == 1
    assert 0.5 < found["low"] < 0.85
    # one of a class of three is worth a twelfth
    found = scores_with_intervals(*named_rightly([3, 30, 30, 30]))[METRIC]
    assert 0.7 < found["low"] < 0.9


def test_a_score_of_classes_with_many_patients_keeps_its_bootstrap():
    case = named_rightly([20, 40, 40], wrong=9)
    found = scores_with_intervals(*case)[METRIC]
    draws = scores.bootstrap(METRIC, *case)
    assert [found["low"], found["high"]] == pytest.approx(np.quantile(draws, [0.025, 0.975]))


def test_two_equal_eyes_of_a_patient_say_no_more_than_one():
    target, named, patients = named_rightly([3, 3, 9], wrong=1)
    one = estimated(target, named, patients)
    two = estimated(target.repeat(2), named.repeat(2, axis=0), patients.repeat(2))
    assert [two.low, two.high] == pytest.approx([one.low, one.high])


def test_a_mirrored_study_has_the_mirrored_interval():
    right, wrong = (
        (np.array([2, 5, 40]) * share, np.array([2, 5, 40])) for share in ([0.5, 0.8, 0.7], [0.5, 0.2, 0.3])
    )
    low, high = rare_classes.limits(right[0] / right[1], right[1])
    assert rare_classes.limits(wrong[0] / wrong[1], wrong[1]) == pytest.approx((1 - high, 1 - low), abs=1e-6)


@pytest.mark.parametrize("counts", [(3, 5, 9, 40), (2, 2, 2, 2, 2)])
def test_it_is_what_drawn_studies_and_a_general_optimizer_give(counts):
    target, named, patients = rare_study(np.random.default_rng(4), counts, [0.6] * len(counts))[0]
    names = [f"score_{k}" for k in range(len(counts))]
    table = pd.DataFrame(named, columns=names).assign(target=target, patient_id=patients)
    found = estimated(target, named, patients)
    assert [found.low, found.high] == pytest.approx(resampled([table], mean_accuracy, 1), abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("case", [*ONE_RARE, *RARE_CLASSES], ids=str)
def test_intervals_hold_the_truth_and_the_value(case):
    """At a coverage of .95, fewer than .88 of 120 studies have one chance in 500."""
    generator, held = np.random.default_rng(1), 0
    for _ in range(STUDIES):
        study, truth = rare_study(generator, *case)
        found = estimated(*study)
        held += found.low <= truth <= found.high
        assert found.low <= found.value <= found.high
    assert held / STUDIES > 0.88


def test_seeds_widen_the_interval_of_their_mean_and_the_side_with_room_stays_the_longer():
    target, named, patients = named_rightly([3, 3, 30])
    limits, draws = estimated(target, named, patients), np.ones((1, 50))
    alone = differences.mean_of(differences.Seeds([1.0], draws, 36, (limits.low, limits.high)))
    assert (alone.low, alone.high) == (limits.low, limits.high)
    spread = differences.mean_of(differences.Seeds([0.9, 1.0, 0.95], draws.repeat(3, axis=0), 36, (0.7, 0.97)))
    assert spread.low < 0.7
    assert spread.high > 0.97
    assert spread.value - spread.low > spread.high - spread.value
