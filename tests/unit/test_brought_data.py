"""What people bring beside clean tables: empty lists, ages in other spellings, joined labels, images of fractions."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from small_tables import GOOD, built, forty_patients, write

from retclip.core.bounded import read_text
from retclip.data.images import read_fundus, read_image_file


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
