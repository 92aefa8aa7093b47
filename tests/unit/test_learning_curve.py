"""What more patients would bring: the curve and its band against simulated truths."""

import numpy as np
import pytest

from retclip.metrics.differences import Seeds
from retclip.metrics.learning_curve import fit

TRAIN, TEST, DRAWS = np.array([250, 500, 1000]), 300, 200


def truth(patients, top, fall, power):
    """An inverse power law."""
    return top - fall * (np.asarray(patients, dtype=float) / TRAIN[-1]) ** -power


def study(generator, scores, seeds=3, own=0.015, shared=0.02, between=0.015):
    """Seeds of each size as a study gives them: test patients, whom all models share, and seeds move each score.

    own: the standard error by patients of one model alone. shared: what all models have in common.
    """
    noise = shared * generator.standard_normal(DRAWS + 1)
    groups = []
    for score in scores:
        mine = own * generator.standard_normal((seeds, DRAWS + 1)) + noise
        found = score + between * generator.standard_normal(seeds) + mine[:, -1]
        groups.append(Seeds(found.tolist(), found[:, None] + mine[:, :-1], TEST))
    return groups


def laws(generator, count):
    """Top, fall and power of truths whose scores are between 0.2 and 1."""
    while count:
        power, rise = -np.log2(1 - generator.uniform(0.05, 0.95) ** 2), generator.uniform(0, 0.3)
        reached, fall = generator.uniform(0.2, 0.95), rise / ((TRAIN[0] / TRAIN[-1]) ** -power - 1)
        if reached + fall <= 1:
            count -= 1
            yield reached + fall, fall, power


@pytest.mark.slow
def test_the_band_holds_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(0)
    inside, middle, widths = [], [], []
    for law in laws(generator, 60):
        found = fit(TRAIN, study(generator, truth(TRAIN, *law)))
        gain = truth(2 * TRAIN[-1], *law) - truth(TRAIN[-1], *law)
        # three decimals are told
        inside.append(found.gain.low - 0.0005 <= gain <= found.gain.high + 0.0005)
        low, _, high = found.at(TRAIN[1:2])[:, 0]
        middle.append(low <= truth(TRAIN[1], *law) <= high)
        widths.append(found.gain.high - found.gain.low)
    # 95 of 100, less two standard errors of 60 studies
    assert np.mean(inside) > 0.89
    assert np.mean(middle) > 0.89
    # and says something: half of the largest rise is 0.15
    assert np.median(widths) < 0.06


def test_what_is_known_exactly_is_told_exactly():
    law = (0.9, 0.1, 0.5)
    generator = np.random.default_rng(1)
    sizes = np.array([125, 250, 500, 1000])
    found = fit(sizes, study(generator, truth(sizes, *law), own=1e-4, shared=1e-4, between=1e-4))
    gain = truth(2000, *law) - truth(1000, *law)
    assert found.gain.value == pytest.approx(gain, abs=0.005)
    assert found.gain.high - found.gain.low < 0.02
    low, value, high = found.at(sizes)
    assert np.abs(value - truth(sizes, *law)).max() < 0.003
    assert (low <= value).all()
    assert (value <= high).all()


def test_a_wider_spread_of_seeds_widens_the_band():
    law = (0.7, 0.1, 0.5)
    widths = {}
    for between in (0.002, 0.06):
        found = fit(TRAIN, study(np.random.default_rng(2), truth(TRAIN, *law), between=between))
        low, _, high = found.at(TRAIN[-1:])[:, 0]
        widths[between] = high - low
    assert widths[0.06] > 1.5 * widths[0.002]


def test_no_curve_passes_the_best_score_that_there_is():
    found = fit(TRAIN, study(np.random.default_rng(3), [0.85, 0.95, 0.99]))
    assert found.at(np.array([10**6]))[2, 0] <= 1
    assert found.gain.high <= 0.1


def test_more_patients_never_cost_a_score():
    """A falling score is noise; the gain is at least nothing, and next to nothing where the fall is large."""
    found = fit(TRAIN, study(np.random.default_rng(4), [0.8, 0.7, 0.6]))
    assert 0 <= found.gain.low <= found.gain.value < 0.02


@pytest.mark.parametrize(
    "groups",
    [
        [Seeds([0.5], np.full((1, DRAWS), np.nan), TEST)] * 3,
        [Seeds([1.4], np.full((1, DRAWS), 1.4), TEST)] * 3,
    ],
)
def test_without_draws_or_a_possible_curve_there_is_none(groups):
    """Predictions were removed, or no rising curve below 1 fits."""
    assert fit(TRAIN, groups) is None


def test_the_same_study_has_the_same_band():
    groups = study(np.random.default_rng(5), [0.5, 0.6, 0.65])
    assert fit(TRAIN, groups).gain == fit(TRAIN, groups).gain
