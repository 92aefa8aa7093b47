"""What data.columns and data.values say of a table: each declared column is the one that is read, and no other."""

import json

import pandas as pd
import pytest
from PIL import Image
from small_tables import GOOD, build, built, prepared_patients, write


@pytest.fixture
def folder(tmp_path):
    return prepared_patients(tmp_path)


def refused(folder, capsys, **flags) -> str:
    """The one sentence that ends a build."""
    code, said = build(folder, capsys, **flags)
    assert code == 1, said
    (error,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(error) <= 300 + len(str(folder)), error
    return error


GRADES = {"0": "No DR", "1": "Mild DR", "2": "Severe DR"}


def test_a_table_of_other_names_is_read_by_its_declaration(folder, capsys):
    """As BRSET's labels: eyes by number, grades by number, ids without an ending."""
    write(folder, "image_id,patient,exam_eye,patient_age,DR_ICDR,quality",
          [f"{i},{i // 2},{1 + i % 2},{40 + i // 2}.0,{i // 2 % 3},ok" for i in range(GOOD)])  # fmt: skip
    frame, counts, said = built(
        folder, capsys, max_bad_fraction=0, image_pattern="{image}.png",
        columns={"image": "image_id", "patient_id": "patient", "eye": "exam_eye", "age": "patient_age",
                 "label": "DR_ICDR", "ignore": ["quality"]},
        values={"eye": {"1": "right", "2": "left"}, "label": GRADES},
    )  # fmt: skip
    assert counts["labels"] == counts["images"] == (GOOD, GOOD, 0, 0)
    assert len(frame) == GOOD // 2
    row = frame.loc["1"]
    assert (row["source_right"], row["source_left"], row["eyes"]) == ("2.png", "3.png", "both")
    assert (row["label_left"], row["age"]) == ("Mild DR", "41.0")
    assert "nothing uses" not in said


def test_only_what_is_declared_has_the_name(folder, capsys):
    """A column that is declared as another thing is not also what its own name says."""
    write(
        folder, "patient_id,image,eye,label,text", [f"P{i},{i}.png,left,Drusen {i},{'ab'[i % 2]}" for i in range(GOOD)]
    )
    frame, _, _ = built(folder, capsys, columns={"label": "text", "text": "label"})
    assert (frame.loc["P3", "label_left"], frame.loc["P3", "text_left"]) == ("b", "Drusen 3")
    frame, _, said = built(folder, capsys, columns={"label": "text"})
    assert frame.loc["P3", "label_left"] == "b"
    assert frame["text"].str.startswith("A fundus photograph").all()
    assert "columns that nothing uses: label" in said


def test_one_column_may_be_two_things(folder, capsys):
    write(folder, "patient_id,file,label", [f"P{i},{i}.png,{'ab'[i % 2]}" for i in range(GOOD)])
    frame, _, _ = built(folder, capsys, columns={"image": "file", "sample_id": "file"})
    assert frame.loc["3.png", "source_left"] == "3.png"


def test_columns_of_zero_and_one_become_labels(folder, capsys):
    rows = [f"{i},{int(i % 4 > 0)},{int(i % 4 in (1, 3))},{('0.0', '0.0', '1.0', '1.0')[i % 4]}" for i in range(GOOD)]
    write(folder, "ID,Disease_Risk,DR,ARMD", rows)
    flags = {"patient_id": "none", "image_pattern": "{ID}.png"}
    one_hot = {"one_hot": ["DR", "ARMD"]}
    frame, counts, said = built(folder, capsys, **flags, columns={"label": one_hot, "ignore": ["Disease_Risk"]})
    assert sorted(set(frame["label"])) == ["", "ARMD", "DR", "DR|ARMD"]
    assert counts["labels"] == (30, 30, 0, 0)
    assert "10 rows have 0 in all of them" in said
    one_hot["otherwise"] = "Normal"
    values = {"label": {"ARMD": "Age-related macular degeneration"}}
    frame, _, _ = built(folder, capsys, **flags, columns={"label": one_hot}, values=values)
    assert set(frame["label"]) == {
        "Normal",
        "DR",
        "Age-related macular degeneration",
        "DR|Age-related macular degeneration",
    }
    write(folder, "ID,Disease_Risk,DR,ARMD", [*rows[:-1], "39,1,2,0"])
    assert "line 41: the column DR is neither 0 nor 1" in refused(
        folder, capsys, **flags, columns={"label": one_hot}, max_bad_fraction=0
    )


def test_a_pattern_finds_eye_and_label_in_the_path(folder, capsys):
    """As in FIVES and PAPILA, whose names say it."""
    for i in range(GOOD):
        (folder / f"images/{i}.png").rename(
            folder / f"images/RET{i // 2:03d}{('OD', 'OS')[i % 2]}_{'AN'[i // 2 % 2]}.png"
        )
    names = sorted(path.name for path in (folder / "images").iterdir())
    write(folder, "file", names)
    frame, _, _ = built(
        folder, capsys, patient_id="pattern:RET([0-9]+)", values={"label": {"A": "AMD", "N": "Normal"}},
        columns={"image": "file", "eye": {"pattern": "(OD|OS)"}, "label": {"pattern": r"_([AN])\."}},
    )  # fmt: skip
    assert len(frame) == GOOD // 2
    assert frame["eyes"].eq("both").all()
    assert frame.loc["001", ["label_left", "label_right"]].tolist() == ["Normal", "Normal"]


EYE_WORDS = {
    "left": ("left", "L", "OS", "o.s.", "Left Eye", "LE", "left_eye", "oculus sinister", "OS (left)", "l."),
    "right": ("right", "R", "OD", "O.D.", "right eye", "RE", "RIGHT", "oculus dexter", "Right-Eye", "r."),
}


def test_usual_spellings_of_eye_and_split_need_no_map(folder, capsys):
    rows = []
    splits = {
        "train": ("Training", "train", "TRAIN"),
        "val": ("valid", "Validation", "dev"),
        "test": ("Test", "testing"),
    }
    words = [(eye, word) for eye, found in EYE_WORDS.items() for word in found]
    said = [(split, word) for split, found in splits.items() for word in found]
    for i in range(GOOD):
        rows.append(f"P{i},{i}.png,{words[i % len(words)][1]},{'ab'[i % 2]},{said[i % len(said)][1]}")
    write(folder, "patient_id,image,eye,label,split", rows)
    frame, _, _ = built(folder, capsys, max_bad_fraction=0)
    for i in range(GOOD):
        assert frame.loc[f"P{i}", "eyes"] == words[i % len(words)][0], words[i % len(words)]
        assert frame.loc[f"P{i}", "split"] == said[i % len(said)][0]


def test_a_class_may_be_called_na_where_the_config_says_so(folder, capsys):
    write(
        folder,
        "patient_id,image,eye,label",
        [f"P{i},{i}.png,left,{('NA', 'GC', 'NA|GC', 'nan')[i % 4]}" for i in range(GOOD)],
    )
    frame, counts, _ = built(folder, capsys, values={"label": {"NA": "NA"}})
    assert counts["labels"] == (30, 30, 0, 0)
    assert [frame.loc[f"P{i}", "label_left"] for i in range(4)] == ["NA", "GC", "NA|GC", ""]


def test_a_value_that_stands_for_nothing(folder, capsys):
    write(
        folder,
        "patient_id,image,eye,label,age",
        [f"P{i},{i}.png,left,{('a', 'b', '-1', '9.0')[i % 4]},999" for i in range(GOOD)],
    )
    frame, counts, said = built(
        folder, capsys, values={"label": {"-1": "", "9": ""}, "age": {"999": ""}, "eye": {"links": "left"}}
    )
    assert counts["labels"] == (20, 20, 0, 0)
    assert frame["age"].eq("").all()
    assert "data.values.eye: no row has links" in said


NUMBERS = ["P0,0.png,1,a", *(f"P{i},{i}.png,{1 + i % 2},{'ab'[i % 2]}" for i in range(1, GOOD))]
# changes of the table, of the settings, and what is said; the sentence names the column of the table
WRONG = {
    "eyes by number": ("patient_id,image,exam_eye,label", NUMBERS, {"columns": {"eye": "exam_eye"}},
                       "the column exam_eye; data.values.eye can say which is which"),
    "no such column": (None, None, {"columns": {"eye": "Eye_side"}},
        "data.columns.eye is Eye_side, which is no column"),
    "nearly a column": (None, None, {"columns": {"label": "Lable"}}, "did you mean label?"),
    "one-hot of no column": (None, None, {"columns": {"label": {"one_hot": ["DR"]}}}, "data.columns.label.one_hot: DR"),
    "a map to no eye": (None, None, {"values": {"eye": {"left": "up"}}}, "data.values.eye: up is no eye"),
    "a map to no split": (None, None, {"values": {"split": {"1": "first"}}}, "data.values.split: first is no split"),
    "an unknown name": (None, None, {"columns": {"lable": "label"}}, "data.columns.lable; did you mean label?"),
    "an ignored column that is read": (None, None, {"columns": {"ignore": ["label"], "label": "label"}},
        "data.columns.ignore"),
    "pattern of no column": (None, None, {"image_pattern": "{nr}.png"}, "data.image_pattern: {nr} is no column"),
    "a split column by one letter": ("patient_id,image,eye,label,splt",
                                     [f"P{i},{i}.png,left,{'ab'[i % 2]},train" for i in range(GOOD)], {},
                                     "the column splt is nearly split"),
    "labels by one letter": ("patient_id,image,eye,Label_lefts,text",
                             [f"P{i},{i}.png,left,a,Report." for i in range(GOOD)], {}, "is nearly label_left"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_declaration_is_one_sentence(folder, capsys, name):
    heads, rows, flags, sentence = WRONG[name]
    if heads:
        write(folder, heads, rows)
    assert sentence in refused(folder, capsys, **flags)


def test_an_ignored_column_is_not_asked_about(folder, capsys):
    write(folder, "patient_id,image,eye,label,splt", [f"P{i},{i}.png,left,{'ab'[i % 2]},train" for i in range(GOOD)])
    _, _, said = built(folder, capsys, columns={"ignore": ["splt"]})
    assert "splt" not in said


def test_unused_columns_are_listed_once_with_what_they_may_be(folder, capsys):
    write(folder, "patient_id,image,eye,label,Findings,Laterality,hospital",
          [f"P{i},{i}.png,left,{'ab'[i % 2]},Drusen,L,A" for i in range(GOOD)])  # fmt: skip
    _, _, said = built(folder, capsys)
    (line,) = [line for line in said.splitlines() if "nothing uses" in line]
    assert "columns that nothing uses: Findings, Laterality, hospital" in line
    assert "did you mean data.columns: {text: Findings}" in line


def test_a_declared_table_and_its_renamed_copy_are_one_data_set(folder, capsys):
    write(folder, "a,b,c,d,e", [f"P{i},{i}.png,{1 + i % 2},{i % 2},Text {i}" for i in range(GOOD)])
    columns = {"patient_id": "a", "image": "b", "eye": "c", "label": "d", "text": "e"}
    built(folder, capsys, columns=columns, values={"eye": {"1": "left", "2": "right"}, "label": {"0": "x", "1": "y"}})
    first = json.loads((folder / "out/fingerprint.json").read_text())["sha256"]
    write(folder, "patient_id,image,eye,label,text",
          [f"P{i},{i}.png,{('left', 'right')[i % 2]},{'xy'[i % 2]},Text {i}" for i in range(GOOD)])  # fmt: skip
    built(folder, capsys)
    assert json.loads((folder / "out/fingerprint.json").read_text())["sha256"] == first


def test_prompts_and_keywords_take_declared_columns_too(folder, capsys):
    write(folder, "nr,cls,sentence", [f"{i},{i % 2},Report {i}" for i in range(GOOD)])
    frame, _, _ = built(folder, capsys, source="prompts", patient_id="none", image_pattern="{dataset_index}.*",
                        columns={"dataset_index": "nr", "label": "cls", "prompt": "sentence"},
                        values={"label": {"0": "Healthy", "1": "Ill"}})  # fmt: skip
    assert frame.loc["3", ["label", "text"]].tolist() == ["Ill", "Report 3"]
    for i in range(GOOD):
        for eye in ("left", "right"):
            Image.open(folder / f"images/{i}.png").save(folder / f"images/{i}_{eye}.png")
    (folder / "classes.yaml").write_text("Normal: [fine]\nIll: [ill]\n")
    write(folder, "nr,links,rechts", [f"{i},{('fine', 'ill')[i % 2]},fine" for i in range(GOOD)])
    frame, _, _ = built(folder, capsys, source="odir", class_map=folder / "classes.yaml",
                        image_pattern="{patient_id}_{eye}.png",
                        columns={"patient_id": "nr", "left_keywords": "links", "right_keywords": "rechts"})  # fmt: skip
    assert frame.loc["3", ["label_left", "label_right"]].tolist() == ["Ill", "Normal"]
    assert isinstance(frame, pd.DataFrame)
