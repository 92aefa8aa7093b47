"""Neighbours of the tables in test_bad_input: what a spreadsheet, an exporter or a colleague makes of a good one."""

import base64
import json

import pandas as pd
import pytest
from small_tables import GOOD, add, build, built, prepared_patients, write

HEADS = "patient_id,image,eye,label,text"


@pytest.fixture
def folder(tmp_path):
    return prepared_patients(tmp_path)


def good(index: int) -> str:
    return f"P{index},{index}.png,left,{'ab'[index % 2]},Report {index}."


def with_split(splits: tuple[str, ...]) -> list[str]:
    return [f"{good(index)},{splits[index % len(splits)]}" for index in range(GOOD)]


def refused(folder, capsys, **flags) -> str:
    """The one sentence that ends a build."""
    code, said = build(folder, capsys, **flags)
    assert code == 1, said
    (error,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(error) <= 300 + len(str(folder)), error
    assert not (folder / "out/fingerprint.json").exists()
    return error


# --- whole splits, and all rows ---------------------------------------------------------------------------------


def test_rows_of_test_alone_are_refused_in_our_words(folder, capsys):
    write(folder, f"{HEADS},split", with_split(("test",)))
    assert "the train split is empty" in refused(folder, capsys)


def test_nothing_readable_is_refused_in_our_words(folder, capsys):
    """No image can be read, and the limit allows even that."""
    for index in range(GOOD):
        (folder / f"images/{index}.png").write_bytes(b"none")
    assert "no image can be used (lines 2, 3, 4, ...: the image cannot be read" in refused(
        folder, capsys, max_bad_fraction=1
    )


def test_a_split_column_is_not_mended_by_a_fraction(folder, capsys):
    """Where the table says the splits, data.test_fraction can add nobody to test."""
    write(folder, f"{HEADS},split", with_split(("train", "val")))
    error = refused(folder, capsys)
    assert "the test split is empty" in error
    assert "fraction" not in error
    assert "no sample is test" in error


def test_a_split_of_which_nothing_is_said_cannot_be_scored(folder, capsys):
    """Samples without a text would be one another's right answers: a recall of 1 for any model."""
    for silent in ("val", "test"):
        rows = [f"P{i},{i}.png,left,{'' if split == silent else f'Report {i}.'},{split}"
                for i, split in enumerate(("train", "val", "test")[i % 3] for i in range(GOOD))]  # fmt: skip
        write(folder, "patient_id,image,eye,text,split", rows)
        assert f"no sample of {silent} has a text or a label" in refused(folder, capsys)


# --- columns ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["Label", "TEXT", "Split", "EYE", "Sample_ID", "Visit", "la\u200bbel", "\uff4cabel", "text left"]
)
def test_a_column_that_is_nearly_ours_is_refused(folder, capsys, name):
    """A column Split that nothing reads would make another test set than the user's."""
    plain = {"la\u200bbel": "label", "\uff4cabel": "label"}.get(name, name.lower().replace(" ", "_"))
    heads = HEADS.split(",")
    heads = [head for head in heads if head != plain] if plain in heads else heads
    rows = [",".join([*[cell for cell, head in zip(good(i).split(","), HEADS.split(","), strict=True) if head in heads],
                      "x"]) for i in range(GOOD)]  # fmt: skip
    write(folder, ",".join([*heads, name]), rows)
    error = refused(folder, capsys)
    assert f"nearly {plain}" in error
    assert "rename" in error


def test_a_column_beside_ours_is_named(folder, capsys):
    """Where label is there, Label is another column, which nothing uses."""
    write(folder, f"{HEADS},Label", [f"{good(i)},x" for i in range(GOOD)])
    _, _, said = built(folder, capsys)
    assert "columns that nothing uses: Label" in said


def test_images_of_a_row_are_named_in_one_way(folder, capsys):
    """Forty images of image_left would be left out with a remark about a column."""
    write(folder, f"{HEADS},image_left", [f"{good(i)},{(i + 1) % GOOD}.png" for i in range(GOOD)])
    error = refused(folder, capsys)
    assert "image" in error
    assert "image_left" in error
    assert "40" in error


def test_a_header_is_one_line_of_bounded_length(folder, capsys):
    long = "Y" * 3000
    write(folder, f'{HEADS},"My\nown column",{long},\x1b[31mred', [f"{good(i)},1,2,3" for i in range(GOOD)])
    _, _, said = built(folder, capsys)
    (line,) = [line for line in said.splitlines() if "columns that nothing uses" in line]
    assert "My own column" in line
    assert len(line) < 300
    assert "\x1b" not in line
    write(folder, f"patient_id,image,eye,{long}", [f"P{i},{i}.png,left,x" for i in range(GOOD)])
    (folder / "out/fingerprint.json").unlink()
    refused(folder, capsys)


