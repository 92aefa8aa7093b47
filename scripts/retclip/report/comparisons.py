"""Scores on test and their differences, with intervals from one bootstrap over patients that all models share."""

from dataclasses import dataclass

import numpy as np

from retclip.core.scores import ZERO_SHOT, draws_of
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
    """The mean of `metric` on test over trainings that differ in the seed alone."""
    values = [value_of(final, metric) for final in finals]
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


def value_of(final: Final, metric: str) -> float | None:
    """The score on test of one training; None where the data cannot give it."""
    part = "zero_shot" if metric in ZERO_SHOT else "retrieval"
    return final.evaluation[part].get(metric, {}).get("value")


def _draws(finals: list[Final], metric: str) -> np.ndarray:
    return np.mean([draws_of(metric, final.predictions) for final in finals], axis=0)


def _estimate(value: float, draws: np.ndarray) -> Estimate:
    finite = draws[np.isfinite(draws)]
    if len(finite) < 2:
        return Estimate(value)
    low, high = np.quantile(finite, INTERVAL)
    return Estimate(value, float(low), float(high), float(finite.std(ddof=1)))
