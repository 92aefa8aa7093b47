"""One known data set, written as anybody's program might write it: the same samples, or a sentence; never others."""

import csv
import io
import os
import unicodedata

import pytest
from fuzzing import fuzz
from hypothesis import given
from hypothesis import strategies as st

from retclip.data.reconciliation import Ledger
from retclip.data.source import Source
from retclip.data.sources.registry import read_source

OURS = ("patient_id", "image", "eye", "label", "text", "split", "age")
TEXTS = (
    "Normal fundus, sharp disc.",
    'He said "no drusen"; fine',
    "FINDINGS:\nsoft drusen, few",
    "Trübung am Rand",
    "视网膜",
    "",
)
CLASSES = ("Healthy", "Dry AMD", "Glaucoma", "Dry AMD|Glaucoma", "")
SPLITS = ("train", "val", "test")
ROWS = [
    (str(100 + number), f"{number}_{eye}.png", eye, CLASSES[(number + (eye == "left")) % 5],
     TEXTS[(number + 2 * (eye == "left")) % 6], SPLITS[number % 3], str(40 + number))
    for number in range(9)
    for eye in ("left", "right")
]  # fmt: skip
EYES = {
    "left": ("left", "L", "OS", "o.s.", "Left eye", "LE", "left_eye", " left "),
    "right": ("right", "R", "OD", "O.D.", "right eye", "RE", "Right-Eye", "r"),
}
SPLIT_WORDS = {"train": ("train", "Training", "TRAIN"), "val": ("val", "valid", "Validation", "dev"),
               "test": ("test", "Testing", "Test")}  # fmt: skip
NUMBERS = {"left": "2", "right": "1"}
GRADES = {"Healthy": "0", "Dry AMD": "1", "Glaucoma": "2"}
OTHER_NAMES = ("ID", "file_name", "exam_eye", "diagnosis", "Bericht", "set", "alter")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("known")
    for _, image, *_ in ROWS:
        (place / image).write_bytes(b"anything")
    return place


@st.composite
def programs(draw) -> dict:
    """What writes the table, and what the config then says of it."""
    return {
        "delimiter": draw(st.sampled_from([",", ";", "\t"] * 4 + ["|"])),
        "quoting": draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])),
        "lineterminator": draw(st.sampled_from(["\n", "\r\n"])),
        "encoding": draw(st.sampled_from(["utf-8", "utf-8-sig"] * 8 + ["utf-16", "utf-16-le", "gb18030", "cp1252"])),
        "order": draw(st.permutations(range(len(OURS)))),
        "sep": draw(st.booleans()),  # Excel's first line
        "names": draw(st.sampled_from(["ours", "declared"] * 4 + ["undeclared", "Ours"])),
        "labels": draw(st.sampled_from(["words", "numbers", "one_hot", "case", "list", "float"])),
        "eyes": draw(st.sampled_from(["words", "numbers", "path"] * 3 + ["unmapped"])),
        "ids": draw(st.sampled_from(["plain", "float", "zeros"] * 3 + ["mixed"])),
        "images": draw(st.sampled_from(["plain", "pattern", "./"] * 3 + ["no ending"])),
        "missing": draw(st.sampled_from(["", "nan", "N/A", "-", "None", "NULL"])),
        "further": draw(st.booleans()),  # a column of the owner's own
        "seed": draw(st.integers(0, 100)),
    }


def label_of(cell: str, how: dict, number: int) -> str:
    parts = [part for part in cell.split("|") if part]
    if not parts:
        return how["missing"]
    if how["labels"] in ("numbers", "float"):
        return "|".join(GRADES[part] + (".0" if how["labels"] == "float" else "") for part in parts)
    if how["labels"] == "case" and number % 4 == 0:
        return "|".join(part.upper() for part in parts)
    if how["labels"] == "list":
        return str(parts)
    return " | ".join(parts) if number % 2 else "|".join(parts)


