"""Data that no study should be made of: each check raises ValueError with one sentence."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from retclip.data.samples import Problems
from retclip.data.sources.registry import sentence_of

if TYPE_CHECKING:
    import pandas as pd


def refuse_leaks(frame: "pd.DataFrame", table: Path) -> None:
    """A patient in two splits."""
    splits = frame.groupby("patient_id")["split"].nunique()
    leaking = splits[splits > 1]
    if len(leaking):
        rows = frame[frame["patient_id"] == leaking.index[0]]
        lines = [line for pair in zip(rows["row_left"], rows["row_right"], strict=True) for line in pair if line]
        raise ValueError(
            f"{table}: {len(leaking)} patients are in more than one split (the first: lines {', '.join(lines[:4])}); "
            "correct the split column, since a test on known patients proves nothing."
        )


def refuse_many(problems: Problems, rows: int, max_bad_fraction: float) -> None:
    """More rows with a problem than the limit. rows: all of the tables."""
    bad = len({(problem["table"], problem["row"]) for problem in problems})
    if bad > max_bad_fraction * rows:
        shown = "; ".join(f"line {p['row']}: {sentence_of(p)}" for p in problems[:3])
        raise ValueError(
            f"{bad} of {rows} rows cannot be used, more than data.max_bad_fraction = {max_bad_fraction:g} "
            f"allows ({shown}{'; ...' if len(problems) > 3 else ''}); correct them, or raise the limit."
        )


def refuse_never_scored(frame: "pd.DataFrame", table: Path, max_bad_fraction: float) -> None:
    """Where eyes have labels of their own, eyes are scored: a label that is the patient's alone never would be."""
    by_eye = frame[["label_left", "label_right"]].ne("").any(axis=1)
    never = frame["label"].ne("") & ~by_eye
    images = frame[["source_left", "source_right"]].ne("").sum(axis=1)
    if by_eye.any() and images[never].sum() > max_bad_fraction * images.sum():
        first = frame[never].iloc[0]
        line = first["row_left"] or first["row_right"]
        if frame.loc[never, "eyes"].eq("unknown").all():
            raise ValueError(
                f"{table}: {images[never].sum()} labelled images say no eye, while others do: they would never be "
                f"scored (the first: line {line}). Give each its eye, or leave the column eye out: then "
                "all are scored as patients."
            )
        raise ValueError(
            f"{table}: {never.sum()} samples have a label of the patient alone, while others have one of an eye, and "
            f"would never be scored (the first: line {line}). Label the eyes of all, or of none."
        )


def refuse_useless(fingerprint: dict[str, Any], said: bool) -> None:
    """said: whether anything is said of an image of train."""
    for split, entry in fingerprint["splits"].items():
        if entry["samples"] == 0:
            raise ValueError(f"the {split} split is empty; raise data.test_fraction or data.val_fraction, or add data.")
    if fingerprint["splits"]["train"]["samples"] < 2:
        raise ValueError("the train split has one sample; a contrastive loss needs at least two.")
    if not said:
        raise ValueError("no sample has a text or a label; there is nothing to train on.")
    if fingerprint["label_level"] != "none" and len(fingerprint["classes"]) < 2:
        raise ValueError(
            f"all labels are {fingerprint['classes']}: with one class there is nothing to tell apart; "
            "leave the label columns out to train on texts alone."
        )
