"""Whatever the dialect and the damage of a table: each row is used, or named, or the table is refused in a sentence."""

import csv
import io
import os
import unicodedata

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retclip.data.reconciliation import WHAT, Ledger
from retclip.data.samples import of_present_eyes
from retclip.data.sources import Source, read_source

CASES = int(os.environ.get("RETCLIP_FUZZ", "500"))
fuzz = settings(
    max_examples=CASES,
    deadline=None,
    derandomize=CASES == 500,  # the same cases in every CI; new ones at night
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
HEADS = ["patient_id", "image", "eye", "label", "text"]
TEXTS = ["Normal fundus, sharp disc.", 'He said "no drusen"; fine', "FINDINGS:\nsoft drusen, few\nIMPRESSION: dry AMD",
         "Blutung\tam Rand", "视网膜正常,随访", ""]  # fmt: skip
PATIENTS = ["P01", "Müller é", "0003", "P-4", "ü5", "P06"]
EYES = {"left": ["left", "OS", "L", "left eye"], "right": ["right", "OD", "r", "Right Eye"]}
ROWS = [
    (patient, f"{number}{eye}.png", eye, ("Healthy", "Dry AMD")[number % 2], TEXTS[(number + (eye == "left")) % 6])
    for number, patient in enumerate(PATIENTS)
    for eye in ("left", "right")
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("known")
    for _, image, *_ in ROWS:
        (place / image).write_bytes(b"anything")
    return place


@st.composite
def dialects(draw) -> dict:
    """How a known table may be written by someone else's program."""
    return {
        "delimiter": draw(st.sampled_from([",", ";", "\t"])),
        "quoting": draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])),
        "lineterminator": draw(st.sampled_from(["\n", "\r\n", "\r"])),
        "encoding": draw(st.sampled_from(["utf-8", "utf-8-sig"])),
        "order": draw(st.permutations(range(len(HEADS)))),
        "empty": draw(st.integers(0, 3)),  # columns without a name at the end
        "blank": draw(st.sets(st.integers(0, len(ROWS)), max_size=2)),  # blank lines before these rows
        "form": draw(st.sampled_from(["NFC", "NFD"])),
        "missing": draw(st.sampled_from(["", "nan", "N/A", "-", "None"])),
        "eye": draw(st.integers(0, 3)),
    }


def records(dialect: dict) -> list[str]:
    """The lines of the table, header first, as text; a record may hold line breaks."""
    form = {key: dialect[key] for key in ("delimiter", "quoting", "lineterminator")}
    if form["lineterminator"] == "\r":
        form["quoting"] = csv.QUOTE_ALL  # Python's writer would leave a line break within a text unquoted
    rows = [tuple(HEADS)]
    for number, (patient, image, eye, label, text) in enumerate(ROWS):
        # one patient is written in both forms, as it happens where two programs wrote the table
        name = unicodedata.normalize(dialect["form"] if number % 2 else "NFC", patient)
        rows.append((name, image, EYES[eye][dialect["eye"]], label, text or dialect["missing"]))
    found = []
    for number, row in enumerate(rows):
        stream = io.StringIO()
        csv.writer(stream, **form).writerow([*(row[place] for place in dialect["order"]), *[""] * dialect["empty"]])
        blank = dialect["lineterminator"] * (number - 1 in dialect["blank"])
        found.append(blank + stream.getvalue())
    return found


def known(rows: list[tuple]) -> set[tuple]:
    return {(patient, eye, label, text) for patient, _, eye, label, text in rows}


def read(folder, content: str, encoding: str) -> tuple[set[tuple], list, dict]:
    """(patient, eye, label, text) of every image, what is named as unusable, and the reconciliation."""
    table = folder / "table.csv"
    table.write_bytes(content.encode(encoding))
    ledger = Ledger()
    frame, problems = read_source(Source("manifest", table, folder), ledger)
    kept = of_present_eyes(frame)
    ledger.book_difference("quarantined", "of an eye that has no image", frame, kept)
    found = {
        (row["patient_id"], eye, row[f"label_{eye}"] or row["label"], row[f"text_{eye}"] or row["text"])
        for row in kept.to_dict("records")
        for eye in ("left", "right")
        if row["eyes"] in (eye, "both")
    }
    return found, problems, ledger.close(kept)


@fuzz
@given(dialects())
def test_any_dialect_gives_the_same_samples(folder, dialect):
    found, problems, reconciliation = read(folder, "".join(records(dialect)), dialect["encoding"])
    assert problems == []
    assert {(p, e, lb, "".join(t.split())) for p, e, lb, t in found} == {
        (p, e, lb, "".join(t.split())) for p, e, lb, t in known(ROWS)
    }
    texts = sum(bool(text) for *_, text in ROWS)
    wanted = dict(zip(WHAT, (len(ROWS), len(ROWS), texts, len(ROWS)), strict=True))
    for what, entry in reconciliation["counts"].items():
        assert entry == {"in": wanted[what], "used": wanted[what], "merged": 0, "quarantined": 0}


@st.composite
def damages(draw) -> tuple[dict, list[tuple[int, float, str]]]:
    """A dialect, and what happens to up to three places: (record, where in it, what)."""
    what = st.sampled_from(['+"', '+"', "+,", "+;", "+\t", "+\n", "+\0", "-", "-", 'open"', 'close"', "cut", "twice"])
    place = st.tuples(st.integers(1, len(ROWS)), st.floats(0, 0.999), what)
    return draw(dialects()), draw(st.lists(place, min_size=1, max_size=3))


def damaged(texts: list[str], damage: list[tuple[int, float, str]], delimiter: str) -> tuple[str, set[int]]:
    """The content of the file, and the rows (from 0) whose own characters were touched."""
    texts = list(texts)
    touched = set()
    for record, where, what in damage:
        text = texts[record]
        at = int(where * len(text))
        touched.add(record - 1)
        if what == "-":
            text = text[:at] + text[at + 1 :]
            touched.add(record)  # the line break may have been lost: then the next row is touched, too
        elif what == 'open"':
            place = text.rfind(delimiter, 0, at)
            text = text[: place + 1] + '"' + text[place + 1 :]
        elif what == 'close"':
            place = text.find(delimiter, at)
            place = len(text.rstrip("\r\n")) if place < 0 else place
            text = text[:place] + '"' + text[place:]
        elif what == "cut":
            text = text[:at]
            touched.add(record)
        elif what == "twice":
            text = text + text
        else:
            text = text[:at] + what[1:] + text[at:]
        texts[record] = text
    return "".join(texts), touched


@fuzz
@given(damages())
def test_no_damage_loses_a_row_without_a_word(folder, case):
    dialect, damage = case
    content, touched = damaged(records(dialect), damage, dialect["delimiter"])
    said = ""
    try:
        found, problems, reconciliation = read(folder, content, dialect["encoding"])
    except ValueError as error:
        said = str(error)
    if said:
        assert "table.csv" in said
        assert "\n" not in said
        assert len(said) < 300 + len(str(folder))
        return
    for entry in reconciliation["counts"].values():
        assert entry["in"] == entry["used"] + entry["merged"] + entry["quarantined"]
    whole = [row for number, row in enumerate(ROWS) if number not in touched]
    plain = {(p, e, lb, "".join(t.split())) for p, e, lb, t in found}
    lost = {row for row in known(whole) if (*row[:3], "".join(row[3].split())) not in plain}
    assert len(lost) <= len(problems), (lost, content)