# --- ids --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", ["2.02E+13", "2,02E+13", "1e+05"])
@pytest.mark.parametrize("column", ["patient_id", "sample_id"])
def test_ids_that_a_spreadsheet_rounded_are_refused(folder, capsys, number, column):
    """20200000000001 and 20200000000002 are both 2.02E+13 there: two people would be one."""
    rows = [f'"{number}",{good(i)}' for i in range(4)] + [f"S{i},{good(i)}" for i in range(4, GOOD)]
    heads = f"sample_id,{HEADS}" if column == "sample_id" else f"patient_id,{HEADS.replace('patient_id', 'old_id')}"
    write(folder, heads, rows)
    error = refused(folder, capsys, max_bad_fraction=0.2)
    assert "4 cells of " + column in error
    assert "line 2" in error
    assert number not in error


def test_an_id_with_an_e_is_an_id(folder, capsys):
    (folder / "table.csv").write_text((folder / "table.csv").read_text().replace("P0,", "12E3,"))
    frame, _, _ = built(folder, capsys)
    assert "12E3" in frame.index


# --- labels -----------------------------------------------------------------------------------------------------


def notes(folder, capsys, cells: tuple[str, ...]) -> str:
    rows = [f'P{i},{i}.png,left,"{cells[i % len(cells)]}",Report {i}.' for i in range(GOOD)]
    write(folder, HEADS, rows)
    built(folder, capsys)
    return " ".join(json.loads((folder / "out/fingerprint.json").read_text())["reconciliation"]["notes"])


def test_labels_that_are_joined_in_another_way_are_asked_about(folder, capsys):
    for cells in (("['a']", "['b']", "['a', 'b']"), ('["a"]', '["b"]', '["a", "b"]'), ("[1]", "[2]", "[1, 2]")):
        assert "seem to join" not in notes(folder, capsys, tuple(cell.replace('"', '""') for cell in cells))
        assert len(set(pd.read_parquet(folder / "out/samples.parquet")["label_left"])) == 3
        assert len(json.loads((folder / "out/fingerprint.json").read_text())["classes"]) == 2
    assert "13 labels seem to join" in notes(folder, capsys, ("a", "b", "[a, b]"))
    for cells in (("a", "b", "a; b"), ("a", "b", "a, b"), ("a", "b", "b/a")):
        said = notes(folder, capsys, cells)
        assert "13 labels seem to join" in said, (cells, said)
        assert cells[2] in said
    assert notes(folder, capsys, ("a", "b", "no a, but c")) == ""


def test_labels_that_differ_in_form_alone_are_one(folder, capsys):
    """The more frequent spelling stands for both, and that is said; blanks within are nobody's."""
    for cells in (("AMD", "amd", "AMD", "b"), ("0", "1", "1.0", "1"), ("\uff21MD", "AMD", "AMD", "b")):
        said = notes(folder, capsys, cells)
        assert "classes differ in letter case, blanks, width or a final .0 alone" in said, (cells, said)
        assert len(json.loads((folder / "out/fingerprint.json").read_text())["classes"]) == 2
        assert max(cells, key=cells.count) in set(pd.read_parquet(folder / "out/samples.parquet")["label_left"])
    notes(folder, capsys, ("dry  AMD", "dry AMD", "b"))
    assert json.loads((folder / "out/fingerprint.json").read_text())["classes"] == ["b", "dry AMD"]


def test_two_rows_of_an_eye_that_spell_its_label_differently_are_one_sample(folder, capsys):
    rows = [
        f"P{i // 2},{i}.png,{('left', 'right')[i % 2]},{('No DR', 'no dr ', 'Mild', 'MILD')[i % 4]}"
        for i in range(GOOD)
    ]
    write(folder, "patient_id,image,eye,label", rows)
    frame, _, _ = built(folder, capsys, max_bad_fraction=0)
    assert len(frame) == GOOD // 2
    write(folder, "patient_id,image_left,image_right,label",
          [f"P{i // 2},{f'{i}.png,' if i % 2 else f',{i}.png'},{('No DR', 'no dr', 'Mild', 'MILD')[i % 4]}"
           for i in range(GOOD)])  # fmt: skip
    frame, _, _ = built(folder, capsys, max_bad_fraction=0)
    assert len(frame) == GOOD // 2


