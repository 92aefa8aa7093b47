"""Whatever the dialect and the damage of a table: each row is used, or named, or the table is refused in a sentence."""

import base64
import csv
import dataclasses
import io
import json
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fuzzing import fuzz
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from retclip.core.schemas import check
from retclip.data import build as build_module
from retclip.data.audit import audit
from retclip.data.build import Settings, build
from retclip.data.reconciliation import WHAT, Ledger
from retclip.data.samples import of_present_eyes
from retclip.data.source import Source
from retclip.data.sources.registry import read_source
from retclip.report.run_folder import RunFolder
from retclip.report.sections.data import reconciliation_table

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
    found, problems, closed = read(folder, "".join(records(dialect)), dialect["encoding"])
    assert problems == []
    assert {(p, e, lb, "".join(t.split())) for p, e, lb, t in found} == {
        (p, e, lb, "".join(t.split())) for p, e, lb, t in known(ROWS)
    }
    texts = sum(bool(text) for *_, text in ROWS)
    wanted = dict(zip(WHAT, (len(ROWS), len(ROWS), texts, len(ROWS)), strict=True))
    for what, entry in closed["counts"].items():
        assert entry == {"in": wanted[what], "used": wanted[what], "merged": 0, "quarantined": 0}


@st.composite
def damages(draw) -> tuple[dict, list[tuple[int, float, str]]]:
    """A dialect, and what happens to up to three places: (record, where in it, what)."""
    what = st.sampled_from(['+"', '+"', "+,", "+;", "+\t", "+\n", "+\0", "-", "-", 'open"', 'close"', "cut", "twice"])
    place = st.tuples(st.integers(1, len(ROWS)), st.floats(0, 0.999), what)
    if draw(st.booleans()):
        return draw(dialects()), draw(st.lists(place, min_size=1, max_size=3))
    # a quote that opens in one row and closes in another breaks no rule of CSV, where no other quote is between them
    plain = {"quoting": csv.QUOTE_MINIMAL, "lineterminator": "\n", "empty": 0, "delimiter": ";"}
    first = draw(st.integers(1, len(ROWS) - 2))
    last = min(first + draw(st.integers(2, 3)), len(ROWS))
    return {**draw(dialects()), **plain}, [(first, draw(st.floats(0.2, 0.999)), 'open"'), (last, 0.999, 'close"')]


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
        found, problems, closed = read(folder, content, dialect["encoding"])
    except ValueError as error:
        said = str(error)
    if said:
        assert "table.csv" in said
        assert "\n" not in said
        assert len(said) < 300 + len(str(folder))
        return
    for entry in closed["counts"].values():
        assert entry["in"] == entry["used"] + entry["merged"] + entry["quarantined"]
    whole = [row for number, row in enumerate(ROWS) if number not in touched]
    plain = {(p, e, lb, "".join(t.split())) for p, e, lb, t in found}
    lost = {row for row in known(whole) if (*row[:3], "".join(row[3].split())) not in plain}
    assert len(lost) <= len(problems), (lost, content)


# --- the table of what came in, where a person reads it -----------------------------------------------------------


def small_set(folder, count: int = 40) -> Path:
    """Forty patients with two eyes each; images/ beside table.csv."""
    (folder / "images").mkdir()
    y, x = np.mgrid[:40, :40]
    generator = np.random.default_rng(0)
    rows = ["patient_id,image_left,image_right,label_left,label_right,text,notes"]
    for index in range(count):
        for side in (0, 1):
            pixels = generator.integers(60, 250, (8, 8, 3), dtype=np.uint8).repeat(5, axis=0).repeat(5, axis=1)
            pixels[np.hypot(x - 20, y - 20) >= 18] = 0
            Image.fromarray(pixels).save(folder / f"images/{index}_{side}.png")
        label = "ab"[index % 2]
        rows.append(f"P{index},{index}_0.png,{index}_1.png,{label},{'NA' if index < 3 else label},Report {index}.,-")
    (folder / "table.csv").write_text("\n".join(rows) + "\n")
    return folder / "table.csv"


def fingerprint_of(folder, source: Source, **changes) -> dict:
    settings = Settings(**{"image_size": 24, "image_encoding": "raw", "test_fraction": 0.2, "val_fraction": 0.2,
                           "max_bad_fraction": 0.2, "near_duplicates": "ignore", "report_section": None, "seed": 1,
                           "threads": 1, **changes})  # fmt: skip
    build(source, settings, folder / "out", folder / "state")
    return json.loads((folder / "out/fingerprint.json").read_text())


