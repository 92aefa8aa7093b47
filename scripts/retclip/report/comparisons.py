"""Scores on test and their differences, with intervals from one bootstrap over patients that all models share."""

from dataclasses import dataclass

import numpy as np

from retclip.core.scores import ZERO_SHOT, bootstrap, unpack
from retclip.report.inputs import Final

INTERVAL = (0.025, 0.975)


@dataclass
class Estimate:
    """A value with its 95 % interval and standard error; all None where the data cannot give it."""

    value: float | None
    low: float | None = None
    high: float | None = None
    standard_error: float | None = None

    @property
    def is_real(self) -> bool:
        """Of a difference: the interval leaves out zero."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def score(finals: list[Final], metric: str) -> Estimate:
    """The mean of a zero-shot `metric` on test over trainings that differ in the seed alone."""
    values = [final.evaluation["zero_shot"].get(metric, {}).get("value") for final in finals]
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return Estimate(None)
    return _estimate(float(np.mean(known)), _draws(finals, metric))


def difference(first: list[Final], second: list[Final], metric: str) -> Estimate:
    """score(first) - score(second), paired: both are scored on the same resampled patients."""
    scores = (score(first, metric).value, score(second, metric).value)
    if scores[0] is None or scores[1] is None:
        return Estimate(None)
    return _estimate(scores[0] - scores[1], _draws(first, metric) - _draws(second, metric))


def _draws(finals: list[Final], metric: str) -> np.ndarray:
    assert metric in ZERO_SHOT, metric
    return np.mean([bootstrap(metric, *unpack(final.predictions)) for final in finals], axis=0)


def _estimate(value: float, draws: np.ndarray) -> Estimate:
    finite = draws[np.isfinite(draws)]
    if len(finite) < 2:
        return Estimate(value)
    low, high = np.quantile(finite, INTERVAL)
    return Estimate(value, float(low), float(high), float(finite.std(ddof=1)))
