"""Zero-shot scores of a score matrix, and how sure they are: scikit-learn's metrics, resampled by patient."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

ZERO_SHOT = (
    "zero_shot_accuracy",
    "zero_shot_balanced_accuracy",
    "zero_shot_macro_f1",
    "zero_shot_weighted_f1",
    "zero_shot_macro_auroc",
    "zero_shot_mean_average_precision",
)
RETRIEVAL = tuple(f"{direction}_recall_at_{k}" for direction in ("image_to_text", "text_to_image") for k in (1, 5, 10))
METRICS = ZERO_SHOT + RETRIEVAL
# Of units that may have several labels, which no accuracy can judge; evaluation.json has it, metrics.json has not.
MULTI_LABEL = "multi_label_macro_auroc"

Scores = dict[str, float | None]


def unpack(table: "pd.DataFrame") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets int64 [N], scores float64 [N, C] and patients [N] of a predictions table (parquet of a model).

    Only what is scored: rows with target -1 are there for their retrieval ranks.
    """
    columns = [name for name in table.columns if name.startswith("score_")]
    table = table[table["target"] >= 0]
    return (
        table["target"].to_numpy(dtype=np.int64),
        table[columns].to_numpy(dtype=np.float64),
        table["patient_id"].to_numpy(),
    )


