"""Data that no study should be made of: each check raises ValueError with one sentence."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from retclip.data.samples import Problems
from retclip.data.sources.registry import sentence_of

if TYPE_CHECKING:
    import pandas as pd

# What is shown of many rows: with the words around it, a sentence of 300 characters.
MOST_LINES = 3
LONGEST_REASONS = 150


def refuse_leaks(frame: "pd.DataFrame", table: Path) -> None:
    """Raises ValueError where a patient is in two splits. table: the table that was read, named in the sentence."""
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
    """Raises ValueError where more rows have a problem than the limit allows. rows: how many all tables have."""
    bad = len({(problem["table"], problem["row"]) for problem in problems})
    if bad > max_bad_fraction * rows:
        raise ValueError(
            f"{bad} of {rows} rows cannot be used, more than data.max_bad_fraction = {max_bad_fraction:g} "
            f"allows ({reasons_of(problems)}); correct them, or raise the limit."
        )


def refuse_nothing_left(frame: "pd.DataFrame", problems: Problems) -> None:
    """Raises ValueError where no image could be read at all, even if the limit of bad rows allows that."""
    if not len(frame):
        raise ValueError(f"no image can be used ({reasons_of(problems)}).")


def reasons_of(problems: Problems) -> str:
    """The first lines of as many reasons as go into a sentence: at least one."""
    lines: dict[str, list[str]] = {}
    for problem in sorted(problems, key=lambda problem: int(problem["row"])):
        lines.setdefault(sentence_of(problem), []).append(str(problem["row"]))
    told: list[str] = []
    for reason, found in lines.items():
        more = ", ..." if len(found) > MOST_LINES else ""
        entry = f"line{'s' if len(found) > 1 else ''} {', '.join(found[:MOST_LINES])}{more}: {reason}"
        if told and len("; ".join([*told, entry])) > LONGEST_REASONS:
            return "; ".join([*told, "..."])
        told.append(entry)
    return "; ".join(told)


def refuse_never_scored(frame: "pd.DataFrame", table: Path, max_bad_fraction: float) -> None:
    """Raises ValueError where eyes have labels of their own, yet many labels are the patient's alone: eyes are scored,
    and such a label never would be."""
    by_eye = frame[["label_left", "label_right"]].ne("").any(axis=1)
    never = frame["label"].ne("") & ~by_eye
    images = frame[["source_left", "source_right"]].ne("").sum(axis=1)
    if by_eye.any() and images[never].sum() > max_bad_fraction * images.sum():
        first = frame[never].iloc[0]
        line = first["row_left"] or first["row_right"]
        if frame.loc[never, "eyes"].eq("unknown").all():
            raise ValueError(
                f"{table}: {images[never].sum()} labeled images say no eye, while others do: they would never be "
                f"scored (the first: line {line}). Give each its eye, or leave the column eye out: then "
                "all are scored as patients."
            )
        raise ValueError(
            f"{table}: {never.sum()} samples have a label of the patient alone, while others have one of an eye, and "
            f"would never be scored (the first: line {line}). Label the eyes of all, or of none."
        )


def refuse_useless(fingerprint: dict[str, Any], silent: set[str], named: bool) -> None:
    """Raises ValueError where a split is empty, or too small or unlabeled to train or to score.

    silent: the splits without a label or a text. named: the data name their splits; no fraction draws them. Data
    that are only evaluated have the test split alone.
    """
    splits = fingerprint["splits"]
    aim = "train on" if "train" in splits else "evaluate on"
    for split, entry in splits.items():
        if entry["samples"] == 0:
            if named and split != "val":
                raise ValueError(f"the {split} split is empty: the data name their splits, and no sample is {split}.")
            raise ValueError(f"the {split} split is empty; raise data.test_fraction or data.val_fraction, or add data.")
    if "train" in splits and splits["train"]["samples"] < 2:
        raise ValueError("the train split has one sample; a contrastive loss needs at least two.")
    if silent == set(splits):
        raise ValueError(f"no sample has a text or a label; there is nothing to {aim}.")
    if silent:
        split = next(split for split in splits if split in silent)
        what = "there is nothing to train on" if split == "train" else "nothing could be scored on it"
        raise ValueError(f"no sample of {split} has a text or a label; {what}.")
    if fingerprint["label_level"] != "none" and len(fingerprint["classes"]) < 2:
        raise ValueError(
            f"all labels are {fingerprint['classes']}: with one class there is nothing to tell apart; "
            f"leave the label columns out to {aim} texts alone."
        )
