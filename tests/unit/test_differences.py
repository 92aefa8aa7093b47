"""Differences over patients and seeds together: how often equal configurations are called different."""

import numpy as np
import pytest
from scipy import stats
from simulations import seeds_drawn_again, two_equal_configurations

from retclip.metrics.differences import Seeds, compare, holm, mean_of
from retclip.metrics.estimates import Estimate


def resampled(generator, patients, draws=200):
    return generator.multinomial(patients, np.full(patients, 1 / patients), size=draws).astype(float)


def test_without_patients_it_is_students_test():
    """Patients add nothing to seeds that all of them score alike: then it is the t test of two samples."""
    one, other = [0.50, 0.55, 0.60], [0.30, 0.42, 0.39]
    same = np.zeros((1, 400))
    found = compare(*(Seeds(scores, np.array(scores)[:, None] + same, 1000) for scores in (one, other)))
    expected = stats.ttest_ind(one, other)
    assert found.p_value == pytest.approx(expected.pvalue, rel=0.02)
    low, high = expected.confidence_interval()
    assert [found.low, found.high] == pytest.approx([low, high], abs=0.002)


def test_without_seeds_it_is_the_bootstrap_of_patients():
    generator = np.random.default_rng(1)
    draws = generator.normal(0.6, 0.02, size=(2, 1, 5000))
    found = compare(Seeds([0.6], draws[0], 300), Seeds([0.6], draws[1], 300))
    assert found.standard_error == pytest.approx(0.02 * np.sqrt(2), rel=0.05)
    assert found.between_models
    assert not found.is_significant


def test_below_three_seeds_nothing_is_significant():
    """However large the difference: it is one between these models."""
    sure = [Seeds([mean, mean + 0.001], np.full((2, 100), mean) + np.arange(100) * 1e-5, 500) for mean in (0.2, 0.9)]
    found = compare(*sure)
    assert found.excludes_zero
    assert found.between_models
    assert not found.is_significant
    assert holm({"a": found, "b": Estimate(0.1, p_value=0.001, seeds=3)}) == ["b"]


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [2, 3, 10])
@pytest.mark.parametrize("ratio", [0, 2, 5])
def test_intervals_cover_what_they_say(seeds, ratio):
    """Nominal .95. Seeds drawn n of n covered .76 with two seeds and .85 with three where seeds vary more."""
    generator = np.random.default_rng([seeds, ratio])
    weights, studies, covered, before = resampled(generator, 100), 400, 0, 0
    for _ in range(studies):
        pair = two_equal_configurations(generator, weights, seeds, ratio)
        found, (low, high) = compare(*pair), seeds_drawn_again(*pair)
        covered += found.low <= 0 <= found.high
        before += low <= 0 <= high
    print(f"{seeds} seeds, {ratio} times the patients': {covered / studies:.3f} of nominal .95; before "
          f"{before / studies:.3f}")  # fmt: skip
    margin = 2.5 * np.sqrt(0.05 * 0.95 / studies)
    assert 0.95 - margin < covered / studies < 0.99
    if seeds < 10 and ratio == 5:
        assert before / studies < 0.93 - margin


@pytest.mark.slow
def test_the_mean_of_several_seeds_covers_too():
    generator = np.random.default_rng(3)
    weights, studies, covered = resampled(generator, 100), 300, 0
    for _ in range(studies):
        found = mean_of(two_equal_configurations(generator, weights, 3, 2.0)[0])
        covered += found.low <= 0 <= found.high
    assert covered / studies > 0.93
