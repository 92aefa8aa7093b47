"""Scores on test and their differences, with intervals from one bootstrap over patients that all models share.

Where a model was trained with several seeds, each draw takes as many of its trials with replacement, too, so that
the interval holds the spread of seeds. A few seeds, drawn again, still make it too narrow: of n, by about (n - 1) / n
in their variance. Where there is one trial, an interval says nothing of other seeds.
"""

from dataclasses import replace

import numpy as np

from retclip.metrics.estimates import DRAWS, Estimate, estimate
from retclip.metrics.registry import MULTI_LABEL, ZERO_SHOT
from retclip.metrics.scores import draws_of
from retclip.report.run_folder import FinalModel

ERROR_RATE = 0.05


def score(finals: list[FinalModel], metric: str) -> Estimate:
    """The mean of `metric` on test over trials that differ in the seed alone."""
    values = [value_of(final, metric) for final in finals]
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return Estimate(None)
    return _estimate(float(np.mean(known)), _draws(finals, metric, _picks(finals)))


def difference(first: list[FinalModel], second: list[FinalModel], metric: str) -> Estimate:
    """score(first) - score(second), paired: both are scored on the same resampled patients, and where both have the
    same seeds on the same resampled seeds."""
    scores = (score(first, metric).value, score(second, metric).value)
    if scores[0] is None or scores[1] is None:
        return Estimate(None)
    picks = _picks(first)
    others = picks if _seeds(first) == _seeds(second) else _picks(second, stream=2)
    return _estimate(scores[0] - scores[1], _draws(first, metric, picks) - _draws(second, metric, others))


def holm(differences: dict[str, Estimate]) -> list[str]:
    """The names of those that differ from zero when all are looked at, by Holm's step-down rule at 5 %.

    Source: Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6 (1979).
    """
    known = {name: estimate.p_value for name, estimate in differences.items() if estimate.p_value is not None}
    found = []
    for position, name in enumerate(sorted(known, key=lambda name: known[name])):
        if known[name] > ERROR_RATE / (len(known) - position):
            break
        found.append(name)
    return [name for name in differences if name in found]


def value_of(final: FinalModel, metric: str) -> float | None:
    """The score on test of one trial; None where the data cannot give it, or where it failed: what such weights
    score is nobody's result."""
    if final.failed:
        return None
    if metric == MULTI_LABEL:
        several = final.evaluation.multi_label
        return several.macro_auroc["value"] if several else None
    part = final.evaluation.zero_shot if metric in ZERO_SHOT else final.evaluation.retrieval
    return part[metric]["value"] if metric in part else None


def _seeds(finals: list[FinalModel]) -> list[int]:
    return [final.trial.seed for final in finals]


def _picks(finals: list[FinalModel], stream: int = 1) -> np.ndarray:
    """Which training stands in each place of each draw, [DRAWS, n]: as many as there are, with replacement.

    stream: another one draws independently; none is that of the patients.
    """
    return np.random.default_rng([0, stream]).integers(0, len(finals), size=(DRAWS, len(finals)))


def _draws(finals: list[FinalModel], metric: str, picks: np.ndarray) -> np.ndarray:
    """The mean of `metric` over the picked trials in each resample of the patients, [DRAWS]; all NaN where the
    predictions of one were removed: its score is known, but no interval."""

    def draws(final: FinalModel) -> np.ndarray:
        if final.predictions is None:
            return np.full(DRAWS, np.nan)
        # the one metric that reads the labels' names has to know which class each score is of
        classes = final.evaluation.confusion.classes if metric == MULTI_LABEL else ()
        return draws_of(metric, final.predictions, DRAWS, classes=classes)

    values = np.array([draws(final) for final in finals])
    return values[picks, np.arange(DRAWS)[:, None]].mean(axis=1)


def _estimate(value: float, draws: np.ndarray) -> Estimate:
    found = estimate(value, draws)
    if found.standard_error is None:
        return found
    finite = draws[np.isfinite(draws)]
    # one draw is added on each side: a finite number of draws never proves a chance of zero
    side = min((finite <= 0).sum(), (finite >= 0).sum())
    return replace(found, p_value=min(1.0, 2 * (int(side) + 1) / (len(finite) + 1)))
