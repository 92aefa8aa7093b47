"""Scores on test and their differences, over patients and seeds together: see metrics.differences, which does it."""

import numpy as np

from retclip.metrics import differences, nulls, rare_classes
from retclip.metrics.differences import Seeds, holm
from retclip.metrics.estimates import DRAWS, Estimate
from retclip.metrics.registry import MULTI_LABEL, ZERO_SHOT
from retclip.metrics.scores import draws_of, unpack
from retclip.report.run_folder import FinalModel

__all__ = ["difference", "holm", "is_above_chance", "judge", "score", "seeds_of", "value_of"]


def score(finals: list[FinalModel], metric: str) -> Estimate:
    """The mean of `metric` on test over final models that differ in the seed alone."""
    found = seeds_of(finals, metric)
    return Estimate(None) if found is None else differences.mean_of(found)


def difference(first: list[FinalModel], second: list[FinalModel], metric: str) -> Estimate:
    """score(first) - score(second), paired over patients; p_value: of no difference, two-sided."""
    one, other = seeds_of(first, metric), seeds_of(second, metric)
    return Estimate(None) if one is None or other is None else differences.compare(one, other)


def judge(finals: list[FinalModel], metric: str) -> nulls.Judgement:
    """Whether the mean of `metric` on test is above what models reach that learned nothing from the texts."""
    tables = [final.predictions for final in finals if final.predictions is not None]
    if len(tables) < len(finals) or any(value_of(final, metric) is None for final in finals):
        return nulls.NOTHING
    chance = finals[0].evaluation.levels.chance.get(metric)
    return nulls.judge(metric, [tables], [chance], _classes(finals[0], metric))[0]


def is_above_chance(finals: list[FinalModel], metric: str, chance: float) -> bool:
    """At 5 %, by `judge`; where that cannot tell, the interval lies above chance. What lies below is no leak."""
    judged, low = judge(finals, metric).is_learned, score(finals, metric).low
    return (low is not None and low > chance) if judged is None else judged


def value_of(final: FinalModel, metric: str) -> float | None:
    """The score on test of one training run; None where the data cannot give it, or where it failed: what such weights
    score is nobody's result."""
    if final.failed:
        return None
    if metric == MULTI_LABEL:
        several = final.evaluation.multi_label
        return several.macro_auroc["value"] if several else None
    part = final.evaluation.zero_shot if metric in ZERO_SHOT else final.evaluation.retrieval
    return part[metric]["value"] if metric in part else None


def seeds_of(finals: list[FinalModel], metric: str) -> Seeds | None:
    """What metrics.differences compares; None where one has no score. Where the predictions of one were removed, its
    draws are NaN: the score is known, but no interval."""
    values = [value_of(final, metric) for final in finals]
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    patients = [final.predictions["patient_id"].nunique() for final in finals if final.predictions is not None]
    limits = _limits(finals) if metric in ZERO_SHOT and ZERO_SHOT[metric].is_mean_of_recalls else None
    return Seeds(known, np.array([_draws(final, metric) for final in finals]), min(patients, default=0), limits)


def _limits(finals: list[FinalModel]) -> tuple[float, float] | None:
    """The 95 % CI over patients of the mean of recalls, of the mean over seeds, where a class is rare."""
    found = [rare_classes.recalls(*unpack(final.predictions)) for final in finals if final.predictions is not None]
    if len(found) < len(finals):
        return None
    return rare_classes.limits(np.mean([recall for recall, _ in found], axis=0), found[0][1])


def _draws(final: FinalModel, metric: str) -> np.ndarray:
    """[DRAWS], drawn once: a report shows the scores of a model, and what they differ from others', in many places."""
    if final.predictions is None:
        return np.full(DRAWS, np.nan)
    if metric not in final.resampled:
        final.resampled[metric] = draws_of(metric, final.predictions, DRAWS, classes=_classes(final, metric))
    return final.resampled[metric]


def _classes(final: FinalModel, metric: str) -> list[str]:
    """The one metric that reads the labels' names has to know which class each score is of."""
    return list(final.evaluation.confusion.classes) if metric == MULTI_LABEL else []
