"""Image paths that are not there get the nearest name that is, in words that quote no path; links follow one rule."""

import os
import unicodedata

import numpy as np
import pytest
from dicom_files import DRAWN, dicom
from PIL import Image

from retclip.data.source import Source
from retclip.data.sources.registry import read_source

MISSING = "the image file does not exist"
# what the table says, the file that is there, what the sentence adds
NEAR = [
    ("a.jpg", "a.png", "it does with the ending .png"),
    ("a.jpg", "a.JPG", "it does with the ending .JPG"),
    ("A.jpg", "a.jpg", "it does in other letter case"),
    ("IMG/a.jpg", "img/a.jpg", "it does in other letter case"),
    ("a", "a.jpeg", "it does with the ending .jpeg"),
    ("1.2.276.0.75", "1.2.276.0.75.dcm", "it does with the ending .dcm"),
    ("sub\\a.jpg", "sub/a.jpg", "it does with / for \\"),
    ("C:\\data\\sub\\a.jpg", "sub/a.jpg", "it does with / for \\, in another folder"),
    ("a.jpg", "train/a.jpg", "it does in another folder"),
    ("train/a.jpg", "a.jpg", "it does in another folder"),
    ("train/a.jpg", "test/x/a.jpg", "it does in another folder"),
    ("ａ１.jpg", "a1.jpg", "it does in another Unicode form"),
    ("a_001.jpg", "a-1.jpg", "it does in another spelling"),
    ("7.jpg", "007.jpg", "it does in another spelling"),
    ("train/A", "test/a.png", "it does in another folder, in other letter case, with the ending .png"),
]


def folder_of(tmp_path, *names):
    for name in names:
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(DRAWN).save(path, "PNG")
    return tmp_path


def reason_of(tmp_path, location, **source):
    """Why an image of a table cannot be used; "" where it can."""
    (tmp_path / "table.csv").write_text(f'patient_id,image,label\nP0,good.png,x\nP1,"{location}",y\n')
    _, problems = read_source(Source("manifest", tmp_path / "table.csv", tmp_path / "images", **source))
    return problems[0]["reason"] if problems else ""


@pytest.mark.parametrize(("location", "there", "added"), NEAR, ids=[f"{a} for {b}" for a, b, _ in NEAR])
def test_a_path_that_is_not_there_gets_the_nearest_that_is(tmp_path, location, there, added):
    folder_of(tmp_path, "good.png", there)
    assert reason_of(tmp_path, location) == f"{MISSING}; {added}"


def test_the_nearest_of_several_is_told(tmp_path):
    folder_of(tmp_path, "good.png", "b/a.JPG", "a.jpeg", "c/a.jpg")
    assert reason_of(tmp_path, "a.jpg") == f"{MISSING}; it does with the ending .jpeg"


def test_what_is_near_to_nothing_gets_no_advice(tmp_path):
    folder_of(tmp_path, "good.png", "a.jpg")
    assert reason_of(tmp_path, "b.jpg") == MISSING


def test_a_path_of_another_machine_is_looked_for_below_the_root(tmp_path):
    folder_of(tmp_path, "good.png", "a.jpg")
    told = reason_of(tmp_path, "/kaggle/input/fundus/a.jpg")
    assert told == "the image path leads out of the image root; a file of its name lies below it"
    assert reason_of(tmp_path, "/kaggle/input/fundus/b.jpg") == "the image path leads out of the image root"


def test_no_sentence_names_a_file(tmp_path):
    """A file may be called after a patient, and logs name nobody; nor is a part of a name taken for an ending."""
    folder_of(tmp_path, "good.png", "Jane.Roe", "x/Jane.png")
    for location in ("jane.png", "Jane", "jane.roe", "x/Jane.Roe"):
        told = reason_of(tmp_path, location)
        assert told.startswith(MISSING), location
        assert "roe" not in told.lower(), told
        assert "jane" not in told.lower(), told


def test_a_name_in_the_other_unicode_form_is_read(tmp_path):
    folder_of(tmp_path, "good.png", unicodedata.normalize("NFD", "Zoé.png"))
    assert reason_of(tmp_path, unicodedata.normalize("NFC", "Zoé.png")) == ""


# --- links -----------------------------------------------------------------------------------------------------

LINK = "the image path is a symbolic link out of the image root"