def test_the_table_stands_in_the_audit_and_on_the_page(tmp_path):
    source = Source("manifest", small_set(tmp_path), tmp_path / "images")
    (tmp_path / "images/7_1.png").write_bytes(b"broken")
    (tmp_path / "images/9_0.png").unlink()
    (tmp_path / "images/9_1.png").unlink()
    fingerprint = fingerprint_of(tmp_path, source)
    frame, images = (pd.read_parquet(tmp_path / f"out/{name}.parquet") for name in ("samples", "pictures"))
    document = audit(frame, images, fingerprint, {}, 77, "zero_shot_balanced_accuracy")
    check(document, "audit", "audit.json")
    counts = {what: tuple(entry.values()) for what, entry in document["reconciliation"]["counts"].items()}
    assert counts == {
        "rows": (40, 39, 0, 1),
        "images": (80, 77, 0, 3),
        "texts": (40, 39, 0, 1),
        "labels": (77, 74, 0, 3),
    }
    # what was written, counted once more
    assert len(images) == 77
    assert frame[["label_left", "label_right"]].ne("").sum().sum() == 74
    reasons = {(entry["what"], entry["reason"]): entry["count"] for entry in document["reconciliation"]["reasons"]}
    assert reasons["rows", "the image file does not exist"] == 1
    assert reasons["images", "an image that cannot be read"] == 1
    assert "1 of 40 rows are not used; audit.json has the reasons." in document["warnings"]
    said = "the table: 3 cells of label_right are a word for nothing, such as NA, and count as empty."
    assert said in document["warnings"]
    assert "the table: columns that nothing uses: notes." in document["warnings"]
    known = {"audit": document, "external_fingerprints": {"clinic": fingerprint}}
    shown = reconciliation_table(
        RunFolder(**{field.name: known.get(field.name) for field in dataclasses.fields(RunFolder)})
    )
    assert shown.heads == ["what", "in", "used", "merged", "quarantined"]
    assert shown.rows[1] == ["images", "80", "77", "0", "3"]
    assert shown.rows[5] == ["images of clinic", "80", "77", "0", "3"]


@pytest.mark.parametrize("changes", [{"near_duplicates": "drop"}, {"only_test": True, "test_fraction": 1.0}])
def test_every_way_to_build_adds_up(tmp_path, changes):
    """Copies that are dropped are merged; data that is only evaluated is counted, too."""
    source = Source("manifest", small_set(tmp_path), tmp_path / "images")
    for index in (0, 1):
        (tmp_path / f"images/5_{index}.png").write_bytes((tmp_path / f"images/4_{index}.png").read_bytes())
    counts = fingerprint_of(tmp_path, source, **changes)["reconciliation"]["counts"]
    samples = len(pd.read_parquet(tmp_path / "out/samples.parquet"))
    assert counts["rows"] == {"in": 40, "used": samples, "merged": 40 - samples, "quarantined": 0}
    assert counts["texts"]["used"] == samples
    assert ("only_test" in changes) == (samples == 40)


def test_a_test_table_is_counted_with_the_first(tmp_path):
    """Lines of two tables are told apart: line 3 of the test table is no line of the other."""
    source = Source("manifest", small_set(tmp_path), tmp_path / "images")
    lines = (tmp_path / "table.csv").read_text().splitlines()
    (tmp_path / "table.csv").write_text("\n".join(lines[:31]) + "\n")
    (tmp_path / "later.csv").write_text("\n".join([lines[0], *lines[31:]]) + "\n")
    (tmp_path / "images/31_0.png").write_bytes(b"broken")
    (tmp_path / "images/31_1.png").unlink()
    fingerprint = fingerprint_of(tmp_path, source._replace(test_table=tmp_path / "later.csv"))
    assert fingerprint["reconciliation"]["counts"]["rows"] == {"in": 40, "used": 39, "merged": 0, "quarantined": 1}
    assert [(entry["row"], entry["reason"][:11]) for entry in fingerprint["quarantined"]] == [(3, "later.csv: ")] * 2