def unpack_labels(table: "pd.DataFrame", classes: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whether each unit is of each class, bool [N, C], scores float64 [N, C] and patients [N] of a table of final
    predictions, whose column labels has several joined by |. Units of none of the classes are left out.
    """
    named = [set(text.split("|")) for text in table["labels"]]
    member = np.array([[name in found for name in classes] for found in named], dtype=bool)
    member = member.reshape(len(table), len(classes))
    rows = np.flatnonzero(member.any(1))
    return member[rows], columns_of(table, "score_", classes)[rows], table["patient_id"].to_numpy()[rows]


def columns_of(table: "pd.DataFrame", prefix: str, classes: list[str]) -> np.ndarray:
    """{prefix}0, {prefix}1, ... of a table, float64 [N, C]."""
    return table[[f"{prefix}{k}" for k in range(len(classes))]].to_numpy(dtype=np.float64)


def zero_shot_scores(target: np.ndarray, scores: np.ndarray) -> Scores:
    """Every zero-shot metric of `scores` [N, C] (higher = likelier) against class indices `target` [N].

    Averages run over the classes present in `target`; a metric that these targets cannot give (AUROC with
    one class, anything with no sample) is None.
    """
    if len(target) == 0:
        return dict.fromkeys(ZERO_SHOT)
    return {metric: _finite(_metric(metric)(target, scores)) for metric in ZERO_SHOT}


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


def chance_recalls(texts: list[str]) -> Scores:
    """Recall at k of a random order, in expectation; samples of the same text are each other's right answers.

    Of N answers in random order, g are right: the best of them is among the first k with probability
    1 - C(N - g, k) / C(N, k).
    """
    _, group, sizes = np.unique(np.asarray(texts, dtype=object).astype(str), return_inverse=True, return_counts=True)
    total, right = len(texts), sizes[group]
    levels: Scores = {}
    for metric in RETRIEVAL:
        picked = np.arange(min(total, int(metric.rsplit("_", 1)[1])))
        missed = ((total - right[:, None] - picked) / (total - picked)).clip(min=0).prod(1)
        levels[metric] = float(1 - missed.mean())
    return levels


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
    return resampled(metric, target, scores, resamples(patients, draws, seed))


def resamples(patients: np.ndarray, draws: int = 1000, seed: int = 0) -> np.ndarray:
    """How often each row counts in each of `draws` resamples of the patients, float64 [draws, N]."""
    units, owner = np.unique(patients, return_inverse=True)
    if len(units) == 0:
        return np.zeros((draws, 0))
    counts = np.random.default_rng(seed).multinomial(len(units), np.full(len(units), 1 / len(units)), size=draws)
    return counts[:, owner].astype(float)


def draws_of(
    metric: str, table: "pd.DataFrame", draws: int = 1000, seed: int = 0, classes: Sequence[str] = ()
) -> np.ndarray:
    """`metric` of a predictions table in resamples of its patients, [draws]; see bootstrap.

    Retrieval is resampled by query, over the candidates that were there: the ranks stay as they are. classes: of the
    scores; MULTI_LABEL needs them.
    """
    if metric in ZERO_SHOT:
        return bootstrap(metric, *unpack(table), draws=draws, seed=seed)
    if metric == MULTI_LABEL:
        member, scores, patients = unpack_labels(table, list(classes))
        return mean_of_known(per_class_draws(aurocs, member, scores, resamples(patients, draws, seed)))
    direction, k = metric.split("_recall_at_")
    queries = table.drop_duplicates("sample_id")
    hits = (queries[f"{direction}_rank"] <= int(k)).to_numpy(dtype=float)
    weights = resamples(queries["patient_id"].to_numpy(), draws, seed)
    return weights @ hits / weights.sum(1)


def standard_error(metric: str, table: "pd.DataFrame") -> float | None:
    """Bootstrap standard error of `metric` over the patients of a predictions table; None with fewer than two."""
    scored = table[table["target"] >= 0] if metric in ZERO_SHOT else table
    if scored["patient_id"].nunique() < 2:
        return None
    values = draws_of(metric, table)
    values = values[np.isfinite(values)]
    return float(values.std(ddof=1)) if len(values) > 1 else None


def resampled(metric: str, target: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """`metric` under every row of sample weights [draws, N], [draws]; NaN where it cannot be given.

    scikit-learn scores one set of weights at a time, which takes seconds for a thousand draws; these are the
    same formulas as matrix products and running sums over all draws at once (tested to be equal).
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        if metric in ("zero_shot_macro_auroc", "zero_shot_mean_average_precision"):
            area = aurocs if metric == "zero_shot_macro_auroc" else average_precisions
            member = target[:, None] == np.arange(scores.shape[1])
            return mean_of_known(per_class_draws(area, member, scores, weights))
        member, guess = np.eye(scores.shape[1])[target], np.eye(scores.shape[1])[scores.argmax(1)]
        total, guessed, right = weights @ member, weights @ guess, weights @ (member * guess)
        if metric == "zero_shot_accuracy":
            return right.sum(1) / weights.sum(1)
        if metric == "zero_shot_balanced_accuracy":
            return mean_of_known((right / total).T)
        f1 = np.where(total > 0, 2 * right / (total + guessed), np.nan)
        if metric == "zero_shot_macro_f1":
            return mean_of_known(f1.T)
        assert metric == "zero_shot_weighted_f1", metric
        return np.nansum(f1 * total, axis=1) / total.sum(1)


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


def _metric(name: str) -> Callable[[np.ndarray, np.ndarray], float]:
    return {
        "zero_shot_accuracy": lambda target, scores: float((scores.argmax(1) == target).mean()),
        "zero_shot_balanced_accuracy": _balanced_accuracy,
        "zero_shot_macro_f1": lambda target, scores: _f1("macro", target, scores),
        "zero_shot_weighted_f1": lambda target, scores: _f1("weighted", target, scores),
        "zero_shot_macro_auroc": _macro_auroc,
        "zero_shot_mean_average_precision": _mean_average_precision,
    }[name]


def _balanced_accuracy(target: np.ndarray, scores: np.ndarray) -> float:
    from sklearn.metrics import recall_score

    guess = scores.argmax(1)
    # scikit-learn's balanced_accuracy_score warns of guessed classes that are missing from the targets
    return float(recall_score(target, guess, labels=np.unique(target), average="macro"))


def _f1(average: str, target: np.ndarray, scores: np.ndarray) -> float:
    from sklearn.metrics import f1_score

    guess = scores.argmax(1)
    return float(f1_score(target, guess, labels=np.unique(target), average=average, zero_division=0))


def _macro_auroc(target: np.ndarray, scores: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return _one_against_rest(roc_auc_score, target, scores)


def _mean_average_precision(target: np.ndarray, scores: np.ndarray) -> float:
    from sklearn.metrics import average_precision_score

    return _one_against_rest(average_precision_score, target, scores)


def _one_against_rest(score: Callable, target: np.ndarray, scores: np.ndarray) -> float:
    present = np.unique(target)
    if len(present) < 2:
        return np.nan
    return float(np.mean([score(target == c, scores[:, c]) for c in present]))


def _shares(target: np.ndarray, classes: int) -> np.ndarray:
    return np.bincount(target, minlength=classes) / max(len(target), 1)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
