"""An evaluation on an external data set, beside what that shares with the data a model was trained and chosen on."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from retclip.metrics.evaluation_document import Evaluation, LeftOut, Overlap, ScoredCounts, Without
from retclip.metrics.evaluation_report import SMALLEST_GROUP, scores_with_intervals
from retclip.metrics.scores import columns_of

if TYPE_CHECKING:
    import pandas as pd


def with_overlap(evaluation: Evaluation, table: "pd.DataFrame", found: dict[str, Any]) -> Evaluation:
    """The evaluation with what find_overlap found, counted, and the scores without the people who are in both.

    table: the predictions that the evaluation is made of.
    """
    out = found["left_out"]
    people = table.loc[table["sample_id"].isin(out), "patient_id"].nunique()
    overlap = Overlap(
        **{name: value for name, value in found.items() if name != "left_out"},
        left_out=LeftOut(samples=len(out), patients=int(people)),
        without=scores_without(table, list(evaluation.confusion.classes), out) if out else None,
    )
    return replace(evaluation, overlap=overlap)


def scores_without(table: "pd.DataFrame", classes: list[str], left_out: list[str]) -> Without | None:
    """Counts and zero-shot scores of the table's patients without some samples; None
    where fewer than SMALLEST_GROUP patients are left, or one class."""
    kept = table[(table["target"] >= 0) & ~table["sample_id"].isin(left_out)]
    scores, target = columns_of(kept, "score_", classes), kept["target"].to_numpy(dtype=np.int64)
    patients = kept["patient_id"].to_numpy()
    people = len(np.unique(patients))
    if people < SMALLEST_GROUP or len(np.unique(target)) < 2 or not np.isfinite(scores).all():
        return None
    zero_shot = scores_with_intervals(target, scores, patients)
    return Without(counts=ScoredCounts(patients=people, scored=len(target)), zero_shot=zero_shot)
