"""The audit speaks up: its worst findings first, at most ten lines for a terminal, and placeholders of few patients."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from audited import audited_table
from running import REPOSITORY, entry

from retclip.data.audit_warnings import MOST_LINES, terminal_lines, warnings_of
from retclip.data.shortcuts import shortcuts

SHARES = {"Healthy": 0.5, "Diabetes": 0.25, "Glaucoma": 0.15, "Myopia": 0.1}


def people(count: int, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Patients of two eyes, with one class each and ages that tell nothing: samples and images."""
    generator = np.random.default_rng(seed)
    classes = generator.choice(list(SHARES), size=count, p=list(SHARES.values()))
    ages = generator.integers(25, 85, count).astype(str)
    names = [f"P{index}" for index in range(count)]
    frame = pd.DataFrame({"sample_id": names, "patient_id": names, "split": "train", "label": classes,
                          "label_left": classes, "label_right": classes, "age": ages, "sex": "", "site": "",
                          "camera": ""})  # fmt: skip
    images = pd.DataFrame({"sample_id": np.repeat(names, 2), "eye": ["left", "right"] * count})
    for column in ("border_red", "border_green", "border_blue", "brightness"):
        images[column] = generator.normal(50, 5, 2 * count)
    return frame, images.assign(width=512, height=512, file_bytes=generator.integers(1000, 9000, 2 * count))


def giveaways(frame: pd.DataFrame, images: pd.DataFrame, feature: str = "age") -> list[tuple[str, str]]:
    return [(one["value"], one["class"]) for one in shortcuts(frame, images, "eye")[feature]["giveaways"]]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("value", "of_class", "others"),
    [("1", 13, 2), ("1", 7, 1), ("0", 6, 0), ("-1", 8, 1), ("999", 7, 1), ("1900", 5, 0)],
    ids=["as in ODIR", "eight patients", "six", "a negative age", "three nines", "a year"],
)
@pytest.mark.parametrize("label", ["Glaucoma", "Myopia"])
def test_a_placeholder_of_few_patients_is_found(value, of_class, others, label):
    frame, images = people(800)
    chosen = [*frame.index[frame["label"] == label][:of_class], *frame.index[frame["label"] == "Healthy"][:others]]
    frame.loc[chosen, "age"] = value
    assert giveaways(frame, images) == [(value, label)]


def test_a_placeholder_that_tells_nothing_is_none():
    """A value of nobody's age, but of the classes as often as any other."""
    frame, images = people(800)
    frame.loc[frame.index[:12], "age"] = "1"
    assert giveaways(frame, images) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_ages_at_random_give_nothing_away(seed):
    frame, images = people(600, seed)
    found = shortcuts(frame, images, "eye")
    assert [entry["giveaways"] for entry in found.values() if entry["giveaways"]] == []


def test_the_eyes_of_a_patient_are_one_witness():
    """Three patients with two eyes each are no six examples."""
    frame, images = people(800)
    frame.loc[frame.index[frame["label"] == "Glaucoma"][:3], "age"] = "77.5"
    assert giveaways(frame, images) == []


@pytest.mark.slow
def test_a_site_of_one_class_is_found_and_a_large_class_is_no_giveaway():
    frame, images = people(800)
    frame["site"] = np.where(frame["label"] == "Myopia", "clinic", "screening")
    assert giveaways(frame, images, "site") == [("clinic", "Myopia")]
    # 85 % of a site that is half of the data, of a class that is 75 % of it
    frame, images = people(800)
    frame["label_left"] = frame["label_right"] = np.where(np.arange(800) % 4, "Healthy", "Myopia")
    frame["site"] = np.where((frame["label_left"] == "Myopia") & (np.arange(800) % 3 > 0), "b", "a")
    assert ("a", "Healthy") not in giveaways(frame, images, "site")


# --- the order, and the terminal -------------------------------------------------------------------------------


@pytest.fixture
def document(tmp_path):
    """An audit.json in which much is wrong."""
    none = {"count": 0, "sample_ids": []}
    per_class = dict.fromkeys(SHARES, 40)
    split = {"patients": 90, "samples": 90, "images": 180, "per_class": per_class, "per_class_alone": per_class}
    return {
        "splits": {"train": split, "val": {**split, "per_class": {**per_class, "Myopia": 0}}, "test": split},
        "patients_in_two_splits": 3, "patients_known": True, "texts_from_labels": False, "several_labels": 0,
        "selection_metric": "zero_shot_balanced_accuracy",
        "unlabeled_samples": 12, "never_scored": 0, "near_duplicates": "warn", "context_length": 77,
        "texts": {"missing": none, "unfilled": {**none, "count": 4}, "markup": none},
        "tokens": {"one": {"truncated": 0.4, "unknown": 0.3}},
        "quality": {"black": {"count": 2}, "blank": {"count": 0}, "tiny": {"count": 9}},
        "duplicates": {"near": {"groups": 5, "across_patients": 2, "across_splits": 4},
                       "exact": {"groups": 1, "across_patients": 0, "across_splits": 1}, "both_eyes": {"count": 1}},
        "sides": {"swapped": {"count": 6}},
        "shortcuts": {"age": {"auroc": 0.9, "by_class": {"Myopia": 0.95},
                              "giveaways": [{"column": "age", "value": "1", "class": "Myopia", "share": 0.87,
                                             "count": 15}]}},
        "reconciliation": {"counts": {"rows": {"in": 300, "quarantined": 30}},
                           "notes": [f"the table: note {number}." for number in range(9)]},
    }  # fmt: skip


def test_what_makes_scores_worthless_comes_first(document):
    found = warnings_of(document)
    ranks = [next(place for place, line in enumerate(found) if words in line) for words in (
        "patients are in more than one split", "gives the class away", "no example of Myopia",
        "30 of 300 rows are not used", "12 samples have no label", "note 0")]  # fmt: skip
    assert ranks == sorted(ranks)
    assert ranks[0] == 0
    assert len(found) == len(set(found))


def test_a_terminal_gets_ten_lines_and_is_told_where_the_others_are(document):
    found = warnings_of(document)
    assert len(found) > MOST_LINES
    lines = terminal_lines(found, "results/x/data/audit.json")
    assert len(lines) == MOST_LINES == 10
    assert lines[: MOST_LINES - 1] == [f"warning: {line}" for line in found[: MOST_LINES - 1]]
    assert (
        lines[-1] == f"{len(found) - MOST_LINES + 1} more warnings are in results/x/data/audit.json and in the report."
    )
    assert terminal_lines(found[:10], "x") == [f"warning: {line}" for line in found[:10]]
    assert terminal_lines([], "x") == []


def test_the_rule_shows_the_audit_on_the_terminal_of_the_run():
    text = (REPOSITORY / "rules/data.smk").read_text()
    (call,) = re.findall(r'launch\("audit_data".*\)', text)
    assert "shown=True" in call


@pytest.mark.slow
def test_the_entry_prints_at_most_ten_lines(tmp_path):
    """A real build of a table with many faults, audited as the rule does it."""
    folder = audited_table(tmp_path)
    encoder = f"one={folder / 'encoder'}"
    done = entry("audit_data", "--data-dir", folder / "data", "--encoder", encoder, "--context-length", 8,
                 "--selection-metric", "zero_shot_balanced_accuracy", "--output", folder / "audit.json")  # fmt: skip
    printed = done.stderr.strip().splitlines()
    found = json.loads((folder / "audit.json").read_text())["warnings"]
    assert 0 < len(printed) <= MOST_LINES
    assert found[0] in printed[0]