def linked(tmp_path, to_folder=False):
    """images/link.png (or images/link/a.png) leads to a file of the disk beside it."""
    folder_of(tmp_path, "good.png")
    (tmp_path / "disk").mkdir()
    Image.fromarray(DRAWN).save(tmp_path / "disk/a.png")
    link = tmp_path / "images" / ("link" if to_folder else "link.png")
    link.symlink_to(tmp_path / ("disk" if to_folder else "disk/a.png"))
    return link, "link/a.png" if to_folder else "link.png"


@pytest.mark.parametrize("to_folder", [False, True])
def test_a_link_of_the_tables_owner_to_his_own_data_is_read(tmp_path, to_folder):
    _, location = linked(tmp_path, to_folder)
    assert reason_of(tmp_path, location) == ""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("to_folder", [False, True])
@pytest.mark.parametrize("whose", ["link", "data", "table"])
def test_a_link_of_another_or_to_the_data_of_another_is_named(tmp_path, whose, to_folder):
    link, location = linked(tmp_path, to_folder)
    if whose == "link":
        os.lchown(link, 1234, -1)
    elif whose == "data":
        os.chown(tmp_path / "disk/a.png", 1234, -1)
    else:
        (tmp_path / "table.csv").write_text("")
        os.chown(tmp_path / "table.csv", 1234, -1)
    told = reason_of(tmp_path, location)
    assert told.startswith(LINK)
    assert "data.follow_links" in told
    assert reason_of(tmp_path, location, follow_links=True) == ""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_a_link_of_another_on_the_way_is_named(tmp_path):
    """The first link and the data are the owner's, but what is between them is not."""
    link, location = linked(tmp_path)
    link.unlink()
    (tmp_path / "between.png").symlink_to(tmp_path / "disk/a.png")
    os.lchown(tmp_path / "between.png", 1234, -1)
    link.symlink_to(tmp_path / "between.png")
    assert reason_of(tmp_path, location).startswith(LINK)


def test_a_link_to_what_the_system_owns_is_named(tmp_path):
    if os.getuid() == 0:
        pytest.skip("root owns it, too")
    link, location = linked(tmp_path)
    link.unlink()
    link.symlink_to("/etc/hostname")
    assert reason_of(tmp_path, location).startswith(LINK)


def test_links_within_the_root_and_broken_ones(tmp_path):
    folder_of(tmp_path, "good.png", "a.png")
    (tmp_path / "images/within.png").symlink_to("a.png")
    assert reason_of(tmp_path, "within.png") == ""
    (tmp_path / "images/broken.png").symlink_to(tmp_path / "nowhere.png")
    assert reason_of(tmp_path, "broken.png") == f"{MISSING}; the path is a symbolic link to nothing"


def test_dots_behind_a_link_mean_the_same_to_the_check_and_to_the_reader(tmp_path):
    """link/../a.png is images/a.png, as it is read later, not a file beside what the link leads to."""
    _, _ = linked(tmp_path, to_folder=True)
    assert reason_of(tmp_path, "link/../a.png").startswith(MISSING)
    folder_of(tmp_path, "a.png")
    assert reason_of(tmp_path, "link/../a.png") == ""


# --- what is opened --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", ["patient_id,image,eye,label", "patient_id,image_left,label"])
def test_no_file_is_opened_before_its_path_is_allowed(tmp_path, monkeypatch, columns):
    """The header of a DICOM file outside of the root must not tell an eye, nor be read at all."""
    folder_of(tmp_path, "good.png")
    (tmp_path / "secret.dcm").write_bytes(dicom("RGB", DRAWN.tobytes(), ImageLaterality="R"))
    opened = []
    import retclip.data.dicom as module

    def laterality(path):
        opened.append(os.path.realpath(path))

    monkeypatch.setattr(module, "laterality", laterality)
    eye = ",left" if "eye" in columns else ""
    (tmp_path / "table.csv").write_text(f"{columns}\nP0,good.png{eye},x\nP1,../secret.dcm{eye},y\n")
    _, problems = read_source(Source("manifest", tmp_path / "table.csv", tmp_path / "images"))
    assert [problem["reason"] for problem in problems] == ["the image path leads out of the image root"]
    assert os.path.realpath(tmp_path / "images/good.png") in opened
    assert os.path.realpath(tmp_path / "secret.dcm") not in opened


def test_the_pixels_are_those_of_the_linked_file(tmp_path):
    from retclip.data.images import load_fundus

    linked(tmp_path)
    assert np.array_equal(load_fundus(tmp_path / "images/link.png", 64), DRAWN)
