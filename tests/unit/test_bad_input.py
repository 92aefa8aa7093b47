"""What people really hand in, each with the sentence they get: no traceback, and no good row lost."""

import json
import os
import re
import unicodedata
import zlib
from pathlib import Path

import pandas as pd
import pytest
import yaml
from running import REPOSITORY, merge, merged
from small_tables import GOOD, add, build, built, prepared_patients, write

from retclip.core.config import check_config


@pytest.fixture
def folder(tmp_path):
    return prepared_patients(tmp_path)


# --- one bad row: set aside with its line and reason, everybody else stays ------------------------------------


def png(name):
    """A row that names a file which `write` puts there."""

    def decorate(write):
        def change(folder: Path) -> None:
            write(folder / "images" / name)
            add(folder, f"X,{name},left,a,Report.")

        return change

    return decorate


@png("cut.png")
def truncated(path):
    whole = (path.parent / "0.png").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


@png("empty.png")
def empty(path):
    path.write_bytes(b"")


@png("text.png")
def not_an_image(path):
    path.write_text("This is a letter.")


@png("bomb.png")
def bomb(path):
    """A PNG of 60,000 x 60,000 pixels in a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = (60_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))


@png("loop.png")
def link_loop(path):
    path.symlink_to(path)


@png("folder.png")
def a_folder(path):
    path.mkdir()


@png("outside.png")
def link_outside(path):
    (path.parent.parent / "secret.png").write_bytes((path.parent / "0.png").read_bytes())
    path.symlink_to(path.parent.parent / "secret.png")
    if os.getuid() == 0:  # who owns both may link to what he likes
        os.chown(path.parent.parent / "secret.png", 1234, -1)
    else:
        path.unlink()
        path.symlink_to("/etc/hostname")


@png("broken.dcm")
def broken_dicom(path):
    path.write_bytes(b"\0" * 128 + b"DICM" + b"nonsense" * 20)


@png("page.html")
def a_web_page(path):
    path.write_text("<html>404 not found</html>")


BAD_ROWS = {
    "truncated": (truncated, "the image cannot be read"),
    "empty": (empty, "the image file is empty"),
    "not an image": (not_an_image, "the image cannot be read"),
    "bomb": (bomb, "the image has 60000 x 60000 pixels, which is too large"),
    "loop of links": (link_loop, "the image file does not exist"),
    "folder": (a_folder, "the image path is a folder"),
    "link outside": (link_outside, "the image path is a symbolic link out of the image root"),
    "broken DICOM": (broken_dicom, "the DICOM file cannot be read"),
    "web page": (a_web_page, "the image cannot be read"),
    "missing": ("X,gone.png,left,a,Report.", "the image file does not exist"),
    "outside": ("X,../../table.csv,left,a,Report.", "the image path leads out of the image root"),
    "absolute": ("X,/etc/hostname,left,a,Report.", "the image path leads out of the image root"),
    "no patient": (",0.png,left,a,Report.", "patient_id is empty"),
    "no image": ("X,,left,a,Report.", "image is empty"),
    "eye": ("X,0.png,up,a,Report.", "the eye is no eye's name; it must be left, right or unknown"),
    "twice": ("P0,0.png,left,a,Report.", "duplicate: this sample already has this left image"),
    "long name": (f"{'x' * 500},0.png,left,a,Report.", "sample_id has a null character or more than 400 letters"),
    "long path": (f"X,{'y' * 300}.png,left,a,Report.", "the image file does not exist"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_bad_row_is_set_aside(folder, capsys, name):
    change, reason = BAD_ROWS[name]
    change(folder) if callable(change) else add(folder, change)
    code, said = build(folder, capsys)
    assert code == 0, said
    fingerprint = json.loads((folder / "out/fingerprint.json").read_text())
    (problem,) = fingerprint["quarantined"]
    assert problem["row"] == GOOD + 2
    assert problem["reason"].startswith(reason)
    assert len(pd.read_parquet(folder / "out/samples.parquet")) == GOOD
    # the same row alone, without tolerance, stops the build with the line and the reason
    code, said = build(folder, capsys, max_bad_fraction=0)
    assert code == 1
    assert f"error: 1 of {GOOD + 1} rows cannot be used" in said
    assert f"line {GOOD + 2}: {reason}" in said


# --- tables that look wrong and are fine -----------------------------------------------------------------------


def odd_names(folder: Path) -> None:
    rows = ["patient_id,image,eye,label,text"]
    for index, name in enumerate(
        ("a b.png", "quo'te.png", 'dou"ble.png', "tab\there.png", "new\nline.png", "ü 眼.png")
    ):
        os.rename(folder / f"images/{index}.png", folder / "images" / name)
        escaped = name.replace('"', '""')
        rows.append(f'P{index},"{escaped}",left,a,Report {index}.')
    rest = (folder / "table.csv").read_text().splitlines()[7:]
    (folder / "table.csv").write_text("\n".join([*rows, *rest]) + "\n")


def rewritten(**how):
    def change(folder: Path) -> None:
        table = pd.read_csv(folder / "table.csv", dtype=str)
        table.to_csv(folder / "table.csv", index=False, **how)

    return change


def with_texts(*texts: str):
    def change(folder: Path) -> None:
        table = pd.read_csv(folder / "table.csv", dtype=str)
        table.loc[: len(texts) - 1, "text"] = texts
        table.to_csv(folder / "table.csv", index=False)

    return change


def with_trailing_separators(folder: Path) -> None:
    """As spreadsheets write columns that were emptied; one of the cells holds a blank."""
    lines = (folder / "table.csv").read_text().splitlines()
    (folder / "table.csv").write_text("\n".join([*(f"{line},,," for line in lines[:-1]), f"{lines[-1]},,, "]) + "\n")


def quoted_after_a_blank(folder: Path) -> None:
    lines = (folder / "table.csv").read_text().splitlines()
    spaced = [re.sub(r",(Report .*)", r', "\1, and no more"', line) for line in lines]
    (folder / "table.csv").write_text("\n".join(spaced) + "\n")


def in_two_forms(folder: Path) -> None:
    """One patient written in both Unicode forms, an image named in one and stored in the other, blanks of the web."""
    path = folder / "table.csv"
    os.rename(folder / "images/0.png", folder / unicodedata.normalize("NFD", "images/é.png"))
    text = path.read_text().replace("P0,0.png,left", unicodedata.normalize("NFD", "Zoé,") + "é.png,left")
    path.write_text(text.replace("P1,1.png,left", "\u200bZoé\u00a0,1.png,right"))


FINE = {
    "trailing separators": with_trailing_separators,
    "tabs": rewritten(sep="\t"),
    "lines that end in CR": rewritten(lineterminator="\r"),
    "a blank before each quote": quoted_after_a_blank,
    "byte order mark": rewritten(encoding="utf-8-sig"),
    "CRLF": rewritten(lineterminator="\r\n"),
    "semicolons": rewritten(sep=";"),
    "all quoted": rewritten(quoting=1),
    "blank lines": lambda folder: add(folder, "\n\n"),
    "odd names": odd_names,
    "NaN texts": with_texts("nan", "NaN", "None", "N/A"),
    "HTML in a text": with_texts("<script>alert(1)</script> &amp; <b>drusen</b>"),
    "a text of 100 KB": with_texts("drusen " * 15_000),
    "a text of two lines": with_texts("first\nsecond", 'he said "fine"; then, left'),
    "other alphabets": with_texts("视网膜正常", "Сетчатка в норме", "🙂"),
}


@pytest.mark.parametrize("name", FINE)
def test_what_looks_wrong_and_is_fine(folder, capsys, name):
    FINE[name](folder)
    code, said = build(folder, capsys, max_bad_fraction=0)
    assert code == 0, said
    frame = pd.read_parquet(folder / "out/samples.parquet")
    assert len(frame) == GOOD
    assert frame["text"].ne("").all()
    assert not frame["text"].str.lower().isin(["nan", "none", "n/a"]).any()


# --- a whole table that cannot be used: one sentence, nothing written -----------------------------------------


def replaced(old: str, new: str):
    def change(folder: Path) -> None:
        path = folder / "table.csv"
        path.write_text(path.read_text().replace(old, new))

    return change


def content(data: bytes):
    return lambda folder: (folder / "table.csv").write_bytes(data)


def some_splits(folder: Path) -> None:
    table = pd.read_csv(folder / "table.csv", dtype=str)
    table["split"] = ["train"] * (GOOD - 1) + [""]
    table.to_csv(folder / "table.csv", index=False)


def leaking_splits(folder: Path) -> None:
    table = pd.read_csv(folder / "table.csv", dtype=str)
    table["split"] = ["train", "test"] * (GOOD // 2)
    table.loc[1, "patient_id"] = "P0"
    table["sample_id"] = table.index.astype(str)
    table.to_csv(folder / "table.csv", index=False)


def no_train(folder: Path) -> None:
    table = pd.read_csv(folder / "table.csv", dtype=str)
    table["split"] = ["val", "test"] * (GOOD // 2)
    table.to_csv(folder / "table.csv", index=False)


def wrong_split(folder: Path) -> None:
    table = pd.read_csv(folder / "table.csv", dtype=str)
    table["split"] = "fold 1"
    table.to_csv(folder / "table.csv", index=False)


GBK = "patient_id,image,text\nP,0.png,未见明显异常，随访\n"


def unquoted_commas(*, label_last: bool, first: int):
    """A sentence with a comma in the rows from `first` on; the label behind it, or before it."""

    def change(folder: Path) -> None:
        heads = "patient_id,image,eye,text,label" if label_last else "patient_id,image,eye,label,text"
        rows = []
        for index in range(GOOD):
            text = "Drusen, soft" if index >= first else "Drusen"
            last = f"{text},{'ab'[index % 2]}" if label_last else f"{'ab'[index % 2]},{text}"
            rows.append(f"P{index},{index}.png,left,{last}")
        (folder / "table.csv").write_text("\n".join([heads, *rows]) + "\n")

    return change


def half_without_an_eye(folder: Path) -> None:
    table = pd.read_csv(folder / "table.csv", dtype=str)
    table.loc[: GOOD // 2 - 1, "eye"] = ""
    table.to_csv(folder / "table.csv", index=False)


def a_quote_that_takes_rows_in(folder: Path) -> None:
    """Opened in line 5 and closed in line 8, so that no rule of CSV is broken."""
    lines = (folder / "table.csv").read_text().splitlines()
    lines[4] = lines[4].replace("Report", '"Report')
    lines[7] += '"'
    (folder / "table.csv").write_text("\n".join(lines) + "\n")


def a_bad_row_below_line_breaks(folder: Path) -> None:
    """Each report has three lines, so that the last row of 40 begins in line 1 + 39 * 3 + 1."""
    table = pd.read_csv(folder / "table.csv", dtype=str)
    table["text"] = "FINDINGS:\nnone, really\n" + table["text"]
    table.loc[GOOD - 1, "image"] = "gone.png"
    table.to_csv(folder / "table.csv", index=False)


NO_CSV = "cannot be read as a CSV table in UTF-8"
LATIN = "patient_id,image,text\nP,0.png,f\xfcnf\n".encode("latin-1")


def as_it_is(folder: Path) -> None:
    """The table is fine; the flags are not."""


BAD_TABLES = {
    "no patient column": (replaced("patient_id,", "id,"), {}, "lacks the column patient_id; it has id, image"),
    "no image column": (replaced(",image,", ",picture,"), {}, "lacks the column one of image, image_left, image_right"),
    "nothing in it": (content(b""), {}, NO_CSV),
    "only a header": (content(b"patient_id,image,label\n"), {}, "no row can be used"),
    "Latin-1": (content(LATIN), {}, "is not in UTF-8 but seems to be in Windows-1252; convert it: iconv -f CP1252"),
    "a spreadsheet": (content(b"PK\x03\x04\x14\x00\x06\x00\x08\x00\x00\x00!\x00"), {}, "null characters"),
    "an open quote": (content(b'patient_id,image,text\nP,0.png,"never ends\n'), {},
                      "line 2: the quote that opens in the column text is never closed"),
    "more cells than heads": (content(b"patient_id,image,text\nP,0.png,a\nQ,1.png,b,c,d\n"), {},
                              "line 3 has 5 cells, but the header 3 (near the column text); 1 rows are like that"),
    "GBK": (content(GBK.encode("gbk")), {}, "is not in UTF-8 but seems to be in GBK; convert it: iconv -f GBK"),
    "UTF-16": (content(GBK.encode("utf-16")), {}, "is not in UTF-8 but in UTF-16; convert it: iconv -f UTF-16"),
    "UTF-16 without a mark": (content(GBK.encode("utf-16-le")), {}, "is not in UTF-8 but in UTF-16"),
    "gzip": (content(b"\x1f\x8b\x08\x00"), {}, "is no CSV table but a gzip file"),
    "a web page": (content(b"<!DOCTYPE html><html></html>"), {}, "is no CSV table but a web page"),
    "NUL": (content(b"patient_id,image,text\nP,0.png,a\nQ,1.png,b\0\n"), {}, "line 3 has null characters"),
    "no header": (replaced("patient_id,image,eye,label,text\n", ""), {}, "looks like data: is the header missing?"),
    "commas in the last column": (unquoted_commas(label_last=False, first=0), {},
                                  "line 2 has 6 cells, but the header 5 (near the column text); 40 rows are like that"),
    "commas further down": (unquoted_commas(label_last=False, first=19), {},
                            "line 21 has 6 cells, but the header 5 (near the column text); 21 rows are like that"),
    "commas that shift the label": (unquoted_commas(label_last=True, first=0), {},
                                    "line 2 has 6 cells, but the header 5 (near the column text)"),
    "a row that is cut": (lambda folder: add(folder, "X,0.png,left"), {}, "line 42 has 3 cells, but the header 5"),
    "another separator": (lambda folder: add(folder, "X;0.png;left;a;b"), {}, "line 42 has 1 cells, but the header 5"),
    "a surplus column of one row": (lambda folder: add(folder, "X,0.png,left,a,Report,"), {}, "line 42 has 6 cells"),
    "a quote that takes rows in": (a_quote_that_takes_rows_in, {},
                                   "line 5: the quote that opens in the column text takes in whole rows"),
    "a text beyond its quotes": (lambda folder: add(folder, 'X,0.png,left,a,"Drusen" are seen'), {},
                                 "line 42: the column text continues after its closing quote"),
    "a line below line breaks": (a_bad_row_below_line_breaks, {"max_bad_fraction": 0},
                                 "line 119: the image file does not exist"),
    "eyes by number": (replaced(",left,", ",1,"), {}, "Line 2: the eye is a number; it must be left, right or unknown"),
    "half of the eyes": (half_without_an_eye, {}, "20 labeled images say no eye, while others do"),
    "neither text nor label": (content(b"patient_id,image,DR,AMD\nP,0.png,0,1\n"), {}, "lacks the column one of label"),
    "a column twice": (content(b"patient_id,image,image ,text\nP,0.png,1.png,a\n"), {}, "column image is there twice"),
    "no such table": (lambda folder: (folder / "table.csv").unlink(), {}, "table.csv: no such file"),
    "all paths wrong": (replaced(".png", ".jpeg"), {}, "40 of 40 rows cannot be used|no row can be used"),
    "one class": (replaced(",b,", ",a,"), {}, "with one class there is nothing to tell apart"),
    "some splits": (some_splits, {}, "some rows have a split and some have none"),
    "a patient in two splits": (leaking_splits, {}, "1 patients are in more than one split"),
    "no train split": (no_train, {}, "the train split is empty"),
    "a split of its own": (wrong_split, {}, "split is none of ours; it must be train, val or test"),
    "a pattern that never fits": (as_it_is, {"patient_id": "pattern:(Q.)_"}, "does not match data.patient_id"),
    "an unknown patient column": (as_it_is, {"patient_id": "mrn"}, "lacks the column mrn"),
    "no folder of upstream's": (as_it_is, {"source": "retclip_tsv", "manifest": "images"}, "has no train_imgs.tsv"),
    "no LMDB of upstream's": (as_it_is, {"source": "retclip_lmdb", "manifest": "images"}, "has no train/pairs"),
    "prompts without an index": (as_it_is, {"source": "prompts"}, "lacks the column dataset_index"),
    "odir without keywords": (as_it_is, {"source": "odir"}, "lacks the column one of left_keywords"),
    "the same test table": (as_it_is, {"test_manifest": "table.csv"}, "40 samples are in table.csv too"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_TABLES)
def test_a_bad_table_is_one_sentence(folder, capsys, name):
    change, flags, sentence = BAD_TABLES[name]
    change(folder)
    for key in ("manifest", "test_manifest"):
        if key in flags:
            flags = {**flags, key: folder / flags[key]}
    code, said = build(folder, capsys, **flags)
    assert code == 1
    (error,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert any(part in error for part in sentence.split("|")), error
    assert "Traceback" not in said
    assert not (folder / "out/fingerprint.json").exists()


# --- what the config says of the data, before any job -----------------------------------------------------------

BAD_CONFIGS = {
    "unknown source": ({"source": "csv"}, "data.source is 'csv'; it must be one of manifest, prompts"),
    "a pattern without a group": ({"patient_id": {"pattern": "P[0-9]+"}}, "needs a group in parentheses"),
    "a broken pattern": ({"patient_id": {"pattern": "("}}, "is no regular expression"),
    "no such patient column": ({"patient_id": "mrn"}, "lacks the column mrn; it has patient_id, image"),
    "two places": ({"source": "prompts", "hub_dataset": {"source": "a/b"}}, "give one, and set the other to null"),
    "hub for a manifest": ({"hub_dataset": {"source": "a/b"}}, "data.hub_dataset is for data.source: prompts"),
    "a file where a folder belongs": ({"source": "retclip_lmdb"}, "no such folder"),
    "a wrong rule": ({"eye_images": "last"}, "data.eye_images is 'last'; it must be one of all, first, best"),
    "a wrong policy": ({"near_duplicates": False}, "data.near_duplicates is False"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_CONFIGS)
def test_a_bad_config_is_one_sentence(folder, name):
    changes, sentence = BAD_CONFIGS[name]
    config = merged()
    config["data"] = {
        **config["data"],
        "manifest": str(folder / "table.csv"),
        "image_root": str(folder / "images"),
        **changes,
    }
    config["data"]["class_map"] = str(REPOSITORY / "config/odir_classes.yaml")
    with pytest.raises(ValueError, match=re.escape(sentence)) as caught:
        check_config(yaml.safe_load(yaml.safe_dump(config)))
    assert "\n" not in str(caught.value)


def test_there_are_forty_of_them():
    assert len(BAD_ROWS) + len(FINE) + len(BAD_TABLES) + len(BAD_CONFIGS) >= 40
    # and sixty in test_bad_tables: 120 that are refused, in all
    assert len(BAD_ROWS) + len(BAD_TABLES) + len(BAD_CONFIGS) >= 60


# --- tables that people have: ../shared/cases, each built or refused as wanted ----------------------------------

CASES = Path(os.environ.get("RETCLIP_CASES", REPOSITORY.parent / "shared/cases"))
WHAT = ("rows", "images", "texts", "labels")


def all_used(rows: int, images: int, texts: int, labels: int) -> dict[str, tuple[int, int, int, int]]:
    """in, used, merged, quarantined of each, where nothing is left out."""
    return {what: (n, n, 0, 0) for what, n in zip(WHAT, (rows, images, texts, labels), strict=True)}


# A sentence where the case must be refused; else the reconciliation table, where each count is what the files hold.
OUTCOMES = {
    # five cells of keywords name no disease: the class map ignores them
    "01/published": {**all_used(92, 184, 0, 184), "labels": (184, 179, 0, 5)},
    "01/renamed": {**all_used(92, 184, 0, 184), "labels": (184, 179, 0, 5)},
    "01/fixed": {**all_used(92, 184, 0, 184), "labels": (184, 179, 0, 5)},
    "02/published": r"lacks the column one of image.*it has image_id.*Did you mean data\.columns: {image: image_id}",
    "02/renamed": r"no row can be used\. Line 2: the eye is a number; it must be left, right or unknown "
    r"\(the column eye; data\.values\.eye can say which is which\)",
    "02/noext": r"no row can be used\. Line 2: the image file does not exist; it does with the ending \.jpg",
    "02/eyesok": r"no row can be used\. Line 2: the image file does not exist; it does with the ending \.jpg",
    "03/last": r"table\.csv: line 2 has 7 cells, but the header 5 \(near the column text\)",
    "03/later": r"later\.csv: line 21 has 7 cells, but the header 5 \(near the column text\)",
    "03/shifted": r"shifted\.csv: line 2 has 6 cells, but the header 5 \(near the column text\)",
    "04/case": all_used(55, 55, 0, 55),
    "04/named": r"15 samples are in train_named\.csv too \(the first in line 2\)",
    "06/case": r"1 of 30 rows cannot be used.*line 102: the image cannot be read",
    "07/csv": all_used(40, 40, 40, 40),
    "07/tsv": all_used(40, 40, 40, 40),
    "07/gbk": r"gbk\.csv is not in UTF-8 but seems to be in GBK; convert it: iconv -f GBK",
    "07/utf16": r"utf16\.csv is not in UTF-8 but in UTF-16; convert it: iconv -f UTF-16",
    "08/case": all_used(64, 64, 64, 64),
    "10/case": all_used(60, 60, 60, 60),
    "12/nan": all_used(30, 55, 25, 50),
    "12/strict": all_used(30, 55, 25, 50),
    "12/na": all_used(30, 60, 30, 38),
    "13/numbers": all_used(50, 100, 50, 0),
    "13/texts": {**all_used(50, 100, 51, 0), "texts": (51, 50, 0, 1)},
    "14/case": all_used(30, 60, 0, 60),
    "19/case": r"40 labeled images say no eye, while others do.*leave the column eye out",
    "21/case": r"lacks the column one of label.*Disease_Risk.*Columns of 0 and 1",
    "22/case": all_used(30, 60, 0, 50),
    "23/case": r"table\.csv: the column label is there twice",
    "26/case": r"table\.csv: line 12: the quote that opens in the column text is never closed",
}


def outcome(case: str, folder: Path, capsys, **declared) -> tuple[str, str]:
    """What a user sees of a case: the sentence that ends it ("" where it is built), and all that was printed."""
    text = (CASES / "data" / f"{case}.yaml").read_text()
    text = re.sub(r"(@CASE@\S*)", r'"\1"', text.replace('"', "")).replace("@CASE@", str(CASES / "data" / case[:2]))
    config = merged("demo")
    own = yaml.safe_load(text)
    merge(config, {**own, "data": {**own["data"], **declared}})
    if not Path(config["data"].get("class_map") or "").is_file():
        config["data"]["class_map"] = str(REPOSITORY / "config/odir_classes.yaml")
    config["evaluation"]["prompts"] = str(REPOSITORY / "config/prompts.yaml")
    try:
        data = check_config(config)["data"]
    except ValueError as error:
        return str(error), str(error)
    flags = {key: data[key] for key in ("source", "manifest", "image_size", "image_encoding", "test_fraction",
             "val_fraction", "max_bad_fraction", "near_duplicates", "patient_id", "eye_images")}  # fmt: skip
    flags["image_root"] = data.get("image_root", data["manifest"])
    flags |= {key: data[key] for key in ("test_manifest", "columns", "values", "image_pattern") if data.get(key)}
    if data["source"] == "odir":
        flags |= {"class_map": data["class_map"], "image_pattern": "{patient_id}_{eye}.jpg"}
    code, said = build(folder, capsys, **flags)
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(errors) == code, said
    return "".join(errors), said


@pytest.mark.parametrize("case", OUTCOMES)
def test_a_table_that_people_have(tmp_path, capsys, case):
    if not CASES.is_dir():
        pytest.skip(f"{CASES} is not here; RETCLIP_CASES may name another folder")
    wanted = OUTCOMES[case]
    error, said = outcome(case, tmp_path, capsys)
    assert "Traceback" not in said
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffd]", said), "something binary reached the terminal"
    if isinstance(wanted, str):
        assert re.search(wanted, error), error or said
        assert len(error) < 420 + len(str(CASES))
        assert not (tmp_path / "out/fingerprint.json").exists()
        return
    assert error == "", error
    table = json.loads((tmp_path / "out/fingerprint.json").read_text())["reconciliation"]["counts"]
    found = {what: tuple(entry[key] for key in ("in", "used", "merged", "quarantined"))
             for what, entry in table.items()}  # fmt: skip
    assert found == wanted
    for what, entry in table.items():
        assert entry["in"] == entry["used"] + entry["merged"] + entry["quarantined"]
        assert f"{what}: {entry['in']:,} in" in said


GRADES = {0: "No DR", 1: "Mild", 2: "Moderate", 3: "Severe", 4: "Proliferative"}
# What makes a refused or doubtful case one that is built: the declaration that its sentence asks for.
MENDED = {
    "02/published": {"image_pattern": "{image_id}.jpg", "values": {"eye": {1: "right", 2: "left"}, "label": GRADES},
                     "columns": {"eye": "exam_eye", "label": "DR_ICDR", "age": "patient_age", "sex": "patient_sex"}},
    "02/renamed": {"image_pattern": "{image}.jpg", "values": {"eye": {1: "right", 2: "left"}}},
    "02/noext": {"image_pattern": "{image}.jpg"},
    "04/case": {"values": {"label": GRADES}, "columns": {"ignore": ["Risk of macular edema"]}},
    "12/na": {"values": {"label": {"NA": "Not affected"}}},
    "14/case": {"columns": {"ignore": ["text_id"]}},
    "19/case": {"columns": {"ignore": ["eye"]}},
    "21/case": {"columns": {"label": {"one_hot": ["DR", "ARMD", "MH", "DN", "MYA"], "otherwise": "Normal"},
                            "ignore": ["Disease_Risk"]}},
}  # fmt: skip


@pytest.mark.parametrize("case", MENDED)
def test_a_declaration_makes_a_case_one_that_is_built(tmp_path, capsys, case):
    if not CASES.is_dir():
        pytest.skip(f"{CASES} is not here; RETCLIP_CASES may name another folder")
    error, said = outcome(case, tmp_path, capsys, **MENDED[case])
    assert error == "", error
    assert "nothing uses" not in said
    assert "bare numbers" not in said or (case.startswith("02/") and case != "02/published")
    counts = json.loads((tmp_path / "out/fingerprint.json").read_text())["reconciliation"]["counts"]
    assert counts["rows"]["quarantined"] == counts["images"]["quarantined"] == 0
    assert counts["labels"]["used"] == (60 if case == "12/na" else counts["labels"]["in"]) > 0


def test_every_case_is_among_them():
    if not CASES.is_dir():
        pytest.skip(f"{CASES} is not here; RETCLIP_CASES may name another folder")
    there = {str(path.relative_to(CASES / "data"))[:-5] for path in (CASES / "data").glob("??/*.yaml")}
    assert there - {"01/my_classes"} == set(OUTCOMES)


def test_texts_stay_with_their_eyes_and_visits(tmp_path, capsys):
    """Two visits of a patient are two samples of one split, and no image reads a text about another eye."""
    if not CASES.is_dir():
        pytest.skip(f"{CASES} is not here; RETCLIP_CASES may name another folder")
    for case in ("10/case", "22/case"):
        folder = tmp_path / case[:2]
        folder.mkdir()
        assert outcome(case, folder, capsys)[0] == ""
        frame = pd.read_parquet(folder / "out/samples.parquet")
        for row in frame.to_dict("records"):
            for eye, other in (("left", "right"), ("right", "left")):
                if row["eyes"] in (eye, "both"):
                    assert f"{other} eye" not in row[f"text_{eye}"], row
        assert frame.groupby("patient_id")["split"].nunique().eq(1).all()
        if case == "10/case":
            assert len(frame) == 2 * frame["patient_id"].nunique() == 60


# --- what a table says is used, or named: small tables of the same kinds, each counted ---------------------------


def test_two_visits_of_a_patient_keep_their_reports(folder, capsys):
    rows = [f"P{i // 2},{i}.png,,{'ab'[i // 2 % 2]},,March {i}" if i % 2 == 0 else
            f"P{i // 2},,{i}.png,,{'ab'[i // 2 % 2]},July {i}" for i in range(GOOD)]  # fmt: skip
    write(folder, "patient_id,image_left,image_right,label_left,label_right,text", rows)
    frame, counts, _ = built(folder, capsys)
    assert counts == all_used(GOOD, GOOD, GOOD, GOOD)
    assert frame.loc["P3", "text"] == "March 6"
    assert frame.loc["P3~2", "text"] == "July 7"
    assert frame.loc["P3", "split"] == frame.loc["P3~2", "split"]
    # a column visit names them
    rows = [re.sub("^(P[0-9]+),", rf"\1,{'first' if i % 2 == 0 else 'second'},", row) for i, row in enumerate(rows)]
    write(folder, "patient_id,visit,image_left,image_right,label_left,label_right,text", rows)
    frame, counts, _ = built(folder, capsys)
    assert counts == all_used(GOOD, GOOD, GOOD, GOOD)
    assert frame.loc["P3@second", "text"] == "July 7"


def test_two_rows_of_a_visit_are_one_sample(folder, capsys):
    """Left and right of a patient whose report is repeated in both rows."""
    rows = [f"P{i // 2},{f'{i}.png,' if i % 2 else f',{i}.png'},{'ab'[i // 2 % 2]},Report {i // 2}"
            for i in range(GOOD)]  # fmt: skip
    write(folder, "patient_id,image_left,image_right,label,text", rows)
    frame, counts, _ = built(folder, capsys)
    assert len(frame) == GOOD // 2
    assert frame["eyes"].eq("both").all()
    assert counts["rows"] == (GOOD, GOOD, 0, 0)
    assert counts["texts"] == counts["labels"] == (GOOD, GOOD // 2, GOOD // 2, 0)


@pytest.mark.parametrize("rule", ["first", "best", "all"])
def test_further_images_of_an_eye_are_counted(folder, capsys, rule):
    """An image of a known eye and one of an unknown one are never one another's."""
    add(folder, "P0,1.png,left,a,Another report of the left eye.")
    add(folder, "P2,3.png,,,Of which eye nobody knows.")
    _, counts, _ = built(folder, capsys, eye_images=rule)
    merged = rule != "all"
    assert counts["rows"] == (GOOD + 2, GOOD + 2 - merged, int(merged), 0)
    assert counts["texts"] == (GOOD + 2, GOOD + 2 - merged, int(merged), 0)


