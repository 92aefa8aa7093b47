"""Whether configurations differ by more than patients and seeds explain."""

import numpy as np

from retclip.search.flatness import flatness_of


def studied(spread, trials=20, noise=0.03, studies=400, seed=1):
    generator = np.random.default_rng([seed, trials])
    return [
        flatness_of(0.4 + generator.normal(size=trials) * np.hypot(spread, noise), np.full(trials, noise))
        for _ in range(studies)
    ]


def test_equal_configurations_are_called_flat_as_often_as_it_says():
    """Nominal: 95 of 100, whatever the number of trials."""
    for trials in (4, 20, 100):
        flat = np.mean([one.is_flat for one in studied(0.0, trials)])
        print(f"{trials} equal configurations are called flat in {flat:.3f} of studies")
        assert 0.92 <= flat <= 0.995


def test_configurations_that_differ_are_not():
    assert np.mean([one.is_flat for one in studied(0.06)]) < 0.05


def test_the_interval_of_the_spread_covers_it():
    found = studied(0.03)
    covered = np.mean([one.low <= 0.03 <= one.high for one in found])
    print(f"intervals of the spread hold it in {covered:.3f} of studies")
    assert 0.92 <= covered <= 0.98


def test_of_few_trials_nothing_is_known():
    assert flatness_of(np.array([0.5, 0.6]), np.array([0.1, 0.1])) is None
    assert flatness_of(np.array([0.5, 0.6, 0.7, 0.4]), np.array([0.1, 0.1, np.nan, 0.1])) is None
