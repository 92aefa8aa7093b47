"""evaluation.json of a final model, from its tables of predictions: every score with its interval over patients.

A table of predictions has one row a unit (eye or patient) and these columns: sample_id, patient_id, eye, target (class
index; -1: not scored), labels (joined by |), score_k (cosine similarity to the prompt ensemble of class k), template_k
(to one template sentence), probe_k and probe{s}_k (probability by the linear probe, and by that of seed s; only where
there is one), logit_scale (of the unit's head) and image_to_text_rank, text_to_image_rank (of its sample). A sample of
which no unit has a label has one row, as a patient that is not scored: it is a query of the retrieval scores all the
same.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from retclip.core.logs import log
from retclip.core.spelling import in_words_of
from retclip.metrics.calibration import calibration
from retclip.metrics.estimates import DRAWS, NORMAL, Documented, documented
from retclip.metrics.evaluation_document import Confusion, Counts, Evaluation, Probe, Row
from retclip.metrics.metrics_document import Levels
from retclip.metrics.multi_label import multi_label_scores
from retclip.metrics.registry import MULTI_LABEL, RETRIEVAL, SEVERAL_LABELS, ZERO_SHOT
from retclip.metrics.scores import (
    chance_levels,
    chance_recalls,
    columns_of,
    estimated,
    majority_levels,
    resampled_queries,
    resamples,
    retrieval_scores,
    zero_shot_scores,
)
from retclip.metrics.subgroups import groups_of
from retclip.metrics.weighted import aurocs

if TYPE_CHECKING:
    import pandas as pd

SUBGROUP_METRICS = [name for name, declared in ZERO_SHOT.items() if declared.subgroups]
# Fewer patients of a class give its AUROC no interval.
FEWEST_OF_A_CLASS = 5
# A group of fewer patients is not scored: its interval would span everything, and it might name a person.
SMALLEST_GROUP = 10


class Retrieval(NamedTuple):
    """Of every sample: the rank of the best right answer [N] per direction, its patient [N] and its text."""

    ranks: dict[str, np.ndarray]
    patients: np.ndarray
    texts: list[str]


def evaluation_document(
    table: "pd.DataFrame",
    frame: "pd.DataFrame",
    classes: list[str],
    retrieval: Retrieval,
    thresholds: dict[str, float],
    texts_from_labels: bool,
    provenance: dict[str, Any],
    probe: Probe | None = None,
    ordered_classes: list[str] | None = None,
) -> Evaluation:
    """The scores of a table of predictions, as evaluation.json has them.

    table: predictions of the split. frame: its samples, with age, sex, site and camera. thresholds: class -> score
    from which on it is called present, chosen on val. provenance: the fields of Evaluation from trial_sha256 on.
    ordered_classes: from the least to the most severe.
    """
    scored = table[table["target"] >= 0].reset_index(drop=True)
    target = scored["target"].to_numpy(dtype=np.int64)
    scores = columns_of(scored, "score_", classes)
    failed = not np.isfinite(columns_of(table, "score_", classes)).all()
    if failed:  # a training run that diverged exports what it has
        scored, target, scores = scored.iloc[:0], target[:0], scores[:0]
    patients = scored["patient_id"].to_numpy()
    weights = resamples(patients, DRAWS)
    omitted = _why_no_retrieval(texts_from_labels, failed)
    chance = chance_levels(target, len(classes)) if len(target) else {}
    several = None if failed else multi_label_scores(table, classes)
    if several:
        chance[MULTI_LABEL] = SEVERAL_LABELS[MULTI_LABEL].chance
    return Evaluation(
        zero_shot=scores_with_intervals(target, scores, patients),
        zero_shot_single_template=scores_with_intervals(target, columns_of(scored, "template_", classes), patients),
        linear_probe={} if probe is None else _probe_scores(scored, target, classes, probe),
        probe=probe,
        retrieval={} if omitted else _retrieval_scores(retrieval),
        retrieval_omitted=omitted,
        levels=Levels(
            chance={**chance, **({} if omitted else chance_recalls(retrieval.texts))},
            majority=majority_levels(target, len(classes)) if len(target) else {},
        ),
        per_class=_per_class(target, scores, patients, classes, thresholds, weights),
        confusion=Confusion(classes=tuple(classes), matrix=_confusion(target, scores, len(classes))),
        calibration=calibration(target, scores, scored["logit_scale"].to_numpy(), weights) if len(target) else None,
        quadratic_kappa=_quadratic_kappa(target, scores, weights, classes, ordered_classes or []),
        multi_label=several,
        subgroups=_subgroups(scored, frame, target, scores),
        texts_from_labels=texts_from_labels,
        counts=Counts(
            samples=len(frame),
            patients=int(frame["patient_id"].nunique()),
            scored=several.units if several else len(target),
            scored_patients=several.patients if several else len(np.unique(patients)),
        ),
        failed="the model's features are not finite: its training diverged" if failed else None,
        **provenance,
    )


def _why_no_retrieval(texts_from_labels: bool, failed: bool) -> str | None:
    if failed:
        return "the model's features are not finite"
    if texts_from_labels:
        return "the texts were made from the labels, so that finding them says no more than naming the class"
    return None


def scores_with_intervals(
    target: np.ndarray, scores: np.ndarray, patients: np.ndarray, metrics: Iterable[str] = ZERO_SHOT
) -> dict[str, Documented]:
    """Zero-shot metrics of scores [N, C] of units with class indices target [N], each with its interval over their
    patients [N]; empty where there is no unit."""
    if len(target) == 0:
        return {}
    weights = resamples(patients, DRAWS)
    return {metric: estimated(metric, target, scores, patients, weights).document for metric in metrics}


def _probe_scores(scored: "pd.DataFrame", target: np.ndarray, classes: list[str], probe: Probe) -> dict[str, Any]:
    """Of the probe that was fitted on all of train, and of each seed's, which had a fifth less."""
    if len(target) == 0:
        return {}
    seeds = [zero_shot_scores(target, columns_of(scored, f"probe{seed}_", classes)) for seed in probe.seeds]
    patients = scored["patient_id"].to_numpy()
    whole = scores_with_intervals(target, columns_of(scored, "probe_", classes), patients)
    return {metric: {**whole[metric], "seeds": [one[metric] for one in seeds]} for metric in ZERO_SHOT}


