"""Whether configurations differ by more than patients and seeds explain: where not, any of them will do.

The variance of scores between configurations is their own and that of noise (one-way variance components; Searle,
Casella and McCulloch, Variance components, 1992). The noise is how far a configuration strays from the mean of all on
other patients, which a paired bootstrap tells, and on other seeds, where some configurations have several. With one
seed each the seeds count as configurations: a study that is called flat is flat all the same.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from retclip.metrics.differences import Seeds
from retclip.metrics.estimates import INTERVAL

# The variance of fewer is hardly known.
FEWEST_TRIALS = 4


class Flatness(NamedTuple):
    """spread: standard deviation between configurations beyond noise, with its 95 % CI (low, high). noise: that
    of one score. is_flat: not significantly above zero at 5 %."""

    spread: float
    low: float
    high: float
    noise: float
    trials: int
    is_flat: bool


def flatness_of(scores: np.ndarray, errors: np.ndarray) -> Flatness | None:
    """scores: of each configuration [K]. errors: standard error of each, as a distance from the mean of all [K]. None
    where there are fewer than FEWEST_TRIALS, or the error of one is not known."""
    from scipy.stats import chi2

    freedom = len(scores) - 1
    if len(scores) < FEWEST_TRIALS or not np.isfinite(errors).all():
        return None
    seen, noise = float(np.var(scores, ddof=1)), float(np.mean(errors**2))
    low, high = freedom * seen / chi2.ppf(INTERVAL[::-1], freedom) - noise
    is_flat = freedom * seen <= noise * chi2.ppf(0.95, freedom)
    return Flatness(_root(seen - noise), _root(low), _root(high), _root(noise), len(scores), bool(is_flat))


def noise_of(compared: Sequence[Seeds]) -> list[float | None]:
    """How far each strays from the mean of all by patients and seeds alone; None of fewer than FEWEST_TRIALS."""
    if len(compared) < FEWEST_TRIALS:
        return [None] * len(compared)
    means = np.array([seeds.draws.mean(axis=0) for seeds in compared])
    strayed = means - means.mean(axis=0)
    # the mean of all strays with each of them
    patients = np.nanvar(strayed, axis=1, ddof=1) * len(compared) / (len(compared) - 1)
    several = [seeds.scores for seeds in compared if len(seeds.scores) > 1]
    freedom = sum(len(scores) - 1 for scores in several)
    between = sum(float(np.var(scores, ddof=1)) * (len(scores) - 1) for scores in several) / max(1, freedom)
    return [
        float(np.sqrt(variance + between / len(seeds.scores)))
        for seeds, variance in zip(compared, patients, strict=True)
    ]


def ends_search(decision: dict[str, Any]) -> bool:
    """Whether a stage's best.json says that there is nothing to search for: configurations learn, and learn alike.

    Where nothing was learned, longer training may tell them apart."""
    found = decision["flatness"]
    return decision["id"] != "defaults" and found is not None and found["is_flat"]


def _root(variance: float) -> float:
    """Of a variance that may be estimated below zero."""
    return float(np.sqrt(max(0.0, variance)))
