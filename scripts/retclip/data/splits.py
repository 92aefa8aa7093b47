"""Splits and subsets by patient: stratified, seeded, and stable when rows are added."""

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

LABEL_COLUMNS = ("label", "label_left", "label_right")


def assign_splits(
    frame: "pd.DataFrame", test_fraction: float, val_fraction: float, seed: int, people: "pd.Series | None" = None
) -> "pd.Series":
    """train, val or test for every row, decided per patient, or per person in `people` where one has several ids.

    Each patient draws a number from a hash of (patient_id, seed), and the number alone decides, so a new
    patient moves no other. Only where that leaves a label without test or val patients, the patient of that
    label with the nearest number moves there: with three patients or more, every label is in every split.
    val_fraction is of the patients that are not in test.
    """
    people = frame["patient_id"] if people is None else people
    numbers = {person: _number(person, seed) for person in sorted(set(people))}
    strata = _strata(frame, people)
    limit = test_fraction + (1 - test_fraction) * val_fraction
    chosen = {
        patient: "test" if number < test_fraction else "val" if number < limit else "train"
        for patient, number in numbers.items()
    }
    wanted = ("test", "val", "train") if test_fraction > 0 else ("val", "train")
    for members in strata.values():
        _fill_empty_splits(members, numbers, chosen, wanted)
    return people.map(chosen).rename("split")


def cut_val_from_train(frame: "pd.DataFrame", val_fraction: float, seed: int) -> "pd.Series":
    """The user's own split column, with val cut from train by patient where it has none."""
    split = frame["split"].copy()
    if (split == "val").any():
        return split
    train = frame[split == "train"]
    split.loc[train.index] = assign_splits(train, 0.0, val_fraction, seed)
    return split


def stratified_subset(frame: "pd.DataFrame", samples: int, seed: int) -> np.ndarray:
    """Positions of about `samples` rows [n <= samples], with every label in its share and patients whole.

    Patients stand in one order in which labels are evenly spread; a larger subset contains every smaller one.
    """
    strata = _strata(frame, frame["patient_id"])
    numbers = {
        patient: (rank + 0.5) / len(members)
        for members in strata.values()
        for rank, patient in enumerate(sorted(members, key=lambda patient: _number(patient, seed)))
    }
    # the first patient of every label comes first, so that no class is lost while there is room for all
    firsts = {min(members, key=lambda patient: numbers[patient]) for members in strata.values()}
    order = sorted(numbers, key=lambda p: (p not in firsts, numbers[p], _number(p, seed)))
    rows = frame.groupby("patient_id", sort=False).indices
    taken: list[int] = []
    for patient in order:
        if len(taken) + len(rows[patient]) > samples:
            continue
        taken.extend(rows[patient])
    return np.array(taken, dtype=np.int64)


def labels_of(frame: "pd.DataFrame") -> "pd.Series":
    """The set of all labels of each row, of the patient and of both eyes."""
    # not by rows of the frame: of an empty one, pandas would make a frame again
    joined = frame[LABEL_COLUMNS[0]].str.cat([frame[name] for name in LABEL_COLUMNS[1:]], sep="|")
    return joined.map(lambda text: frozenset(label for label in text.split("|") if label))


def _strata(frame: "pd.DataFrame", people: "pd.Series") -> dict[str, list[str]]:
    """People by the rarest label they have, counted over people."""
    labels = labels_of(frame).groupby(people).agg(lambda sets: frozenset().union(*sets))
    counts: dict[str, int] = {}
    for found in labels:
        for label in found:
            counts[label] = counts.get(label, 0) + 1
    strata: dict[str, list[str]] = {}
    for patient, found in labels.items():
        rarest = min(found, key=lambda label: (counts[label], label)) if found else ""
        strata.setdefault(rarest, []).append(patient)
    return strata


def _fill_empty_splits(
    members: list[str], numbers: dict[str, float], chosen: dict[str, str], wanted: tuple[str, ...]
) -> None:
    """Gives a label's empty splits one patient each, from the split that has most of them."""
    for split in wanted if len(members) >= len(wanted) else ():
        by_split: dict[str, list[str]] = {}
        for patient in members:
            by_split.setdefault(chosen[patient], []).append(patient)
        if split not in by_split:
            donors = max(by_split.values(), key=len)
            chosen[min(donors, key=lambda patient: numbers[patient])] = split


def _number(patient: str, seed: int) -> float:
    """A number in [0, 1) from a hash: the same on every machine, whoever else is in the table."""
    digest = hashlib.sha256(f"{seed}\0{patient}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
