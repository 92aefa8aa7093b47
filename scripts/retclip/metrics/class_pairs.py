"""Zero-shot scores as sums over classes: a table [C, C] whose entry [t, g] is what class t adds where the prompts of
class g are taken for its own.

So the trace is the score, and the sum along a permutation is the score with the class prompts permuted: 40,320
permutations cost one table. member: whether each unit is of each class, bool [N, C]. score: higher = likelier [N, C].
"""

import numpy as np

from retclip.metrics.weighted import average_precisions


def accuracy(member: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Units of class t that are called g, over all units."""
    return _called(member, score) / len(member)


def balanced_accuracy(member: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Units of class t that are called g, over those of class t and the number of classes that are there."""
    return _mean_of_present(_called(member, score) / np.maximum(member.sum(0), 1)[:, None], member)


def macro_f1(member: np.ndarray, score: np.ndarray) -> np.ndarray:
    """F1 of class t where units that are called g are called t."""
    return _mean_of_present(_f1(member, score), member)


def weighted_f1(member: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Likewise, weighted by the units of class t."""
    return _f1(member, score) * (member.sum(0) / len(member))[:, None]


def macro_auroc(member: np.ndarray, score: np.ndarray) -> np.ndarray:
    """AUROC of class t against the rest by the scores of class g, from ranks (Mann and Whitney 1947)."""
    from scipy.stats import rankdata

    positive = member.sum(0)[:, None]
    pairs = np.maximum(positive * (len(member) - positive), 1)
    area = (member.T @ rankdata(score, axis=0) - positive * (positive + 1) / 2) / pairs
    return _mean_of_present(area, member, everywhere=False)


def mean_average_precision(member: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Average precision of class t against the rest by the scores of class g."""
    table, ones = np.zeros((member.shape[1], score.shape[1])), np.ones((1, len(member)))
    for true in np.flatnonzero(_present(member, everywhere=False)):
        for named in range(score.shape[1]):
            table[true, named] = average_precisions(member[:, true], score[:, named], ones)[0]
    return _mean_of_present(table, member, everywhere=False)


def _called(member: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Units of class t that are called g [C, C]."""
    return member.T.astype(float) @ np.eye(score.shape[1])[score.argmax(1)]


def _f1(member: np.ndarray, score: np.ndarray) -> np.ndarray:
    called = _called(member, score)
    return 2 * called / np.maximum(member.sum(0)[:, None] + called.sum(0)[None, :], 1)


def _present(member: np.ndarray, everywhere: bool) -> np.ndarray:
    """Classes with a unit, bool [C]; unless `everywhere`, only where another unit is not of it."""
    return (member.sum(0) > 0) & (everywhere | (member.sum(0) < len(member)))


def _mean_of_present(table: np.ndarray, member: np.ndarray, everywhere: bool = True) -> np.ndarray:
    there = _present(member, everywhere)
    if not there.any():
        return np.full(table.shape, np.nan)
    return np.where(there[:, None], table, 0.0) / there.sum()
