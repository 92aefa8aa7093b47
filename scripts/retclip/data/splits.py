"""Splits and subsets by patient: stratified, seeded, and stable when rows are added."""

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

LABEL_COLUMNS = ("label", "label_left", "label_right")
# Patients of a label below which its share of each split is held. Drawn freely, 100 patients leave 4 to 13 of 8 in val
# nine times of ten; a class of 25 had 2 to 8 of 5 in test over 40 seeds.
RARE = 100
# By how many patients a split may have more or less of a rare label than its share. Wide enough that most draws stand.
SLACK = 1.5


def assign_splits(
    frame: "pd.DataFrame", test_fraction: float, val_fraction: float, seed: int, people: "pd.Series | None" = None
) -> "pd.Series":
    """train, val or test for every row, decided per patient, or per person in `people` where one has several ids.

    Each patient draws a number from a hash of (patient_id, seed). Where none of his labels is rare (RARE), the number
    alone decides, so nobody else in the table matters. Of a rare label, every split gets its share but for SLACK
    patients: the patients of the table are taken in turn, and one whose draw would leave a split with too
    many or too few goes where most are wanting, by the rarest of his labels first. That is iterative stratification
    (Sechidis, Tsoumakas and Vlahavas, 2011, On the stratification of multi-label data), in the order of the table
    rather than of the labels: so a patient who is appended moves no other. No rule can also ignore the order: a draw
    that depends on no other patient holds no quota.

    Only a label that grows to RARE patients leaves its quota, and a person in two groups joins them. With three
    patients or more, every label is in every split. val_fraction is of the patients that are not in test.
    """
    people = frame["patient_id"] if people is None else people
    numbers = {person: _number(person, seed) for person in dict.fromkeys(people)}
    limit = test_fraction + (1 - test_fraction) * val_fraction
    drawn = {
        patient: "test" if number < test_fraction else "val" if number < limit else "train"
        for patient, number in numbers.items()
    }
    shares = {"train": 1 - limit, "test": test_fraction, "val": limit - test_fraction}
    shares = {split: share for split, share in shares.items() if share > 0}
    labels = _labels_of_people(frame, people)
    chosen = _by_quota(drawn, labels, shares)
    wanted = tuple(split for split in ("test", "val", "train") if split in shares)
    for members in _strata(labels).values():
        _fill_empty_splits(members, numbers, chosen, wanted)
    return people.map(chosen).rename("split")


def _by_quota(drawn: dict[str, str], labels: dict[str, frozenset[str]], shares: dict[str, float]) -> dict[str, str]:
    """The draw of each person, in the order of `drawn`, but for those whom the quotas of rare labels send elsewhere."""
    sizes = Counter(label for person in drawn for label in labels[person] or {""})
    taken: dict[str, Counter[str]] = {label: Counter() for label, size in sizes.items() if size < RARE}
    chosen = {}
    for person, split in drawn.items():
        own = [taken[label] for label in sorted(labels[person] or {""}) if label in taken]
        own.sort(key=Counter.total)  # stable: of equally rare labels the first of the alphabet
        chosen[person] = _wanted_split(split, own, shares)
        for counts in own:
            counts[chosen[person]] += 1
    return chosen


def _wanted_split(drawn: str, taken: list[Counter[str]], shares: dict[str, float]) -> str:
    """Where the next patient goes. taken: of each of his rare labels, the rarest first, how many each split has."""
    for counts in taken:
        if counts.total() < len(shares):  # the first of a label go to different splits
            free = [split for split in shares if not counts[split]]
            return drawn if drawn in free else free[0]
        wanting = _most_wanting(counts, list(shares), shares)
        if _wanting(counts, wanting, shares) >= SLACK:
            return wanting
    allowed = [split for split in shares if all(_wanting(counts, split, shares) >= 1 - SLACK for counts in taken)]
    return drawn if drawn in allowed or not allowed else _most_wanting(taken[0], allowed, shares)


