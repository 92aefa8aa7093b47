"""What data say cannot act where people read it: no formula in a spreadsheet, no escape on a terminal."""

import ast

import pandas as pd
import pytest
from running import REPOSITORY

from retclip.core.io import write_csv
from retclip.core.logs import log, run_entry
from retclip.core.plain_text import as_cell, markdown, printable

HOSTILE = [
    '=HYPERLINK("http://x","y")',
    "+cmd|' /C calc'!A0",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1)",
    "\t=1+1",
    "\n=1",
    "＝1",
]


@pytest.mark.parametrize("cell", HOSTILE)
def test_a_cell_that_a_spreadsheet_would_run_is_text(tmp_path, cell):
    write_csv(tmp_path / "table.csv", pd.DataFrame({"name": [cell, "plain"], cell: ["a", "b"], "n": [-1.5, 2]}))
    found = pd.read_csv(tmp_path / "table.csv")
    assert found["name"][0] == "'" + cell
    assert list(found)[1] == "'" + cell
    assert found["name"][1] == "plain"
    assert found["n"].tolist() == [-1.5, 2]


@pytest.mark.parametrize("cell", ["-0.012", "+0.5", "-1e-05", "-0.012 (-0.03 to 0.01)", "a=b", "", "12 - 3", "-", "−3"])
def test_a_number_stays_as_it_is(cell):
    assert as_cell(cell) == cell


def test_no_other_place_writes_a_csv():
    places = []
    for path in (REPOSITORY / "scripts").rglob("*.py"):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)]
        places += [
            str(path.relative_to(REPOSITORY)) for node in calls if node.attr in ("to_csv", "DictWriter", "writerow")
        ]
    assert places == ["scripts/retclip/core/io.py"]


@pytest.mark.parametrize("text", ["\x1b[2J\x1b]0;owned\x07", "a\rb", "\u202egnp.exe", "\x9b31m", "x\x00y", "\u2066a"])
def test_an_escape_is_shown_and_not_sent(capsys, text):
    log(f"reading {text}")
    with pytest.raises(SystemExit):
        run_entry(lambda _: (_ for _ in ()).throw(ValueError(f"{text} is no class")))
    said = capsys.readouterr().err
    assert not any(letter in said for letter in "\x1b\x07\r\u202e\x9b\x00\u2066")
    assert "is no class" in said


def test_plain_words_are_printed_as_they_are():
    for text in ("Müller 眼 é — “x” 👁", "line 1\nline 2\tcell"):
        assert printable(text) == text


def test_a_class_cannot_write_a_card():
    said = markdown("x](http://evil) ![](a) `rm` | <script>\n# Head")
    assert "\n" not in said
    assert "<" not in said
    for mark in ("](", "![", "`", " | "):
        assert mark not in said.replace(r"\]", "").replace(r"\[", "").replace(r"\`", "").replace(r"\|", "")
    assert markdown("Diabetic Retinopathy, stage_2 (R1)") == "Diabetic Retinopathy, stage_2 (R1)"
