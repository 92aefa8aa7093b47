"""The final evaluation on test: every score with its interval, beside chance and the majority class."""

from typing import TYPE_CHECKING, Any

import numpy as np

from retclip.core.scores import (
    RETRIEVAL,
    ZERO_SHOT,
    bootstrap,
    unpack,
    zero_shot_scores,
)
from retclip.ml.evaluate import Features, recalls, retrieval_ranks, validation_scores
from retclip.ml.loader import Split

if TYPE_CHECKING:
    import pandas as pd

# Strengths of the probe's L2 penalty; the one that is best on val is used.
PROBE_C = (0.01, 0.1, 1.0, 10.0, 100.0)
DRAWS = 1000


def linear_probe(splits: dict[str, Split], features: dict[str, Features], seed: int) -> np.ndarray | None:
    """Class probabilities [N, C] of a logistic regression on frozen image features, for the rows of
    `predictions(test)`; None where fewer than two classes are labelled in train or val is unlabelled."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score

    data = {name: _labelled(split, features[name]) for name, split in splits.items()}
    (x, y), (x_val, y_val), (x_test, _) = data["train"], data["val"], data["test"]
    if len(np.unique(y)) < 2 or len(y_val) == 0 or len(x_test) == 0:
        return None
    # features are of unit length; without scaling them up the penalty would rule
    scale = np.sqrt(x.shape[1])
    best, best_score = None, -1.0
    for strength in PROBE_C:
        probe = LogisticRegression(C=strength, max_iter=500, class_weight="balanced", random_state=seed)
        probe.fit(x * scale, y)
        score = balanced_accuracy_score(y_val, probe.predict(x_val * scale))
        if score > best_score:
            best, best_score = probe, score
    assert best is not None
    scores = np.zeros((len(x_test), len(splits["train"].classes)))
    scores[:, best.classes_] = best.predict_proba(x_test * scale)
    return scores


def evaluation_document(
    test: Split, features: Features, table: "pd.DataFrame", probe: np.ndarray | None
) -> dict[str, Any]:
    """The content of evaluation.json."""
    from sklearn.metrics import confusion_matrix

    classes = test.classes
    target, scores, patients = unpack(table)
    ranks = retrieval_ranks(features, test.texts["patient"])
    counts = {
        "samples": len(test),
        "patients": int(test.frame["patient_id"].nunique()),
        "scored": len(target),
        "scored_patients": len(np.unique(patients)),
    }
    return {
        "zero_shot": _with_intervals(target, scores, patients),
        "linear_probe": {} if probe is None else _with_intervals(target, probe, patients),
        "retrieval": _retrieval_intervals(ranks, test.frame["patient_id"].to_numpy()),
        "levels": validation_scores(test, features, table)["levels"],
        "per_class": _per_class(target, scores, classes),
        "confusion": {
            "classes": classes,
            "matrix": confusion_matrix(target, scores.argmax(1), labels=range(len(classes))).tolist()
            if len(target)
            else [],
        },
        "counts": counts,
    }


def _with_intervals(target: np.ndarray, scores: np.ndarray, patients: np.ndarray) -> dict[str, Any]:
    """95 % percentile intervals of a bootstrap over patients."""
    if len(target) == 0:
        return {}
    document = {}
    for metric, value in zero_shot_scores(target, scores).items():
        document[metric] = _interval(value, bootstrap(metric, target, scores, patients, DRAWS))
    return {metric: document[metric] for metric in ZERO_SHOT}


def _retrieval_intervals(ranks: dict[str, np.ndarray], patients: np.ndarray) -> dict[str, Any]:
    units, owner = np.unique(patients, return_inverse=True)
    generator = np.random.default_rng(0)
    counts = generator.multinomial(len(units), np.full(len(units), 1 / len(units)), size=DRAWS)
    weights = counts[:, owner]
    values = recalls(ranks)
    document = {}
    for metric in RETRIEVAL:
        direction, k = metric.split("_recall_at_")
        hits = ranks[direction] <= int(k)
        document[metric] = _interval(values[metric], weights @ hits / weights.sum(1))
    return document


def _interval(value: float | None, draws: np.ndarray) -> dict[str, float | None]:
    finite = draws[np.isfinite(draws)]
    if value is None or len(finite) < 2:
        return {"value": value, "low": None, "high": None, "standard_error": None}
    low, high = np.quantile(finite, [0.025, 0.975])
    error = float(finite.std(ddof=1))
    return {"value": value, "low": float(low), "high": float(high), "standard_error": error}


def _per_class(target: np.ndarray, scores: np.ndarray, classes: list[str]) -> list[dict[str, Any]]:
    from sklearn.metrics import average_precision_score, precision_recall_fscore_support, roc_auc_score

    if len(target) == 0:
        return []
    positions = range(len(classes))
    precision, recall, f1, _ = precision_recall_fscore_support(
        target, scores.argmax(1), labels=list(positions), zero_division=0
    )
    rows = []
    for i in positions:
        positive = target == i
        separable = 0 < positive.sum() < len(target)
        rows.append(
            {
                "class": classes[i],
                "count": int(positive.sum()),
                "precision": float(precision[i]),
                "recall": float(recall[i]) if positive.any() else None,
                "f1": float(f1[i]) if positive.any() else None,
                "auroc": float(roc_auc_score(positive, scores[:, i])) if separable else None,
                "average_precision": float(average_precision_score(positive, scores[:, i])) if separable else None,
            }
        )
    return rows


def _labelled(split: Split, features: Features) -> tuple[np.ndarray, np.ndarray]:
    """Features [N, D] and class indices [N] of the scored units, in the row order of `predictions`."""
    inputs, targets = [], []
    for unit, target in split.targets.items():
        seen = target >= 0
        if unit != "patient":
            seen &= split.present[:, ("left", "right").index(unit)]
        rows = np.flatnonzero(seen)
        inputs.append(features.image[unit][rows].numpy())
        targets.append(target[rows])
    if not inputs:
        return np.zeros((0, 1)), np.zeros(0, dtype=np.int64)
    return np.concatenate(inputs), np.concatenate(targets)