def _wanting(counts: Counter[str], split: str, shares: dict[str, float]) -> float:
    """How many patients a split lacks of its share, once the next one is counted."""
    return (counts.total() + 1) * shares[split] - counts[split]


def _most_wanting(counts: Counter[str], splits: list[str], shares: dict[str, float]) -> str:
    return max(splits, key=lambda split: _wanting(counts, split, shares))


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
    strata = _strata(_labels_of_people(frame, frame["patient_id"]))
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


def of_patients_within(frame: "pd.DataFrame", fraction: float) -> np.ndarray:
    """bool [n]: the rows of about this fraction of the patients, all of them at 1.

    A smaller fraction's are among a larger one's, and who else is in the table decides nothing.
    """
    return frame["patient_id"].isin(patients_within(frame["patient_id"], fraction)).to_numpy()


def patients_within(patients: Iterable[str], fraction: float) -> set[str]:
    """Those of the patients who are in a fraction."""
    # another hash than that which splits patients: those of one split have numbers in one part of it alone
    return {patient for patient in set(patients) if _number(patient, "data fractions") < fraction}


def subset_of(samples: Path, fraction: float) -> dict[str, Any]:
    """Of a trial specification, what a fraction of the train patients is. samples: samples_train.parquet.

    Raises ValueError as refuse_fractions, which the audit asks before anything trains.
    """
    import pandas as pd

    frame = pd.read_parquet(samples, columns=["patient_id"])
    refuse_fractions(frame["patient_id"], [fraction])
    kept = frame[of_patients_within(frame, fraction)]
    return {"train_samples": len(kept), "subset": {"fraction": fraction, "patients": kept["patient_id"].nunique()}}


def refuse_fractions(patients: Iterable[str], fractions: Iterable[float]) -> None:
    """Raises ValueError where too few of the train patients are in a fraction, or as many as in the next larger one,
    all at last: one training run twice, which says nothing of more patients."""
    ids = set(patients)
    sizes = {fraction: len(patients_within(ids, fraction)) for fraction in sorted({*fractions, 1.0})}
    for (fraction, size), (larger, size_of_larger) in itertools.pairwise(sizes.items()):
        if size < 2:
            raise ValueError(
                f"study.data_fractions: {fraction:g} of {len(ids)} train patients leaves {size}; "
                "take a larger fraction."
            )
        if size == size_of_larger:
            raise ValueError(
                f"study.data_fractions: {fraction:g} and {larger:g} of {len(ids)} train patients are the same {size}; "
                "leave one out."
            )


def labels_of(frame: "pd.DataFrame") -> "pd.Series":
    """The set of all labels of each row, of the patient and of both eyes."""
    # not by rows of the frame: of an empty one, pandas would make a frame again
    joined = frame[LABEL_COLUMNS[0]].str.cat([frame[name] for name in LABEL_COLUMNS[1:]], sep="|")
    return joined.map(lambda text: frozenset(label for label in text.split("|") if label))


def _labels_of_people(frame: "pd.DataFrame", people: "pd.Series") -> dict[str, frozenset[str]]:
    """All labels of each person."""
    found: dict[str, frozenset[str]] = {}
    for person, labels in zip(people, labels_of(frame), strict=True):
        found[person] = found.get(person, frozenset()) | labels
    return found


def _strata(labels: dict[str, frozenset[str]]) -> dict[str, list[str]]:
    """People, sorted, by the rarest label they have, counted over people."""
    counts = Counter(label for found in labels.values() for label in found)
    strata: dict[str, list[str]] = {}
    for person, found in sorted(labels.items()):
        rarest = min(found, key=lambda label: (counts[label], label)) if found else ""
        strata.setdefault(rarest, []).append(person)
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


def _number(patient: str, seed: int | str) -> float:
    """A number in [0, 1) from a hash: the same on every machine, whoever else is in the table."""
    digest = hashlib.sha256(f"{seed}\0{patient}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
