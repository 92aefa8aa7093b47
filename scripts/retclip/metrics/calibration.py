"""Whether confidences are right: of what is called with a confidence of .7, 70 of 100 should be so.

The expected calibration error (Guo et al., On calibration of modern neural networks, ICML 2017) is never below zero and
so never zero: with few units in a bin, chance alone sets confidence and accuracy apart. So it stands beside what a
perfectly calibrated model would get on the same confidences, and beside a root mean square error whose bins are freed
of what chance adds (Kumar, Liang and Ma, Verified uncertainty calibration, NeurIPS 2019).
"""

import numpy as np

from retclip.metrics.estimates import INTERVAL, Documented, spread
from retclip.metrics.evaluation_document import Calibration

BINS = 15
CALIBRATED_DRAWS = 1000


def calibration(target: np.ndarray, score: np.ndarray, scale: np.ndarray, weights: np.ndarray) -> Calibration:
    """`calibration` of evaluation.json, of one or more units.

    target: class indices [N]. score: similarities [N, C]. scale: of each unit's softmax [N]. weights: how often each
    unit counts in resamples of the patients [draws, N].
    """
    from scipy.special import softmax

    confidence = softmax(score * scale[:, None], axis=1).max(1)
    right = (score.argmax(1) == target).astype(float)
    edges = np.linspace(0, 1, BINS + 1)
    place = np.clip(np.digitize(confidence, edges, right=True) - 1, 0, BINS - 1)
    member = np.eye(BINS)[place]
    count = member.sum(0)
    bins = []
    for k in range(BINS):
        here = place == k
        known = (confidence[here].mean(), right[here].mean()) if here.any() else (None, None)
        named = {name: None if value is None else float(value)
                 for name, value in zip(("confidence", "accuracy"), known, strict=True)}  # fmt: skip
        bins.append({"low": float(edges[k]), "high": float(edges[k + 1]), "count": int(count[k]), **named})
    # count / N * |confidence - accuracy|, the counts cancel
    error = np.abs(member.T @ (confidence - right)).sum() / len(target)
    return Calibration(
        expected_calibration_error=_only(float(error)),
        expected_if_calibrated=_if_calibrated(confidence, member),
        debiased_calibration_error=_debiased(confidence - right, member, weights),
        bins=tuple(bins),
    )


def _if_calibrated(confidence: np.ndarray, member: np.ndarray) -> Documented:
    """The expected calibration error where each unit is right with its confidence: mean, and 95 % of its draws."""
    generator = np.random.default_rng(0)
    right = generator.random((CALIBRATED_DRAWS, len(confidence))) < confidence
    errors = np.abs((confidence - right) @ member).sum(1) / len(confidence)
    low, high = np.quantile(errors, INTERVAL)
    return {"value": float(errors.mean()), "low": float(low), "high": float(high), "standard_error": None}


def _debiased(gap: np.ndarray, member: np.ndarray, weights: np.ndarray) -> Documented:
    """The root of the mean over units of their bin's squared distance between confidence and accuracy.

    From each square its variance over patients is taken, which is what chance adds; from that of a resample twice,
    since it is drawn from what was drawn.
    """
    shares = member.sum(0) / len(member)
    used = shares > 0
    with np.errstate(invalid="ignore"):
        drawn = (weights @ (member * gap[:, None])) / (weights @ member)
    noise = np.array([(spread(drawn[:, k]) or 0.0) ** 2 for k in np.flatnonzero(used)])
    means = (member.T @ gap)[used] / member.sum(0)[used]
    square = float(shares[used] @ (means**2 - noise))
    parts = weights @ member[:, used] / weights.sum(1, keepdims=True)
    squares = (parts * np.nan_to_num(drawn[:, used] ** 2)).sum(1) - 2 * float(shares[used] @ noise)
    # what a bootstrap's mean strays from the value is no error of the value
    low, high = np.quantile(squares - np.median(squares) + square, INTERVAL)
    error = spread(squares)
    return {
        "value": _root(square),
        "low": _root(float(low)),
        "high": _root(float(high)),
        "standard_error": None if error is None or square <= 0 else error / (2 * _root(square)),
    }


def _root(square: float) -> float:
    """Of a square that may be below zero by chance: then there is nothing."""
    return float(np.sqrt(max(0.0, square)))


def _only(value: float) -> Documented:
    """A value of which resamples tell no interval."""
    return {"value": value, "low": None, "high": None, "standard_error": None}