def id_of(patient: str, how: dict, number: int) -> str:
    return {
        "plain": patient,
        "float": f"{patient}.0",
        "zeros": f"0{patient}",
        "mixed": f"{'0' * (number % 2)}{patient}",
    }[how["ids"]]


def table_of(how: dict) -> tuple[bytes, dict]:
    """The file, and the settings of the source."""
    names = list(OURS) if how["names"] == "ours" else [name.title() for name in OURS]
    names = list(OTHER_NAMES) if how["names"] in ("declared", "undeclared") else names
    columns: dict = dict(zip(OURS, names, strict=True)) if how["names"] == "declared" else {}
    values: dict = {}
    one_hot = list(GRADES) if how["labels"] == "one_hot" else []
    heads = [names[place] for place in how["order"]] + one_hot + (["Klinik"] if how["further"] else [])
    lines = [heads]
    for number, (patient, image, eye, label, text, split, age) in enumerate(ROWS):
        word = EYES[eye][(number + how["seed"]) % 8]
        cells = (
            id_of(patient, how, number),
            {"plain": image, "no ending": image[:-4], "pattern": image[:-4], "./": f"./{image}"}[how["images"]],
            {"words": word, "numbers": NUMBERS[eye], "unmapped": NUMBERS[eye], "path": ""}[how["eyes"]],
            how["missing"] if one_hot else label_of(label, how, number),
            text or how["missing"],
            SPLIT_WORDS[split][(number + how["seed"]) % 3],
            age,
        )
        flags = [str(int(name in label.split("|"))) for name in one_hot]
        lines.append([*(cells[place] for place in how["order"]), *flags, *(["A"] if how["further"] else [])])
    if one_hot:
        columns["label"] = {"one_hot": one_hot}
    if how["labels"] in ("numbers", "float"):
        values["label"] = {number: name for name, number in GRADES.items()}
    if how["eyes"] == "numbers":
        values["eye"] = {number: eye for eye, number in NUMBERS.items()}
    if how["eyes"] == "path":
        columns["eye"] = {"pattern": "_(left|right)"}
    stream = io.StringIO()
    csv.writer(stream, **{key: how[key] for key in ("delimiter", "quoting", "lineterminator")}).writerows(lines)
    text = (f"sep={how['delimiter']}{how['lineterminator']}" if how["sep"] else "") + stream.getvalue()
    text = unicodedata.normalize("NFD", text) if how["seed"] % 5 == 0 and how["encoding"].startswith("utf") else text
    pattern = "{image}.png" if how["images"] == "pattern" else None
    return text.encode(how["encoding"], "replace"), {"columns": columns, "values": values, "image_pattern": pattern}


def samples_of(frame) -> set[tuple]:
    return {
        (row["patient_id"].removeprefix("0"), eye, row[f"label_{eye}"], "".join(row[f"text_{eye}"].split()),
         row["split"],
         row["age"], os.path.basename(row[f"source_{eye}"]))
        for row in frame.to_dict("records")
        for eye in ("left", "right")
        if row["eyes"] in (eye, "both")
    }  # fmt: skip


KNOWN = {(p, eye, label, "".join(text.split()), split, age, image) for p, image, eye, label, text, split, age in ROWS}
outcomes = {"same": 0, "said": 0}


@fuzz
@given(programs())
def test_the_same_samples_or_a_sentence(folder, how):
    content, declared = table_of(how)
    table = folder / "table.csv"
    table.write_bytes(content)
    try:
        frame, problems = read_source(Source("manifest", table, folder, **declared), Ledger())
    except ValueError as error:
        said = str(error)
        assert len(said.replace(str(folder), "")) <= 300, said
        assert said.isprintable()
        outcomes["said"] += 1
        return
    if problems:  # rows that cannot be used are named, and no other sample is made of them
        assert samples_of(frame) <= KNOWN
        outcomes["said"] += 1
        return
    assert samples_of(frame) == KNOWN
    outcomes["same"] += 1


def test_both_outcomes_were_met():
    """Else the generator above shows nothing."""
    if sum(outcomes.values()):
        assert min(outcomes.values()) >= 20, outcomes
