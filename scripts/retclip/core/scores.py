"""Zero-shot scores of a score matrix, and how sure they are: scikit-learn's metrics, resampled by patient."""

from collections.abc import Callable

import numpy as np

ZERO_SHOT = (
    "zero_shot_accuracy",
    "zero_shot_balanced_accuracy",
    "zero_shot_macro_f1",
    "zero_shot_weighted_f1",
    "zero_shot_macro_auroc",
    "zero_shot_mean_average_precision",
)
RETRIEVAL = tuple(
    f"{direction}_recall_at_{k}" for direction in ("image_to_text", "text_to_image") for k in (1, 5, 10)
)
METRICS = ZERO_SHOT + RETRIEVAL

Scores = dict[str, float | None]


def zero_shot_scores(target: np.ndarray, scores: np.ndarray) -> Scores:
    """Every zero-shot metric of `scores` [N, C] (higher = likelier) against class indices `target` [N].

    Averages run over the classes present in `target`; a metric that these targets cannot give (AUROC with
    one class, anything with no sample) is None.
    """
    return {metric: _finite(_metric(metric)(target, scores, None)) for metric in ZERO_SHOT}


def chance_levels(target: np.ndarray, classes: int) -> Scores:
    """What guessing uniformly among `classes` gives on these targets, in expectation."""
    share = _shares(target, classes)
    present = share > 0
    guess = 1 / classes
    f1 = np.where(present, 2 * guess * share / (guess + share), 0.0)
    return {
        "zero_shot_accuracy": guess,
        "zero_shot_balanced_accuracy": guess,
        "zero_shot_macro_f1": float(f1[present].mean()) if present.any() else None,
        "zero_shot_weighted_f1": float((f1 * share).sum()),
        "zero_shot_macro_auroc": 0.5,
        "zero_shot_mean_average_precision": float(share[present].mean()) if present.any() else None,
    }


def majority_levels(target: np.ndarray, classes: int) -> Scores:
    """What always naming the most frequent class gives on these targets."""
    if len(target) == 0:
        return dict.fromkeys(ZERO_SHOT)
    scores = np.zeros((len(target), classes))
    scores[:, int(_shares(target, classes).argmax())] = 1.0
    return zero_shot_scores(target, scores)


def bootstrap(
    metric: str,
    target: np.ndarray,
    scores: np.ndarray,
    patients: np.ndarray,
    draws: int = 1000,
    seed: int = 0,
) -> np.ndarray:
    """`metric` in `draws` resamples of the patients, [draws]; NaN where a resample cannot give it.

    A patient comes or goes with both eyes, since the eyes of one person are not independent. The same seed
    and patients give the same resamples, so the difference of two such arrays is a paired bootstrap.
    """
    units, owner = np.unique(patients, return_inverse=True)
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(len(units), np.full(len(units), 1 / max(len(units), 1)), size=draws)
    weights = counts[:, owner].astype(float)
    if metric == "zero_shot_balanced_accuracy":
        return _balanced_accuracies(target, scores, weights)
    if metric == "zero_shot_accuracy":
        right = (scores.argmax(1) == target).astype(float)
        return weights @ right / np.maximum(weights.sum(1), 1)
    score = _metric(metric)
    return np.array([score(target, scores, row) for row in weights])


def standard_error(metric: str, target: np.ndarray, scores: np.ndarray, patients: np.ndarray) -> float | None:
    """Bootstrap standard error of `metric` over patients; None with fewer than two patients."""
    if len(np.unique(patients)) < 2:
        return None
    draws = 1000 if metric in ("zero_shot_balanced_accuracy", "zero_shot_accuracy") else 200
    values = bootstrap(metric, target, scores, patients, draws=draws)
    values = values[np.isfinite(values)]
    return float(values.std(ddof=1)) if len(values) > 1 else None


def proportion_error(value: float, count: int) -> float | None:
    """Standard error of a share of `count` independent trials: the binomial formula."""
    return float(np.sqrt(value * (1 - value) / count)) if count else None


def _balanced_accuracies(target: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """scikit-learn's balanced_accuracy_score for each row of sample weights [draws, N], in two products."""
    classes = scores.shape[1]
    member = np.eye(classes)[target]
    right = member * (scores.argmax(1) == target)[:, None]
    total = weights @ member
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = np.where(total > 0, weights @ right / total, np.nan)
    present = np.isfinite(recall)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(present, recall, 0).sum(1) / present.sum(1)


Metric = Callable[[np.ndarray, np.ndarray, np.ndarray | None], float]


def _metric(name: str) -> Metric:
    return {
        "zero_shot_accuracy": _accuracy,
        "zero_shot_balanced_accuracy": _balanced_accuracy,
        "zero_shot_macro_f1": lambda *given: _f1("macro", *given),
        "zero_shot_weighted_f1": lambda *given: _f1("weighted", *given),
        "zero_shot_macro_auroc": _macro_auroc,
        "zero_shot_mean_average_precision": _mean_average_precision,
    }[name]


def _accuracy(target: np.ndarray, scores: np.ndarray, weights: np.ndarray | None) -> float:
    if len(target) == 0:
        return np.nan
    return float(np.average(scores.argmax(1) == target, weights=weights))


def _balanced_accuracy(target: np.ndarray, scores: np.ndarray, weights: np.ndarray | None) -> float:
    rows = np.ones((1, len(target))) if weights is None else weights[None]
    return float(_balanced_accuracies(target, scores, rows)[0]) if len(target) else np.nan


def _f1(average: str, target: np.ndarray, scores: np.ndarray, weights: np.ndarray | None) -> float:
    from sklearn.metrics import f1_score

    if len(target) == 0:
        return np.nan
    return float(
        f1_score(
            target,
            scores.argmax(1),
            labels=np.unique(target),
            average=average,
            sample_weight=weights,
            zero_division=0,
        )
    )


def _macro_auroc(target: np.ndarray, scores: np.ndarray, weights: np.ndarray | None) -> float:
    from sklearn.metrics import roc_auc_score

    return _one_against_rest(roc_auc_score, target, scores, weights)


def _mean_average_precision(target: np.ndarray, scores: np.ndarray, weights: np.ndarray | None) -> float:
    from sklearn.metrics import average_precision_score

    return _one_against_rest(average_precision_score, target, scores, weights)


def _one_against_rest(
    score: Callable, target: np.ndarray, scores: np.ndarray, weights: np.ndarray | None
) -> float:
    kept = slice(None) if weights is None else weights > 0
    target, scores = target[kept], scores[kept]
    weights = None if weights is None else weights[kept]
    present = np.unique(target)
    if len(present) < 2:
        return np.nan
    return float(np.mean([score(target == c, scores[:, c], sample_weight=weights) for c in present]))


def _shares(target: np.ndarray, classes: int) -> np.ndarray:
    return np.bincount(target, minlength=classes) / max(len(target), 1)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
