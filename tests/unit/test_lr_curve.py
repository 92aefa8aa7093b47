"""What the learning-rate finder suggests of a curve: the steepest fall where there is one, and nothing elsewhere."""

import numpy as np
import pytest

from retclip.training.lr_curve import smoothed, suggest

RATES = np.geomspace(1e-7, 1e-2, 100)


def curve(generator, steepest, noise=0.1, fall=2.0):
    """A loss that falls like a sigmoid in the logarithm of the rate, and explodes two decades later."""
    place = np.log10(RATES / steepest)
    return 8 - fall / (1 + np.exp(-4 * place)) + np.exp(3 * (place - 1.7)) + noise * generator.normal(size=len(RATES))


@pytest.mark.parametrize("steepest", [1e-5, 1e-4, 3e-4])
def test_the_suggestion_is_the_steepest_fall(steepest):
    """A running mean that begins at the first loss lags behind: 2.2 to 2.4 times the steepest point."""
    generator = np.random.default_rng(1)
    found = [suggest(RATES, curve(generator, steepest)) for _ in range(40)]
    assert all(rate is not None for rate in found)
    ratio = np.median(found) / steepest
    print(f"steepest {steepest:g}: suggested {ratio:.2f} times it")
    assert 0.75 < ratio < 1.35


def test_where_nothing_falls_nothing_is_suggested():
    generator = np.random.default_rng(2)
    flat = [suggest(RATES, 8 + 0.1 * generator.normal(size=100)) for _ in range(200)]
    rising = [suggest(RATES, 8 + 0.1 * generator.normal(size=100) + np.linspace(0, 2, 100) ** 3) for _ in range(200)]
    named = np.mean([rate is not None for rate in flat]), np.mean([rate is not None for rate in rising])
    print(f"suggested of a flat curve {named[0]:.3f}, of a rising one {named[1]:.3f}")
    assert max(named) <= 0.05


def test_a_curve_of_few_steps_suggests_nothing():
    assert suggest(RATES[:12], np.linspace(8, 4, 12)) is None
    assert len(smoothed(np.ones(3))) == 3


def test_smoothing_does_not_lag():
    """A straight line stays where it is."""
    line = np.linspace(5, 1, 60)
    assert smoothed(line) == pytest.approx(line)