def _retrieval_scores(retrieval: Retrieval) -> dict[str, Documented]:
    """Resampled by query, over the candidates that were there: the ranks stay as they are."""
    weights = resamples(retrieval.patients, DRAWS)
    values = retrieval_scores(retrieval.ranks)
    return {
        metric: documented(values[metric], resampled_queries(metric, retrieval.ranks[declared.direction], weights))
        for metric, declared in RETRIEVAL.items()
    }


def _per_class(
    target: np.ndarray,
    scores: np.ndarray,
    patients: np.ndarray,
    classes: list[str],
    thresholds: dict[str, float],
    weights: np.ndarray,
) -> tuple[Row, ...]:
    from sklearn.metrics import average_precision_score, precision_recall_fscore_support

    named = len(target) > 0
    precision, recall, f1 = np.zeros((3, len(classes)))
    if named:
        precision, recall, f1, _ = precision_recall_fscore_support(
            target, scores.argmax(1), labels=list(range(len(classes))), zero_division=0
        )
    rows = []
    for k, name in enumerate(classes):
        positive = target == k
        there, separable = bool(positive.any()), bool(0 < positive.sum() < len(target))
        row = {
            "class": name,
            "count": int(positive.sum()),
            "patients": len(np.unique(patients[positive])),
            "precision": float(precision[k]) if named else None,
            "recall": float(recall[k]) if there else None,
            "f1": float(f1[k]) if there else None,
            "average_precision": float(average_precision_score(positive, scores[:, k])) if separable else None,
        }
        row |= _flat("auroc", _auroc(positive, scores[:, k], patients, weights) if separable else documented())
        cut = thresholds.get(name)
        called = scores[:, k] >= (np.inf if cut is None else cut)
        row["threshold"] = cut
        row |= _flat("sensitivity", _share(called, positive, patients, cut is not None))
        row |= _flat("specificity", _share(~called, ~positive, patients, cut is not None))
        rows.append(row)
    return tuple(rows)