def test_what_is_lost_stops_the_build(tmp_path, monkeypatch):
    """A step that drops a sample and books nothing is a mistake of ours, and is seen."""
    source = Source("manifest", small_set(tmp_path), tmp_path / "images")
    keep = build_module.of_present_eyes
    monkeypatch.setattr(Ledger, "book_difference", lambda *_: None)
    monkeypatch.setattr(build_module, "of_present_eyes", lambda frame: keep(frame).iloc[1:].reset_index(drop=True))
    with pytest.raises(AssertionError, match="the rows of the table do not add up"):
        fingerprint_of(tmp_path, source)


# --- upstream's formats: texts find their patients, or are named ----------------------------------------------------


def upstream(folder, patients: list[str], entries: list[dict]) -> Source:
    folder.mkdir()
    image = io.BytesIO()
    Image.new("RGB", (32, 32), (180, 90, 40)).save(image, "PNG")
    side = base64.urlsafe_b64encode(image.getvalue()).decode()
    (folder / "train_imgs.tsv").write_text("".join(f"{patient}\t{side}\t{side}\n" for patient in patients))
    (folder / "train_texts.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return Source("retclip_tsv", folder, folder)


def counted(source: Source) -> tuple[pd.DataFrame, dict, list[str]]:
    ledger = Ledger()
    frame, _ = read_source(source, ledger)
    document = ledger.close(frame)
    return frame.set_index("sample_id"), document["counts"], document["notes"]


def test_ids_with_and_without_leading_zeros_are_one(tmp_path):
    entries = [{"text": f"Report {number}.", "image_ids": [number]} for number in range(1, 21)]
    frame, counts, notes = counted(upstream(tmp_path / "a", [f"{number:04d}" for number in range(1, 21)], entries))
    assert frame.loc["0007", "text"] == "Report 7."
    assert counts["texts"] == {"in": 20, "used": 20, "merged": 0, "quarantined": 0}
    assert notes == ["train_texts.jsonl: 20 ids differ from those of the images in leading zeros alone."]
    with pytest.raises(ValueError, match="several ids differ only in leading zeros"):
        counted(upstream(tmp_path / "b", ["0007", "07"], [{"text": "Whose?", "image_ids": [7]}]))
    frame, *_ = counted(upstream(tmp_path / "c", ["0007", "7"], [{"text": "Of 7.", "image_ids": [7]}]))
    assert frame["text"].to_dict() == {"0007": "", "7": "Of 7."}


def test_texts_of_nobody_twice_or_none_are_counted(tmp_path):
    entries = [{"text": "Of two.", "image_ids": ["A", "B"]}, {"text": "Of nobody.", "image_ids": ["Z"]},
               {"text": "Of none.", "image_ids": []}, {"text": "Of two.", "image_ids": ["A"]},
               {"text": "Of A, too.", "image_ids": ["A"]}, {"text": "nan", "image_ids": ["B"]},
               {"wrong": 1}]  # fmt: skip
    frame, counts, notes = counted(upstream(tmp_path / "a", ["A", "B", "B"], entries))
    # the two lines of B have the text each
    assert counts["texts"] == {"in": 8, "used": 4, "merged": 1, "quarantined": 3}
    assert counts["rows"] == {"in": 3, "used": 3, "merged": 0, "quarantined": 0}
    assert frame["text"].tolist() == ["Of two.", "Of A, too.", "Of two.", "Of two."]
    assert notes == ["train_texts.jsonl: 1 texts are of nobody who has images."]


def test_no_training_without_any_text(tmp_path):
    source = upstream(tmp_path / "a", [f"P{i}" for i in range(20)], [{"text": "Of nobody.", "image_ids": ["Z"]}])
    with pytest.raises(ValueError, match="no sample has a text or a label; there is nothing to train on"):
        fingerprint_of(tmp_path, source)


def test_texts_in_another_encoding_are_refused(tmp_path):
    """Replacement characters would be trained on as words."""
    source = upstream(tmp_path / "a", ["A"], [])
    path = tmp_path / "a/train_texts.jsonl"
    path.write_text(json.dumps({"text": "未见明显异常", "image_ids": ["A"]}, ensure_ascii=False), encoding="gbk")
    with pytest.raises(ValueError, match="is not in UTF-8 but seems to be in GBK"):
        counted(source)
    path.write_text(json.dumps({"text": "未见明显异常", "image_ids": ["A"]}, ensure_ascii=False), encoding="utf-8-sig")
    assert counted(source)[0].loc["A", "text"] == "未见明显异常"
