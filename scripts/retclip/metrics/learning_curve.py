"""How a score rises with the number of train patients, and what twice as many would bring.

Scores of classifiers follow an inverse power law of the number of training samples, a - b n^-c (Figueroa et al.,
BMC Med. Inform. Decis. Mak. 12:8, 2012; Viering and Loog, IEEE Trans. Pattern Anal. Mach. Intell. 45, 2023). Three or
four sizes do not tell its three numbers, so no single curve is taken: all are, by how well they fit the scores given
what patients and seeds move them (a Bayesian posterior on a grid). Patients' part is the covariance over resamples of
test patients, whom all sizes share; seeds' part is as in metrics.differences. With one seed of each size it is unknown
and left out.

Priors: each doubling of the patients brings some share of what the doubling before it brought, 2^-c. It is 1 - u^2 for
an even u, so that shares near 1, which deep networks have (Hestness et al., arXiv:1712.00409, 2017), are the likelier
ones. The score at the largest size and the rise from the smallest to it are flat. More patients never cost a score
(b >= 0), and no score passes 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from retclip.metrics.differences import Seeds, between_seeds
from retclip.metrics.estimates import Estimate

POWERS = -np.log2(1 - ((np.arange(20) + 0.5) / 20) ** 2)
QUANTILES = (np.arange(12) + 0.5) / 12
DRAWS_EACH = 30
SHOWN = (0.025, 0.5, 0.975)
SMALLEST_VARIANCE = 1e-10


class _Curves(NamedTuple):
    """Draws of the posterior, each [d]. top: the score at the largest size. rise: from the smallest size to it. weight:
    of each draw, 1 in sum."""

    top: np.ndarray
    rise: np.ndarray
    power: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True)
class LearningCurve:
    """smallest, largest: numbers of train patients. gain: of twice the largest, with its 95 % band."""

    smallest: int
    largest: int
    gain: Estimate
    _curves: _Curves

    def at(self, patients: np.ndarray) -> np.ndarray:
        """[3, n]: the lower end of the 95 % band, the middle and the upper end at these numbers of patients."""
        curves = self._curves
        left = [_left(count, self.smallest, self.largest, curves.power) for count in patients]
        return np.array([_quantiles(curves.top - curves.rise * one, curves.weight) for one in left]).T


def fit(sizes: Sequence[int] | np.ndarray, groups: Sequence[Seeds]) -> LearningCurve | None:
    """The curve through the mean scores of `groups`, the seeds of each number of train patients in `sizes` (rising, all
    different). None where resamples are missing, or no rising curve below 1 is possible."""
    means = np.array([np.mean(group.scores) for group in groups])
    draws = np.array([group.draws.mean(axis=0) for group in groups])
    draws = draws[:, np.isfinite(draws).all(axis=0)]
    if draws.shape[1] < 2 or min(group.patients for group in groups) < 2:
        return None
    smallest, largest = int(sizes[0]), int(sizes[-1])
    generator = np.random.default_rng(0)
    missing = [np.array([_left(size, smallest, largest, power) for size in sizes]) for power in POWERS]
    parts = [
        _posterior(means, covariance, left, generator) for covariance in _covariances(draws, groups) for left in missing
    ]
    evidence = np.array([part[0] for part in parts])
    known = np.isfinite(evidence)
    if not known.any():
        return None
    scale = np.where(known, np.exp(evidence - evidence[known].max()), 0.0)
    top, rise = (np.concatenate([part[place] for part in parts]) for place in (1, 2))
    power = np.tile(np.repeat(POWERS, DRAWS_EACH), len(parts) // len(POWERS))
    end = top - rise * _left(np.inf, smallest, largest, power)
    weight = np.repeat(scale, DRAWS_EACH) * (end <= 1)
    if not weight.sum() > 0:
        return None
    curves = _Curves(top, rise, power, weight / weight.sum())
    low, middle, high = _quantiles(-rise * _left(2 * largest, smallest, largest, power), curves.weight)
    fewest = min(len(group.scores) for group in groups)
    return LearningCurve(smallest, largest, Estimate(middle, low, high, seeds=fewest), curves)


def _left(patients: float, smallest: int, largest: int, power: np.ndarray | float) -> np.ndarray:
    """How much of the rise is missing at a number of patients: 1 at the smallest, 0 at the largest, below 0 beyond."""
    ratio = np.asarray(smallest / largest) ** -power - 1
    missing: np.ndarray = (np.asarray(patients / largest) ** -power - 1) / ratio
    return missing


def _covariances(draws: np.ndarray, groups: Sequence[Seeds]) -> list[np.ndarray]:
    """Of the mean scores: one where the seeds' part is not known, else one for each of QUANTILES of what it may be."""
    from scipy.stats import chi2

    patients = min(group.patients for group in groups)
    # a bootstrap of N patients falls short by this factor
    total = np.cov(draws) * patients / (patients - 1) + SMALLEST_VARIANCE * np.eye(len(groups))
    between = between_seeds(groups)
    if between is None:
        return [total]
    within, seen, freedom = between
    share = np.diag([1 / len(group.scores) for group in groups])
    values, vectors = np.linalg.eigh(total - within * share)
    pure = (vectors * np.maximum(values, SMALLEST_VARIANCE)) @ vectors.T
    return [pure + share * freedom * seen / chi2.ppf(quantile, freedom) for quantile in QUANTILES]


def _posterior(
    means: np.ndarray, covariance: np.ndarray, left: np.ndarray, generator: np.random.Generator
) -> tuple[float, np.ndarray, np.ndarray]:
    """Of one power and covariance: the logarithm of how well it fits, and draws [DRAWS_EACH] of top and rise."""
    from scipy.special import log_ndtr, ndtri_exp

    design = np.stack([np.ones_like(left), -left], axis=1)
    inverse = np.linalg.inv(covariance)
    precision = design.T @ inverse @ design
    spread = np.linalg.inv(precision)
    center = spread @ design.T @ inverse @ means
    evidence = -0.5 * (
        np.linalg.slogdet(covariance)[1] + np.linalg.slogdet(precision)[1]
        + means @ inverse @ means - center @ precision @ center
    )  # fmt: skip
    # the rise is at least nothing: a normal that is cut at 0
    error = np.sqrt(spread[1, 1])
    log_share = log_ndtr(center[1] / error)
    rise = center[1] - error * ndtri_exp(np.log(generator.uniform(size=DRAWS_EACH)) + log_share)
    slope = spread[0, 1] / spread[1, 1]
    rest = np.sqrt(max(0.0, spread[0, 0] - slope * spread[0, 1]))
    top = center[0] + slope * (rise - center[1]) + rest * generator.standard_normal(DRAWS_EACH)
    return float(evidence + log_share), top, np.maximum(rise, 0.0)


def _quantiles(values: np.ndarray, weight: np.ndarray) -> tuple[float, float, float]:
    order = np.argsort(values)
    reached = np.cumsum(weight[order])
    low, middle, high = values[order[np.minimum(np.searchsorted(reached, SHOWN), len(order) - 1)]].tolist()
    return low, middle, high