def _auroc(positive: np.ndarray, score: np.ndarray, patients: np.ndarray, weights: np.ndarray) -> Documented:
    """Without an interval where a side has too few patients: resampled, they would not tell how little they say."""
    from sklearn.metrics import roc_auc_score

    fewest = min(len(np.unique(patients[side])) for side in (positive, ~positive))
    if fewest < FEWEST_OF_A_CLASS:
        return {**documented(), "value": float(roc_auc_score(positive, score))}
    with np.errstate(invalid="ignore", divide="ignore"):
        return documented(float(roc_auc_score(positive, score)), aurocs(positive, score, weights))


def _share(hit: np.ndarray, among: np.ndarray, patients: np.ndarray, known: bool) -> Documented:
    """The share of hits among some rows; unknown where there are none.

    Its interval is the score interval of so many patients (Wilson, J. Am. Stat. Assoc. 22, 1927), which holds where
    there are three, or where all are hits: two eyes of a patient count as one.
    """
    if not known or not among.any():
        return documented()
    share, count, z = float(hit[among].mean()), len(np.unique(patients[among])), NORMAL
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    # where all are hits, or none, the end is the share itself but for rounding
    low, high = min(share, max(0.0, float(middle - half))), max(share, min(1.0, float(middle + half)))
    return {"value": share, "low": low, "high": high, "standard_error": float(half) / z}


def _flat(name: str, found: Documented) -> Documented:
    return {name: found["value"], f"{name}_low": found["low"], f"{name}_high": found["high"]}


def _confusion(target: np.ndarray, scores: np.ndarray, classes: int) -> tuple[tuple[int, ...], ...]:
    from sklearn.metrics import confusion_matrix

    if len(target) == 0:
        return ()
    matrix = confusion_matrix(target, scores.argmax(1), labels=range(classes)).tolist()
    return tuple(tuple(row) for row in matrix)


def _quadratic_kappa(
    target: np.ndarray, scores: np.ndarray, weights: np.ndarray, classes: list[str], ordered: list[str]
) -> Documented | None:
    """Cohen's kappa with quadratic weights between true rank and likeliest rank among the ordered classes.

    A rank of which there is no unit keeps its place in the order.
    """
    from sklearn.metrics import cohen_kappa_score

    ordered = [*map(in_words_of(classes), ordered)]
    unknown = [name for name in ordered if name not in classes]
    if unknown:
        log(f"evaluation.ordered_classes: the data has no class {', '.join(unknown)}")
    known = [name for name in ordered if name in classes]
    ranks = np.array([ordered.index(name) for name in known])
    columns = np.array([classes.index(name) for name in known], dtype=np.int64)
    rows = np.flatnonzero(np.isin(target, columns))
    if len(known) < 2 or len(np.unique(target[rows])) < 2:
        return None
    true = ranks[(target[rows, None] == columns).argmax(1)]
    named = ranks[scores[np.ix_(rows, columns)].argmax(1)]
    value = float(cohen_kappa_score(true, named, labels=range(len(ordered)), weights="quadratic"))
    # the same from weighted sums: 1 - mean squared distance / that of independent true and named ranks
    chosen = weights[:, rows]
    with np.errstate(invalid="ignore", divide="ignore"):
        chosen = chosen / chosen.sum(1, keepdims=True)
        means, squares = (chosen @ true, chosen @ named), chosen @ (true**2 + named**2)
        draws = 1 - chosen @ (true - named) ** 2 / (squares - 2 * means[0] * means[1])
    return documented(value, draws)


def _subgroups(
    scored: "pd.DataFrame", frame: "pd.DataFrame", target: np.ndarray, scores: np.ndarray
) -> tuple[Row, ...]:
    rows = []
    for variable, group, samples in groups_of(frame, SMALLEST_GROUP):
        here = scored["sample_id"].isin(samples).to_numpy()
        patients = scored["patient_id"].to_numpy()[here]
        enough = len(np.unique(patients)) >= SMALLEST_GROUP
        found = scores_with_intervals(target[here], scores[here], patients, SUBGROUP_METRICS) if enough else None
        rows.append(
            {
                "variable": variable,
                "group": group,
                "patients": len(np.unique(patients)),
                "units": int(here.sum()),
                "scores": found,
            }
        )
    return tuple(rows)