def test_classes_a_letter_apart_and_bare_numbers_are_asked_about(folder, capsys):
    said = notes(folder, capsys, ("Glaucoma", "Glaucome", "Retinopathy", "Retinophaty", "Grade 1", "Grade 2", "dry"))
    assert "4 classes differ from another in a letter or two (Glaucoma, Glaucome, Retinopathy, Retinophaty)" in said
    said = notes(folder, capsys, ("0", "1", "2", "3", "4"))
    assert "5 classes are bare numbers (0, 1, 2, 3, 4): prompts would read 'showing 0'" in said
    assert "data.values.label" in said
    assert (
        notes(folder, capsys, ("Stage A", "Stage B", "Grade II", "Grade III", "mild NPDR", "Dry AMD", "Wet AMD")) == ""
    )


def test_classes_that_may_mean_nothing_are_asked_about(folder, capsys):
    said = notes(folder, capsys, ("a", "b", "?", "unknown", "N.A.", "--", "missing", "nil", "ungradable"))
    assert "classes may be words for nothing" in said
    for word in ("?", "unknown", "N.A.", "--", "missing", "nil"):
        assert word in said
    assert "ungradable" not in said


# --- refusals ---------------------------------------------------------------------------------------------------


def test_many_rows_of_one_fault_are_told_in_one_short_sentence(folder, capsys):
    write(folder, f"{HEADS},split", with_split(("train", "fold 2", "test")))
    error = refused(folder, capsys)
    assert "13 of 40 rows cannot be used" in error
    assert "lines 3, 6, 9, ...: split is none of ours" in error
    assert error.count("split is none of ours") == 1


def test_a_cell_cannot_name_a_place_inside_another_file(folder, capsys):
    """Such places are made by the readers of upstream's files alone; they are not looked for below the image root."""
    content = base64.urlsafe_b64encode((folder / "images/0.png").read_bytes())
    (folder / "secret.tsv").write_bytes(content)
    for place in (f"tsv://../secret.tsv?0+{len(content)}", "tsv://gone.tsv?0+4", "lmdb://gone?left+00", "tsv://x"):
        write(folder, HEADS, [good(i) for i in range(GOOD)])
        add(folder, f"X,{place},left,a,Report.")
        code, said = build(folder, capsys)
        assert code == 0, said
        assert "X" not in set(pd.read_parquet(folder / "out/samples.parquet")["patient_id"])
        (problem,) = json.loads((folder / "out/fingerprint.json").read_text())["quarantined"]
        assert problem["reason"] == "the image path names a place inside another file, or on the net"


def test_a_further_text_column_is_no_column_of_another_use(folder, capsys):
    for column in ("label", "image", "eye", "patient_id", "text"):
        error = refused(folder, capsys, text_columns=[column])
        assert f"the column {column} has another use, so it is no further text" in error


def test_one_image_in_two_spellings_is_one_image(folder, capsys):
    for path in ("./0.png", "x/../0.png", ".//0.png"):
        write(folder, HEADS, [good(i) for i in range(GOOD)])
        add(folder, f"P0,{path},left,a,Report 0.")
        (folder / "images/x").mkdir(exist_ok=True)
        built(folder, capsys)
        (problem,) = json.loads((folder / "out/fingerprint.json").read_text())["quarantined"]
        assert problem["reason"] == "duplicate: this sample already has this left image", path


def test_a_label_is_one_line(folder, capsys):
    rows = [
        f'P{i},{i}.png,left,"dry{chr(10) if i % 2 else " "}AMD{chr(27) if i % 3 else ""}|b",R.' for i in range(GOOD)
    ]
    write(folder, HEADS, [*rows[:20], *(good(i) for i in range(20, GOOD))])
    frame, _, _ = built(folder, capsys)
    assert set(frame["label_left"]) == {"dry AMD|b", "a", "b"}


def test_rows_that_a_table_gives_to_test_are_not_trained_on(folder, capsys):
    """Beside a table of test samples of its own; the val rows of the first table stay val."""
    write(folder, f"{HEADS},split", with_split(("train", "val")))
    tests = folder / "tests.csv"
    tests.write_text("\n".join([HEADS, *(good(i).replace("P", "Q", 1) for i in range(10))]) + "\n")
    frame, _, _ = built(folder, capsys, test_manifest=tests)
    assert set(frame.loc[[f"P{i}" for i in range(1, GOOD, 2)], "split"]) == {"val"}
    (folder / "out/fingerprint.json").unlink()
    write(folder, f"{HEADS},split", with_split(("train", "val", "test")))
    error = refused(folder, capsys, test_manifest=tests)
    assert "table.csv: 13 samples have the split test (the first in line 4)" in error
    write(folder, f"{HEADS},split", with_split(("train", "val")))
    tests.write_text(
        "\n".join([f"{HEADS},split", *(f"{good(i)},train".replace("P", "Q", 1) for i in range(10))]) + "\n"
    )
    error = refused(folder, capsys, test_manifest=tests)
    assert "tests.csv: 10 samples have the split train (the first in line 2)" in error