def test_words_for_nothing_are_nothing_in_every_column(folder, capsys):
    rows = [f"P{i},{i}.png,{(i + 1) % GOOD if i % 4 else 'nan'}{'.png' if i % 4 else ''},{'ab'[i % 2]},"
            f"{('N/A', 'a', 'NaN', 'b')[i % 4]},{('null', f'Report {i}')[i % 2]}" for i in range(GOOD)]  # fmt: skip
    write(folder, "patient_id,image_left,image_right,label_left,label_right,text", rows)
    frame, counts, said = built(folder, capsys)
    assert counts == all_used(GOOD, GOOD + 30, GOOD // 2, GOOD + GOOD // 2)
    assert set(frame["label_right"]) == {"", "a", "b"}
    assert "20 cells of label_right are a word for nothing, such as NA, and count as empty" in said


def test_only_declared_columns_are_texts(folder, capsys):
    write(folder, "patient_id,image,eye,label,text_id,Report",
          [f"P{i},{i}.png,left,{'ab'[i % 2]},{8400 + i},Drusen." for i in range(GOOD)])  # fmt: skip
    frame, counts, said = built(folder, capsys)
    assert counts["texts"] == (0, 0, 0, 0)
    assert "columns that nothing uses: text_id, Report" in said
    assert "text_id" not in frame.columns


def test_no_text_of_the_fellow_eye(folder, capsys):
    """Where only one eye is labeled, or has a report, the other's text says nothing about it."""
    write(folder, "patient_id,image_left,image_right,label_left,label_right,text_left",
          [f"P{i},{i}.png,{i + 1}.png,{'ab'[i % 2]},,{('', 'Drusen left.')[i // 2 % 2]}"
           for i in range(GOOD - 1)])  # fmt: skip
    frame, _, _ = built(folder, capsys)
    assert set(frame["text_right"]) == {"A fundus photograph of the right eye."}
    assert frame.loc["P1", "text_left"] == "A fundus photograph of the left eye showing b."
    assert frame.loc["P2", "text_left"] == "Drusen left."


def test_an_eye_without_its_image_takes_label_and_text_with_it(folder, capsys):
    write(folder, "patient_id,image_left,image_right,label_left,label_right,text_right",
          [f"P{i},{i}.png,{'' if i < 10 else 'gone.png' if i < 14 else f'{i}.png'},{'ab'[i % 2]},b,Right {i}."
           for i in range(GOOD)])  # fmt: skip
    frame, counts, _ = built(folder, capsys)
    assert counts["images"] == (GOOD + 30, GOOD + 26, 0, 4)
    assert counts["labels"] == (2 * GOOD, 2 * GOOD - 14, 0, 14)
    assert counts["texts"] == (GOOD, GOOD - 14, 0, 14)
    assert not frame.loc["P3", "text"].startswith("Right")


def test_patients_in_two_unicode_forms_are_one(folder, capsys):
    in_two_forms(folder)
    frame, _, _ = built(folder, capsys, max_bad_fraction=0)
    assert len(frame) == GOOD - 1
    assert frame.loc["Zoé", "eyes"] == "both"


def test_labels_and_ids_that_differ_in_form(folder, capsys):
    """Blanks around joined labels make no class of their own; ids that differ by case or zeros are refused."""
    path = folder / "table.csv"
    text = path.read_text().replace("P7,7.png,left,b", "p8,7.png,left,a | b|nan")
    text = text.replace("P8,8.png", "P88,8.png")
    path.write_text(text.replace("P5,5.png,left,b", "P005,5.png,left,nan|-"))
    frame, counts, said = built(folder, capsys)
    assert frame.loc["p8", "label_left"] == "a|b"
    assert counts["labels"] == (GOOD - 1, GOOD - 1, 0, 0)
    assert "2 cells of label are a word for nothing" in said
    add(folder, "P5,4.png,left,a,Report.")
    add(folder, "P8,4.png,left,a,Report.")
    code, said = build(folder, capsys)
    assert code == 1
    assert "4 patient ids differ in letter case, blanks, width or zeros alone (the first in lines" in said
    assert "are they one patient's?" in said


@pytest.mark.slow
def test_every_published_keyword_has_its_official_class(tmp_path, capsys):
    """ODIR-5K's own columns of 0 and 1 say which: each row of its table agrees with them."""
    if not CASES.is_dir():
        pytest.skip(f"{CASES} is not here; RETCLIP_CASES may name another folder")
    error, said = outcome("01/published", tmp_path, capsys)
    assert error == ""
    assert "classes than their columns" not in said
    assert "nothing uses" not in said
    frame = pd.read_parquet(tmp_path / "out/samples.parquet")
    assert set(frame["age"]) - {""}
    table = pd.read_csv(CASES / "data/01/as_published.csv", dtype=str)
    found = frame.set_index("patient_id")
    short = {"Diabetes": "Diabetic Retinopathy", "Age related Macular Degeneration": "Age-related Macular Degeneration",
             "Hypertension": "Hypertensive Retinopathy", "Pathological Myopia": "Myopia",
             "Other diseases/abnormalities": "Other"}  # fmt: skip
    for row in table.rename(columns=str.strip).to_dict("records"):
        said_classes = {
            short.get(name, name) for name, cell in row.items() if cell == "1" and not name.startswith("Patient")
        }
        labels = set("|".join(found.loc[row["ID"], ["label_left", "label_right"]]).split("|")) - {""}
        assert labels - {"Normal"} == said_classes - {"Normal"}, row
    # another class in a column is named
    text = (CASES / "data/01/as_published.csv").read_bytes().decode("utf-8-sig")
    other = text.replace("normal fundus,normal fundus,1,0,", "normal fundus,normal fundus,0,1,", 1)
    (tmp_path / "table.csv").write_text(other)
    code, said = build(tmp_path, capsys, source="odir", manifest=tmp_path / "table.csv",
                       image_root=CASES / "data/01/images", image_pattern="{patient_id}_{eye}.jpg",
                       class_map=REPOSITORY / "config/odir_classes.yaml")  # fmt: skip
    assert code == 0
    assert "1 rows have keywords of other classes than their columns of 0 and 1 say (the first in line" in said
    # one row an eye, as it is found elsewhere: the same patient twice
    lines = text.splitlines()
    (tmp_path / "table.csv").write_text("\n".join([f"{lines[0]},filename", *(
        f"{line},{line.split(',')[column]}" for line in lines[1:] for column in (3, 4))]) + "\n")  # fmt: skip
    code, said = build(tmp_path, capsys, source="odir", manifest=tmp_path / "table.csv",
                       image_root=CASES / "data/01/images", image_pattern="{patient_id}_{eye}.jpg",
                       class_map=REPOSITORY / "config/odir_classes.yaml", max_bad_fraction=0)  # fmt: skip
    assert code == 0, said
    assert "rows: 184 in = 92 used + 92 merged + 0 quarantined" in said


SECRETS = "Jane Doe 1960-01-31"


@pytest.mark.slow
def test_no_sentence_quotes_a_cell(folder, capsys):
    """A name and a birth date in whichever column a shifted row puts them: the line is named, the cell is not."""
    good = {"patient_id": "X", "image": "0.png", "eye": "left", "label": "a", "text": "Report.", "split": "train",
            "sample_id": "", "age": "60"}  # fmt: skip
    lines = (folder / "table.csv").read_text().splitlines()[1:]
    rows = [f"{line},{('train', 'val', 'test')[index % 3]},," for index, line in enumerate(lines)]
    for column in set(good) - {"label"}:
        for more in ({}, {"image": "gone.png"}, {"patient_id": ""}, {"eye": "up"}, {"split": "training"}):
            cells = {**good, **more, column: SECRETS}
            for shape in (",".join(cells.values()), f"{','.join(cells.values())},", f'"{",".join(cells.values())}'):
                write(folder, ",".join(good), [*rows, shape])
                for limit in (0, 1):
                    code, said = build(folder, capsys, max_bad_fraction=limit)
                    assert "Jane" not in said, (cells, shape)
                    assert "Traceback" not in said
                    if code == 0:
                        document = json.loads((folder / "out/fingerprint.json").read_text())
                        assert "Jane" not in json.dumps([document["quarantined"], document["reconciliation"]])
