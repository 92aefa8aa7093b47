"""Zero-shot scores of a score matrix, and how sure they are: scikit-learn's metrics, resampled by patient."""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from retclip.metrics import rare_classes
from retclip.metrics.estimates import Estimate, estimate, spread
from retclip.metrics.registry import RETRIEVAL, SEVERAL_LABELS, ZERO_SHOT
from retclip.metrics.weighted import mean_of_known, per_class_draws

if TYPE_CHECKING:
    import pandas as pd

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
    return {metric: _finite(declared.value(target, scores)) for metric, declared in ZERO_SHOT.items()}


def chance_levels(target: np.ndarray, classes: int) -> Scores:
    """What guessing uniformly among `classes` gives on these targets, in expectation."""
    share = _shares(target, classes)
    return {metric: _finite(declared.chance(share)) for metric, declared in ZERO_SHOT.items()}


def retrieval_scores(ranks: dict[str, np.ndarray]) -> Scores:
    """Every retrieval metric of the ranks (from 1) of the best right answer, [N] per direction."""
    return {metric: float(declared.credit(ranks[declared.direction]).mean()) for metric, declared in RETRIEVAL.items()}


def chance_recalls(texts: list[str]) -> Scores:
    """Every retrieval metric of a random order, in expectation; samples of the same text are each other's right
    answers."""
    _, group, sizes = np.unique(np.asarray(texts, dtype=object).astype(str), return_inverse=True, return_counts=True)
    return {metric: declared.chance(len(texts), sizes[group]) for metric, declared in RETRIEVAL.items()}


def majority_levels(target: np.ndarray, classes: int) -> Scores:
    """What always naming the most frequent class gives on these targets."""
    if len(target) == 0:
        return dict.fromkeys(ZERO_SHOT)
    return dict(_majority_levels(target.astype(np.int64).tobytes(), classes))


# The same after every epoch, and half of what scoring one takes.
@lru_cache(maxsize=8)
def _majority_levels(targets: bytes, classes: int) -> Scores:
    target = np.frombuffer(targets, dtype=np.int64)
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
    return _drawn(len(units), draws, seed)[:, owner].astype(float)


@lru_cache(maxsize=2)
def _drawn(units: int, draws: int, seed: int) -> np.ndarray:
    """How often each of so many patients is drawn in each resample, int16 [draws, units]."""
    return np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), size=draws).astype(np.int16)


def draws_of(
    metric: str, table: "pd.DataFrame", draws: int = 1000, seed: int = 0, classes: Sequence[str] = ()
) -> np.ndarray:
    """`metric` of a predictions table in resamples of its patients, [draws]; see bootstrap.

    Retrieval is resampled by query, over the candidates that were there: the ranks stay as they are. classes: of the
    scores; a metric of several labels needs them.
    """
    if metric in ZERO_SHOT:
        return bootstrap(metric, *unpack(table), draws=draws, seed=seed)
    if metric in SEVERAL_LABELS:
        member, scores, patients = unpack_labels(table, list(classes))
        area = SEVERAL_LABELS[metric].area
        return mean_of_known(per_class_draws(area, member, scores, resamples(patients, draws, seed)))
    queries = table.drop_duplicates("sample_id")
    return resampled_queries(
        metric,
        queries[f"{RETRIEVAL[metric].direction}_rank"].to_numpy(),
        resamples(queries["patient_id"].to_numpy(), draws, seed),
    )


def multi_label_score(table: "pd.DataFrame", classes: list[str]) -> float | None:
    """Macro AUROC over all labels of a predictions table with a column labels: the mean over classes of one against the
    rest; None where no class has both sides."""
    from sklearn.metrics import roc_auc_score

    member, scores, _ = unpack_labels(table, classes)
    sides = [k for k in range(len(classes)) if 0 < member[:, k].sum() < len(member)]
    return float(np.mean([roc_auc_score(member[:, k], scores[:, k]) for k in sides])) if sides else None


def standard_error(metric: str, table: "pd.DataFrame", classes: Sequence[str] = ()) -> float | None:
    """Bootstrap standard error of `metric` over the patients of a predictions table; None with fewer than two.

    classes: of the scores; a metric of several labels needs them.
    """
    scored = table[table["target"] >= 0] if metric in ZERO_SHOT else table
    if scored["patient_id"].nunique() < 2:
        return None
    return spread(draws_of(metric, table, classes=classes))


def estimated(
    metric: str, target: np.ndarray, scores: np.ndarray, patients: np.ndarray, weights: np.ndarray
) -> Estimate:
    """A zero-shot metric with its 95 % CI over the patients [N]: that of its resamples, whose weights are [draws, N],
    but for a mean of recalls where a class is rare; see rare_classes."""
    value = _finite(ZERO_SHOT[metric].value(target, scores))
    found = estimate(value, resampled(metric, target, scores, weights))
    if not ZERO_SHOT[metric].is_mean_of_recalls or found.low is None:
        return found
    limits = rare_classes.limits(*rare_classes.recalls(target, scores, patients))
    return found if limits is None else found.within(limits)


def resampled(metric: str, target: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """A zero-shot metric under every row of sample weights [draws, N], [draws]; NaN where it cannot be given."""
    declared = ZERO_SHOT[metric]
    with np.errstate(invalid="ignore", divide="ignore"):
        if declared.draws is not None:
            return declared.draws(target, scores, weights)
        rows = [np.arange(len(target)).repeat(counts.astype(int)) for counts in weights]
        return np.array([declared.value(target[one], scores[one]) if len(one) else np.nan for one in rows])


def resampled_queries(metric: str, ranks: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """A retrieval metric of ranks [N] under every row of query weights [draws, N], [draws]."""
    return weights @ RETRIEVAL[metric].credit(ranks) / weights.sum(1)


def _shares(target: np.ndarray, classes: int) -> np.ndarray:
    return np.bincount(target, minlength=classes) / max(len(target), 1)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
