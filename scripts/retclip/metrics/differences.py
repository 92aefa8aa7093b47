"""How sure a score is, and the difference of two: patients and seeds together, in one place for every comparison.

Seeds are to a configuration what readers are to a modality in studies of diagnostic imaging: each scores the same
patients. So the variance of a mean over seeds has a part that more patients reduce and one that more seeds reduce
(Obuchowski and Rockette, Commun. Stat. Simul. Comput. 24, 1995). The patients' part comes from a bootstrap over
patients that all models share, less what patients alone would vary between seeds; the seeds' part is the variance seen
between seeds, S2, pooled over both configurations, with v degrees of freedom. A few seeds may lie close by luck, so the
seeds' part is not S2 but v S2 / chi2(v), as a hierarchical model with Jeffreys' prior has it, which is a generalized
confidence interval (Weerahandi, J. Am. Stat. Assoc. 88, 1993). Satterthwaite's degrees of freedom cover 89 to 92 of 100
where there are two seeds that vary more than patients; these 94 to 98 (make check-statistics).

It assumes that seeds are a random sample of those there might be, that they vary alike in both configurations, and that
means are nearly normal. Equal seeds of two configurations are not paired, which errs on the side of no difference.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from retclip.metrics.estimates import NORMAL, Estimate, estimate, spread

ERROR_RATE = 0.05
# A normal value is farther from its mean than one standard error with this chance.
ONE_ERROR = 0.3173
QUANTILES = (np.arange(200) + 0.5) / 200


class Seeds(NamedTuple):
    """The seeds of one configuration. scores: of each [n]. draws: of each in the same resamples of the patients
    [n, draws]. patients: how many there are. limits: the 95 % CI of their mean over patients alone where a class is
    rare, see rare_classes."""

    scores: Sequence[float]
    draws: np.ndarray
    patients: int
    limits: tuple[float, float] | None = None


def mean_of(seeds: Seeds) -> Estimate:
    """The mean score of a configuration; its interval holds seeds where there are two or more."""
    value = float(np.mean(seeds.scores))
    found = _estimate([seeds], value, seeds.draws.mean(axis=0))
    if seeds.limits is None or found.low is None:
        return found
    below, above = value - seeds.limits[0], seeds.limits[1] - value
    if len(seeds.scores) > 1:
        below, above = (_half(_errors([seeds], (side / NORMAL) ** 2), seeds.patients) for side in (below, above))
    return found.within((value - below, value + above))


def compare(first: Seeds, second: Seeds) -> Estimate:
    """The mean score of the first less that of the second, with a two-sided p-value of no difference."""
    value = float(np.mean(first.scores) - np.mean(second.scores))
    return _estimate([first, second], value, first.draws.mean(axis=0) - second.draws.mean(axis=0))


def holm(differences: dict[str, Estimate]) -> list[str]:
    """The names of those that differ from zero when all are looked at, by Holm's step-down rule at 5 %; none of those
    with too few seeds to tell."""
    known = {name: found.p_value for name, found in differences.items() if found.p_value is not None}
    rejected = {name for name, p in corrected(known).items() if p <= ERROR_RATE}
    return [name for name in differences if name in rejected and not differences[name].between_models]


def corrected(p_values: dict[str, float]) -> dict[str, float]:
    """The p-values when all of them are looked at, by Holm's step-down rule.

    Source: Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6 (1979).
    """
    found, least = {}, 0.0
    for position, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        found[name] = least = max(least, min(1.0, (len(p_values) - position) * p_values[name]))
    return found


def _estimate(groups: list[Seeds], value: float, draws: np.ndarray) -> Estimate:
    """The value with its interval; standard_error is what chance exceeds as rarely as a normal one, 32 of 100 times."""
    fewest, patients = min(len(group.scores) for group in groups), min(group.patients for group in groups)
    total = spread(draws)
    if total is None or patients < 2:
        return Estimate(value, seeds=fewest)
    if between_seeds(groups) is None:
        return replace(estimate(value, draws), p_value=_p_value(draws), seeds=fewest)
    # a bootstrap of N patients falls short by this factor
    errors = _errors(groups, total**2 * patients / (patients - 1))
    if not errors.any():
        return Estimate(value, value, value, 0.0, float(value == 0), fewest)
    half, one_error = (_half(errors, patients, chance) for chance in (ERROR_RATE, ONE_ERROR))
    return Estimate(value, value - half, value + half, one_error, _beyond(abs(value), errors, patients), fewest)


def _errors(groups: list[Seeds], variance: float) -> np.ndarray:
    """What the standard error may be, at each of QUANTILES, where patients alone give this variance; groups of which
    one has two seeds."""
    from scipy.stats import chi2

    between = between_seeds(groups)
    assert between is not None
    within, seen, freedom = between
    share = sum(1 / len(group.scores) for group in groups)
    errors: np.ndarray = np.sqrt(
        max(0.0, variance - within * share) + share * freedom * seen / chi2.ppf(QUANTILES, freedom)
    )
    return errors


def _beyond(size: float, errors: np.ndarray, patients: int) -> float:
    """The chance of so large a value, in either direction, where the true one is zero."""
    from scipy.stats import t

    with np.errstate(divide="ignore"):
        return float(2 * t.sf(size / errors, patients - 1).mean())


def _half(errors: np.ndarray, patients: int, chance: float = ERROR_RATE) -> float:
    """The size that is exceeded with this chance."""
    from scipy.optimize import brentq

    return float(brentq(lambda size: _beyond(size, errors, patients) - chance, 0.0, 1e3 * errors.max()))


def _p_value(draws: np.ndarray) -> float:
    """Of patients alone: the share of draws on the far side of zero, twice."""
    finite = draws[np.isfinite(draws)]
    # one draw is added on each side: a finite number of draws never proves a chance of zero
    side = min((finite <= 0).sum(), (finite >= 0).sum())
    return min(1.0, 2 * (int(side) + 1) / (len(finite) + 1))


def between_seeds(groups: Sequence[Seeds]) -> tuple[float, float, int] | None:
    """Between seeds of a configuration: the variance that patients alone would give (the seeds would change places in
    other patients), the variance that is seen, and its degrees of freedom; None where none has two seeds."""
    freedom = sum(len(group.scores) - 1 for group in groups)
    if freedom == 0:
        return None
    within = seen = 0.0
    for group in groups:
        count = len(group.scores)
        if count > 1:
            seen += float(np.var(group.scores, ddof=1)) * (count - 1)
            known = group.draws[:, np.isfinite(group.draws).all(axis=0)]
            moved = known - known.mean(axis=1, keepdims=True)
            within += float(moved.var(axis=0, ddof=1).mean()) * (count - 1) * group.patients / (group.patients - 1)
    return within / freedom, seen / freedom, freedom
