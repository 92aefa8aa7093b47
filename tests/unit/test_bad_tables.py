"""More of what people hand in, by kind: each ends in one sentence of 300 characters that names line and column."""

import gzip
import io
import re
import zipfile
from pathlib import Path

import pytest
import yaml
from running import REPOSITORY, merge, merged
from small_tables import GOOD, add, build, prepared_patients, write

from retclip.core.config import check_config

HEADS = "patient_id,image,eye,label,text"


@pytest.fixture
def folder(tmp_path):
    return prepared_patients(tmp_path)


def content(data: bytes):
    return lambda folder: (folder / "table.csv").write_bytes(data)


def good(index: int) -> list[str]:
    return [f"P{index}", f"{index}.png", "left", "ab"[index % 2], f"Report {index}."]


def rows(heads: str = HEADS, **cells):
    """A table of forty good rows; cells: column -> what stands in it, or a function of the row's number."""

    def change(folder: Path) -> None:
        lines = []
        for index in range(GOOD):
            row = dict(zip(HEADS.split(","), good(index), strict=True))
            row |= {name: value(index) if callable(value) else value for name, value in cells.items()}
            lines.append(",".join(row.get(name, "x") for name in heads.split(",")))
        write(folder, heads, lines)

    return change


def zipped(*names: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, "x" * 40)
    return stream.getvalue()


