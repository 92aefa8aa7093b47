"""Areas under curves under a thousand sets of sample weights at once, as running sums over all of them.

scikit-learn scores one set at a time, which takes seconds; these are the same formulas (tested to be equal).
"""

from collections.abc import Callable

import numpy as np


def per_class_draws(area: Callable, member: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """aurocs or average_precisions of every class that some units are of and some are not, [classes, draws]."""
    known = [k for k in range(member.shape[1]) if 0 < member[:, k].sum() < len(member)]
    with np.errstate(invalid="ignore", divide="ignore"):
        found = [area(member[:, k], scores[:, k], weights) for k in known]
    return np.array(found).reshape(len(known), len(weights))


def mean_of_known(draws: "np.ndarray | list[np.ndarray]") -> np.ndarray:
    """The mean over classes of [C, draws]. A class that a draw has no unit of is NaN there, and is left out."""
    known = np.isfinite(draws)
    with np.errstate(invalid="ignore"):
        return np.where(known, draws, 0.0).sum(0) / known.sum(0)


def _by_score(
    positive: np.ndarray, score: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Positive and negative weight [draws, N] from the highest score down, and for each place the last place
    with the same score and the last place with a higher one (-1: none)."""
    order = np.argsort(-score, kind="stable")
    place = np.unique(-score[order], return_inverse=True)[1]
    last = np.searchsorted(place, place, side="right") - 1
    higher = np.searchsorted(place, place, side="left") - 1
    sorted_weights = weights[:, order]
    return sorted_weights * positive[order], sorted_weights * ~positive[order], last, higher


def aurocs(positive: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUROC of score [N] for positive bool [N] under every row of weights [draws, N], [draws].

    The share of (positive, negative) pairs in the right order, a tie counting half.
    """
    plus, minus, last, higher = _by_score(positive, score, weights)
    above = np.concatenate([np.zeros((len(weights), 1)), minus.cumsum(1)], axis=1)
    total = minus.sum(1, keepdims=True)
    below = total - (above[:, last + 1] + above[:, higher + 1]) / 2
    return (plus * below).sum(1) / (plus.sum(1) * total[:, 0])


def average_precisions(positive: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Average precision, likewise: the mean over positives of the precision at their score."""
    plus, minus, last, _ = _by_score(positive, score, weights)
    found = plus.cumsum(1)[:, last]
    precision = found / (found + minus.cumsum(1)[:, last])
    return np.nansum(plus * precision, axis=1) / plus.sum(1)
