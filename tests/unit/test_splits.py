"""Splits: rare labels by quota, several labels of a patient at once, patients whole, and appended rows move nobody."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from retclip.data.splits import RARE, _number, assign_splits

TEST, VAL = 0.2, 0.1
SHARES = {"test": TEST, "val": (1 - TEST) * VAL, "train": (1 - TEST) * (1 - VAL)}


def table(labels: dict[str, str]) -> pd.DataFrame:
    """patient -> labels joined by |."""
    rows = [{"patient_id": patient, "label": label} for patient, label in labels.items()]
    return pd.DataFrame(rows, columns=["patient_id", "label"]).assign(label_left="", label_right="")


def splits(labels: dict[str, str], seed: int = 1) -> dict[str, str]:
    frame = table(labels)
    return dict(zip(frame["patient_id"], assign_splits(frame, TEST, VAL, seed), strict=True))


def single(count_of: dict[str, int], seed: int = 0) -> dict[str, str]:
    """So many patients of each class, in mixed order."""
    classes = [name for name, count in count_of.items() for _ in range(count)]
    order = np.random.default_rng(seed).permutation(len(classes))
    return {f"p{place:04d}": classes[index] for place, index in enumerate(order)}


def several(seed: int, patients: int = 600) -> dict[str, str]:
    """Two or three labels a patient, of eight whose shares fall by halves."""
    generator = np.random.default_rng(seed)
    shares = 0.5 ** np.arange(8)
    names = np.array(list("abcdefgh"))
    drawn = [generator.choice(names, size=generator.integers(1, 4), replace=False, p=shares / shares.sum())
             for _ in range(patients)]  # fmt: skip
    return {f"p{index:04d}": "|".join(sorted(labels)) for index, labels in enumerate(drawn)}


def counts(labels: dict[str, str], of: dict[str, str]) -> dict[str, Counter]:
    found: dict[str, Counter] = {}
    for patient, joined in labels.items():
        for label in joined.split("|"):
            found.setdefault(label, Counter())[of[patient]] += 1
    return found


@pytest.mark.parametrize("size", [12, 25, 40, 80])
def test_a_rare_class_has_its_share_in_every_split_whatever_the_seed(size):
    labels = single({"common": 600, "rare": size})
    for seed in range(40):
        found = counts(labels, splits(labels, seed))["rare"]
        for split, share in SHARES.items():
            assert abs(found[split] - share * size) <= 2, (seed, split, found)
        assert found["test"] >= 1
        assert found["val"] >= 1


@pytest.mark.parametrize("seed", range(6))
def test_several_labels_have_their_shares_at_once(seed):
    labels = several(seed)
    for label, found in counts(labels, splits(labels, seed)).items():
        size = found.total()
        if size < RARE:
            for split, share in SHARES.items():
                assert abs(found[split] - share * size) <= 3, (label, split, found)


@pytest.mark.parametrize(
    "labels", [single({"a": 300, "b": 40, "c": 9, "d": 2}), several(3, 300)], ids=["one", "several"]
)
def test_an_appended_patient_moves_nobody(labels):
    """Of every class, a new one, and of several at once."""
    before = splits(labels)
    for more in (*sorted(set(labels.values())), "new", "a|c", ""):
        after = splits({**labels, "another": more})
        assert {patient: after[patient] for patient in before} == before, more


def test_a_table_that_grows_row_by_row_moves_nobody():
    labels = single({"a": 60, "b": 25, "c": 6})
    last: dict[str, str] = {}
    for count in range(1, len(labels) + 1):
        now = splits(dict(list(labels.items())[:count]))
        moved = [patient for patient in last if last[patient] != now[patient]]
        assert moved == []
        last = now


def test_a_patient_somewhere_in_the_table_moves_few_and_of_rare_classes_alone():
    labels = single({"common": 400, "rare": 25, "other": 40})
    before, moved = splits(labels), []
    for place in range(0, len(labels), 20):
        items = list(labels.items())
        after = splits(dict([*items[:place], ("another", "rare"), *items[place:]]))
        moved += [patient for patient in before if after[patient] != before[patient]]
    assert {labels[patient] for patient in moved} <= {"rare"}
    assert len(moved) <= 3 * len(range(0, len(labels), 20))


def test_large_classes_are_drawn_by_their_hashes_alone_in_any_order():
    labels = single({"a": 300, "b": 150})
    found = splits(labels)
    limit = TEST + (1 - TEST) * VAL
    for patient, split in found.items():
        number = _number(patient, 1)
        assert split == ("test" if number < TEST else "val" if number < limit else "train")
    assert splits(dict(reversed(labels.items()))) == found


@pytest.mark.parametrize("size", [3, 4, 7])
def test_three_patients_of_a_class_are_in_three_splits(size):
    for seed in range(20):
        labels = single({"common": 200, "rare": size}, seed)
        assert set(counts(labels, splits(labels, seed))["rare"]) == {"train", "val", "test"}


def test_patients_and_people_are_whole():
    frame = pd.concat([table(single({"a": 80, "b": 30, "c": 8}))] * 2, ignore_index=True)
    people = frame["patient_id"].map(lambda patient: f"person{int(patient[1:]) // 2}")
    found = assign_splits(frame, TEST, VAL, 1, people)
    assert (found.groupby(people).nunique() == 1).all()
    assert (found.groupby(frame["patient_id"]).nunique() == 1).all()


def test_without_a_test_split_val_has_its_quota():
    labels = single({"common": 300, "rare": 30})
    frame = table(labels)
    for seed in range(20):
        found = assign_splits(frame, 0.0, 0.1, seed)
        of_rare = Counter(found[frame["label"] == "rare"])
        assert set(of_rare) == {"train", "val"}
        assert 1 <= of_rare["val"] <= 5
