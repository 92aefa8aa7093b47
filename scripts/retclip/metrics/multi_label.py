"""Scores of units that have several labels: each class against the rest, and the means over classes."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from retclip.metrics.estimates import DRAWS, Documented, documented
from retclip.metrics.evaluation_document import MultiLabel
from retclip.metrics.scores import resamples, unpack_labels
from retclip.metrics.weighted import aurocs, average_precisions, mean_of_known, per_class_draws

if TYPE_CHECKING:
    import pandas as pd


def multi_label_scores(table: "pd.DataFrame", classes: list[str]) -> MultiLabel | None:
    """`multi_label` of evaluation.json, of a table of predictions; None where no unit has several labels."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    member, scores, patients = unpack_labels(table, classes)
    joined = int(table["labels"].str.contains("|", regex=False).sum())
    if not joined or not len(member):
        return None
    entries = []
    for k, name in enumerate(classes):
        positive = member[:, k]
        entry: dict[str, Any] = {
            "class": name,
            "count": int(positive.sum()),
            "patients": len(np.unique(patients[positive])),
            "auroc": None,
            "average_precision": None,
        }
        if 0 < positive.sum() < len(positive):
            entry["auroc"] = float(roc_auc_score(positive, scores[:, k]))
            entry["average_precision"] = float(average_precision_score(positive, scores[:, k]))
        entries.append(entry)
    weights = resamples(patients, DRAWS)

    def macro(key: str, area: Callable) -> Documented:
        known = [entry[key] for entry in entries if entry[key] is not None]
        draws = mean_of_known(per_class_draws(area, member, scores, weights))
        return documented(float(np.mean(known)), draws) if known else documented()

    return MultiLabel(
        units=len(member),
        patients=len(np.unique(patients)),
        joined=joined,
        macro_auroc=macro("auroc", aurocs),
        macro_average_precision=macro("average_precision", average_precisions),
        classes=tuple(entries),
    )
