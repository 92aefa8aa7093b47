"""What people bring beside clean tables: empty lists, ages in other spellings, joined labels, images of fractions."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from small_tables import GOOD, built, forty_patients, write

from retclip.core.bounded import read_text
from retclip.data.images import read_fundus, read_image_file
from retclip.metrics.subgroups import groups_of


@pytest.fixture
def folder(tmp_path):
    return forty_patients(tmp_path)


@pytest.mark.parametrize("nothing", ["[]", '"[""""]"', "['nan']", "{}", "\"['', 'NA']\"", "[ None ]"])
def test_an_empty_list_is_no_class(folder, capsys, nothing):
    """As pandas writes a list without items; it was a class that is called []."""
    rows = [f"P{i},{i}.png,{('a', 'b', nothing)[i % 3]}" for i in range(GOOD)]
    write(folder, "patient_id,image,label", rows)
    frame, counts, said = built(folder, capsys)
    assert set(frame["label"]) == {"a", "b", ""}
    assert counts["labels"][0] == sum(i % 3 < 2 for i in range(GOOD))
    assert "13 cells of label are a word for nothing" in said


def test_ages_are_numbers_of_years_in_every_spelling(folder, capsys):
    """A spreadsheet's comma, DICOM's 064Y, and words behind a number; what is none is counted with its line."""
    ages = ["61,5", "062Y", "63 years", "64 y", "65", "66.0", "old", ""]
    rows = [f"P{i};{i}.png;{'ab'[i % 2]};{ages[i % len(ages)]}" for i in range(GOOD)]
    write(folder, "patient_id;image;label;age", rows)
    frame, _, said = built(folder, capsys)
    assert [frame.loc[f"P{i}", "age"] for i in range(len(ages))] == ["61.5", "62", "63", "64", "65", "66.0", "old", ""]
    assert (
        "5 of 35 ages are no number of years (the first in line 8): no check of ages and no model of age and sex "
        "counts them." in said
    )


def test_one_word_among_the_ages_hides_no_shortcut():
    """The class hangs on the age; with one cell that is no number, all ages were words of no order."""
    from retclip.data.shortcuts import _numbers

    ages = pd.DataFrame({"age": [str(age) for age in range(20, 80)] + ["old", ""]})
    found = _numbers(ages, ["age"])
    assert found is not None
    assert found[:, 0].tolist() == [*range(20, 80), -1, -1]


def test_groups_that_differ_in_spelling_alone_are_one(folder, capsys):
    """As tables of two sites that were put together have them; each spelling was a group of its own."""
    sexes, sites = ("M", "m", " M", "F", "f", "F"), ("Clinic A", "clinic a", "Clinic A", "CLINIC  A", "B", "b")
    rows = [f"P{i},{i}.png,{'ab'[i % 2]},{sexes[i % 6]},{sites[i % 6]}" for i in range(GOOD)]
    write(folder, "patient_id,image,label,sex,site", rows)
    frame, _, said = built(folder, capsys)
    assert frame["sex"].value_counts().to_dict() == {"M": 21, "F": 19}
    assert set(frame["site"]) == {"Clinic A", "B"}
    assert "4 values of sex differ in letter case, blanks, width or a final .0 alone (F, M, f, m)" in said
    groups = {(variable, group): len(ids) for variable, group, ids in groups_of(frame.reset_index(), 10)}
    assert groups == {("sex", "M"): 21, ("sex", "F"): 19, ("site", "Clinic A"): 28, ("site", "B"): 12}


def test_a_blank_parts_the_numbers_of_sites(folder, capsys):
    rows = [f"P{i},{i}.png,{'ab'[i % 2]},{('1 12', '11 2')[i % 2]}" for i in range(GOOD)]
    write(folder, "patient_id,image,label,site", rows)
    assert set(built(folder, capsys)[0]["site"]) == {"1 12", "11 2"}


def test_a_letter_beside_the_word_that_begins_with_it_is_asked_about(folder, capsys):
    sexes = ("M", "male", "F", "female")
    rows = [f"P{i},{i}.png,{'ab'[i % 2]},{sexes[i % 4]}" for i in range(GOOD)]
    write(folder, "patient_id,image,label,sex", rows)
    frame, _, said = built(folder, capsys)
    assert set(frame["sex"]) == set(sexes)
    assert "sex: do F and female, M and male mean the same? data.values.sex can make them one." in said
    frame, _, said = built(folder, capsys, values={"sex": {"male": "M", "female": "F"}})
    assert set(frame["sex"]) == {"M", "F"}
    assert "mean the same" not in said


def test_a_second_reader_speaks_the_words_of_the_labels(folder, capsys):
    """What data.values says of labels holds for these, too; else all of their codes would be misses."""
    second = ("0", "1.0", "mild dr", "NoDR", "Drusen", "")
    rows = [f"P{i},{i}.png,{i % 2},{second[i % 6]}" for i in range(GOOD)]
    write(folder, "patient_id,image,label,label_2", rows)
    frame, _, said = built(folder, capsys, values={"label": {"0": "No DR", "1": "Mild DR"}})
    assert [frame.loc[f"P{i}", "label_2"] for i in range(6)] == ["No DR", "Mild DR", "Mild DR", "No DR", "Drusen", ""]
    assert (
        "6 labels of the second reader are no class of the data (Drusen), and count as disagreements; "
        "data.values.label_2 can name their class." in said
    )


@pytest.mark.parametrize("joint", [";", "；", "、"])
def test_joined_labels_are_noticed_where_none_of_them_stands_alone(folder, capsys, joint):
    kinds = [f"正常{joint}青光眼", f"青光眼{joint}近视", f"近视{joint}正常"]
    write(folder, "patient_id,image,label", [f"P{i},{i}.png,{kinds[i % 3]}" for i in range(GOOD)])
    _, _, said = built(folder, capsys)
    assert "40 labels seem to join several" in said


def of_fractions(values: np.ndarray) -> np.ndarray:
    content = io.BytesIO()
    Image.fromarray(values.astype(np.float32)).save(content, format="TIFF")
    return read_fundus(content.getvalue(), 32).pixels


def test_a_tiff_of_fractions_is_not_black():
    """Programs for analysis write gray values from 0 to 1; of 255, they are all black."""
    y, x = np.mgrid[:64, :64]
    values = np.where(np.hypot(x - 32, y - 32) < 28, 0.3 + 0.6 * x / 64, 0)
    expected = of_fractions(values * 255)
    assert expected.max() > 200
    assert np.abs(of_fractions(values).astype(int) - expected).max() <= 1
    # a resampling may overshoot a little
    assert np.abs(of_fractions(values * 1.1).astype(int) - (expected * 1.1).clip(0, 255)).max() <= 3


def test_a_folder_that_is_called_like_a_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="the image file is a pipe, a device or a folder"):
        read_image_file(tmp_path)
    with pytest.raises(ValueError, match="is a pipe, a device or a folder; give a file"):
        read_text(tmp_path)