TEXT = "patient_id,image,label\nP,0.png,"
NAMED = {"patient_id": "who", "image": "file", "eye": "side", "label": "grade"}
OTHER = rows(
    "who,file,side,grade", who=lambda i: f"P{i}", file=lambda i: f"{i}.png", side="OS", grade=lambda i: "ab"[i % 2]
)
# the change of the table, settings of the build, and the sentence
KINDS = {
    # files of another kind, and how to convert them
    "an Excel workbook": (content(zipped("[Content_Types].xml", "xl/workbook.xml")), {},
        "an Excel workbook; save it from"),
    "a zip of a table": (content(zipped("table.csv")), {}, "or another zip file"),
    "an OpenDocument table": (content(zipped("mimetype", "opendocument.spreadsheet")), {}, "an OpenDocument table"),
    "a gzipped table": (lambda f: content(gzip.compress((f / "table.csv").read_bytes()))(f), {},
        "gzip file; unpack it"),
    "bzip2": (content(b"BZh91AY&SY"), {}, "bzip2 file; unpack it: bunzip2"),
    "xz": (content(b"\xfd7zXZ\x00\x00"), {}, "xz file"),
    "7z": (content(b"7z\xbc\xaf\x27\x1c"), {}, "7z archive"),
    "zstd": (content(b"(\xb5/\xfd\x04"), {}, "zstd file"),
    "Parquet": (content(b"PAR1\x15\x04"), {}, "a Parquet file; convert it: pandas.read_parquet"),
    "HDF5": (content(b"\x89HDF\r\n\x1a\n"), {}, "HDF5"),
    "SQLite": (content(b"SQLite format 3\x00"), {}, "SQLite database"),
    "a pickle": (content(b"\x80\x04\x95\x10"), {}, "Python pickle"),
    "RTF": (content(b"{\\rtf1\\ansi"), {}, "word processor"),
    "SPSS": (content(b"$FL2@(#)"), {}, "SPSS"),
    "Stata": (content(b"<stata_dta><header>"), {}, "Stata"),
    "an image": (content(b"\xff\xd8\xff\xe0"), {}, "an image (JPEG); data.manifest is the table"),
    "a DICOM file": (content(b"\0" * 128 + b"DICM"), {}, "DICOM file"),
    "JSON": (content(b'[{"patient_id": "P0"}]'), {}, "JSON; convert it: pandas.read_json"),
    "JSON lines": (content(b'{"patient_id": "P0"}\n'), {}, "JSON"),
    "XML": (content(b"\xef\xbb\xbf<?xml version='1.0'?>"), {}, "web page"),
    "a pointer of Git LFS": (content(b"version https://git-lfs.github.com/spec/v1\n"), {}, "git lfs pull"),
    "UTF-32": (content((TEXT + "a\n").encode("utf-32")), {}, "in UTF-32; convert it: iconv -f UTF-32"),
    "UTF-16 with tabs": (content(TEXT.replace(",", "\t").encode("utf-16")), {}, "in UTF-16"),
    "Cyrillic": (content((TEXT + "сетчатка в норме\n").encode("cp1251")), {},
        "Windows-1251; convert it: iconv -f CP1251"),
    "Western": (content((TEXT + "a\nQ,1.png,Trübung\n").encode("cp1252")), {}, "The first such line is 3"),
    "Chinese further down": (content((TEXT + "a\nQ,1.png,糖尿病视网膜病变\n").encode("gbk")), {}, "GBK"),
    "columns between bars": (content(b"patient_id|image|label\nP|0.png|a\n"), {},
        "line 1: its columns are separated by |"),
    "another sep": (content(b"sep=|\npatient_id|image|label\n"), {}, "line 1 says that '|' separates"),
    # columns
    "a column a letter away": (rows("patient_id,image,eye,lable"), {}, "the column lable is nearly label; rename it"),
    "two letters swapped": (rows("patient_id,image,eye,label,slpit"), {}, "the column slpit is nearly split"),
    "a plural": (rows("patient_id,image,eye,label,texts"), {}, "the column texts is nearly text"),
    "another letter case": (rows("Patient_ID,image,eye,label"), {}, "the column Patient_ID is nearly patient_id"),
    "an image column of another name": (rows("patient_id,filename,eye,label"), {},
        "Did you mean data.columns: {image: filename}"),
    "labels of another name": (rows("patient_id,image,eye,diagnosis"), {},
        "Did you mean data.columns: {label: diagnosis}"),
    "patients of another name": (rows("subject,image,eye,label"), {},
        "Did you mean data.columns: {patient_id: subject}"),
    "keywords that lack": (rows(), {"source": "odir", "class_map": "classes.yaml"},
        "lacks the column one of left_keywords"),
    # values
    "eyes by another number": (rows(eye=lambda i: str(i % 2)), {}, "Line 2: the eye is a number; it must be left"),
    "both eyes in one image": (rows(eye="OU"), {}, "Line 2: the eye is no eye's name"),
    "an eye in two words": (rows(eye="left or right"), {},
        "the eye is no eye's name; it must be left, right or unknown (the column eye"),
    "folds": (rows(HEADS + ",split", split=lambda i: f"fold {i % 5}"), {}, "split is none of ours; it must be train"),
    "rounded ids": (rows(patient_id=lambda i: f"2.0{i}E+13"), {},
        "cells of patient_id are numbers that a spreadsheet has rounded"),
    "ids with and without zeros": (rows(patient_id=lambda i: f"{i // 2:0{1 + 2 * (i % 2)}d}"), {},
        "patient ids differ in letter case"),
    "ids in two letter cases": (rows(patient_id=lambda i: f"{'Pp'[i % 2]}{i // 2}"), {},
        "(the first in lines 2 and 3)"),
    "no id at all": (rows(patient_id="N/A"), {}, "Line 2: patient_id is empty"),
    "no image at all": (rows(image="-"), {}, "Line 2: image is empty"),
    "images in Windows' way": (rows(image=lambda i: f"C:\\photos\\{i}.png"), {},
        "Line 2: the image file does not exist"),
    "another ending": (rows(image=lambda i: f"{i}.jpg"), {}, "does not exist; it does with the ending .png"),
    "no ending": (rows(image=str), {}, "does not exist; it does with the ending .png"),
    "another letter case of files": (rows(image=lambda i: f"{i}.PNG"), {}, "with the ending .png"),
    "no label is said": (rows(label="null", text="none"), {}, "no sample has a text or a label"),
    "one class in two spellings": (rows(label=lambda i: ("Dry AMD", "dry amd")[i % 2]), {},
        "with one class there is nothing"),
    "one list": (rows("patient_id,image,eye,label", label="['a']"), {}, "with one class there is nothing"),
    # declarations
    "a column that is not there": (OTHER, {"columns": {**NAMED, "text": "report"}},
        "data.columns.text is report, which is no column"),
    "a column in other letter case": (OTHER, {"columns": {**NAMED, "label": "Grade"}}, "did you mean grade?"),
    "an eye's column by number": (rows("patient_id,image,exam_eye,label", exam_eye="2"),
        {"columns": {"eye": "exam_eye"}},
                                  "(the column exam_eye; data.values.eye can say which is which)"),
    "columns of other numbers": (rows("patient_id,image,DR,AMD", DR="3", AMD="0"),
        {"columns": {"label": {"one_hot": ["DR", "AMD"]}}},
                                 "Line 2: the column DR is neither 0 nor 1"),
    "a pattern that finds no eye": (rows("patient_id,image,label"), {"columns": {"eye": {"pattern": "_(OD|OS)"}},
        "max_bad_fraction": 0,
                                    "values": {"label": {"b": "a"}}}, "with one class there is nothing to tell apart"),
    "an eye that is none": (rows(), {"values": {"eye": {"left": "links"}}}, "data.values.eye: links is no eye"),
    "a split that is none": (rows(), {"values": {"split": {"1": "training"}}},
        "data.values.split: training is no split"),
    "values of no column": (rows(), {"values": {"lable": {"a": "b"}}}, "data.values.lable; did you mean label?"),
    "one column with two meanings": (rows(), {"columns": {"text": "eye"}, "values": {"text": {"left": "Drusen"}}},
        "data.columns: the column eye is both eye and text, whose values differ"),
    "a name of no file": (rows(), {"image_pattern": "{ID}.png"}, "data.image_pattern: {ID} is no column"),
    "a number that is none": (rows("patient_id,name,label"), {"image_pattern": "{name:04d}.png"},
        "{name:04d} does not fit"),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_a_table_of_another_kind_is_one_sentence(folder, capsys, name):
    change, flags, sentence = KINDS[name]
    change(folder)
    (folder / "classes.yaml").write_text("Normal: [fine]\n")
    flags = {key: folder / value if key == "class_map" else value for key, value in flags.items()}
    code, said = build(folder, capsys, **flags)
    assert code == 1, said
    (error,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert sentence in error, error
    assert len(error.replace(str(folder), "")) <= 300, error
    assert error.isprintable()
    assert "Traceback" not in said
    assert not (folder / "out/fingerprint.json").exists()


CONFIGS = {
    "columns of a folder": ({"source": "retclip_tsv", "columns": {"label": "x"}}, "data.columns is for tables"),
    "a number for a column": ({"columns": {"label": 3}}, "data.columns.label is 3; it must be a string"),
    "a list for a column": ({"columns": {"label": ["a", "b"]}}, "data.columns.label"),
    "one-hot eyes": ({"columns": {"eye": {"one_hot": ["label"]}}}, "one_hot belongs to label"),
    "one-hot and a pattern": ({"columns": {"label": {"one_hot": ["label"], "pattern": "(a)"}}},
        "data.columns.label must be"),
    "an unknown key of one-hot": ({"columns": {"label": {"onehot": ["label"]}}}, "did you mean 'one_hot'"),
    "a pattern without a group in columns": ({"columns": {"eye": {"pattern": "OD"}}},
        "data.columns.eye.pattern needs a group"),
    "two patients": ({"patient_id": "text", "columns": {"patient_id": "image"}}, "name two columns; leave one out"),
    "a column that lacks": ({"columns": {"text": "reports"}}, "data.columns.text is reports, which is no column"),
    "an unknown name": ({"columns": {"lables": "label"}}, "did you mean label?"),
    "yes and no": ({"values": {"label": {True: "ill", False: "well"}}}, "put the word in quotes"),
    "values that are no mapping": ({"values": {"label": ["a"]}}, "data.values.label"),
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_a_declaration_is_checked_before_any_job(folder, name):
    changes, sentence = CONFIGS[name]
    config = merged()
    place = str(folder / "images") if "source" in changes else str(folder / "table.csv")
    class_map = str(REPOSITORY / "config/odir_classes.yaml")
    merge(config["data"], {"manifest": place, "image_root": str(folder / "images"), "class_map": class_map, **changes})
    with pytest.raises(ValueError, match=re.escape(sentence)) as caught:
        check_config(yaml.safe_load(yaml.safe_dump(config)))
    assert len(str(caught.value).replace(str(folder), "")) <= 300
    assert "\n" not in str(caught.value)


def test_a_line_that_names_the_separator_is_no_row(folder, capsys):
    """As Excel writes and reads it."""
    text = (folder / "table.csv").read_text().replace(",", ";")
    (folder / "table.csv").write_text("sep=;\n" + text)
    add(folder, "X;gone.png;left;a;Report.")
    code, said = build(folder, capsys, max_bad_fraction=0)
    assert code == 1
    assert f"line {GOOD + 3}: the image file does not exist" in said


def test_there_are_sixty_of_them():
    """And sixty in test_bad_input: 120 in all."""
    assert len(KINDS) + len(CONFIGS) >= 60
