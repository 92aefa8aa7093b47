"""What predict.py is given: which eye each image shows, and which two images are one patient's."""

import unicodedata

import pytest
from dicom_files import DRAWN, dicom
from PIL import Image

from retclip.data.cases import cases_of_paths, cases_of_table
from retclip.data.eyes import eye_of


@pytest.mark.parametrize(
    ("name", "eye"),
    [
        ("12_left", "left"), ("12_RIGHT", "right"), ("P001_l", "left"), ("P001-R", "right"), ("p 7 (OD)", "right"),
        ("os", "left"), ("1.2.276.0.75.16.L", "left"), ("fundus_OS_2", "left"), ("left12", "left"),
        ("2020right", "right"), ("left_L", "left"), ("Left Eye", "left"),
        ("a_l_r", None), ("left_or_right", None), ("OD_left", None), ("copyright_7", None), ("cleft", None),
        ("pod", None), ("L2_scan", None), ("image_0017", None), ("", None),
    ],
)  # fmt: skip
def test_the_eye_that_words_name(name, eye):
    assert eye_of(name) == eye


@pytest.fixture
def folder(tmp_path):
    """An empty folder for images."""
    place = tmp_path / "photographs"
    place.mkdir()
    return place


def put(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(DRAWN).save(folder / name, "PNG")


def shown(cases):
    """name -> its images as eye: file name, with the names of their rows."""
    return {case.name: {eye: path.name for eye, path in case.images.items()} for case in cases}


def test_two_files_that_differ_in_the_eye_alone_are_one_patient(folder):
    put(folder, "1_left.jpg", "1_right.jpg", "2_L.png", "2_od.jpg", "3_left.jpg", "a/OD.jpg", "a/OS.jpg", "scan7.png")
    cases = cases_of_paths([folder])
    assert shown(cases) == {
        "1_left.jpg + 1_right.jpg": {"left": "1_left.jpg", "right": "1_right.jpg"},
        "2_L.png + 2_od.jpg": {"left": "2_L.png", "right": "2_od.jpg"},
        "3_left.jpg": {"left": "3_left.jpg"},
        "a/OS.jpg + a/OD.jpg": {"left": "OS.jpg", "right": "OD.jpg"},
        "scan7.png": {"unknown": "scan7.png"},
    }
    assert cases[0].names == {"left": "1_left.jpg", "right": "1_right.jpg"}


def test_no_image_is_lost_where_names_meet(folder):
    put(folder, "1_left.jpg", "1_left.png", "1_right.jpg", "1_LEFT_b.jpg", "b/1_right.jpg", "1_l_r.jpg", "x.jpg")
    cases = cases_of_paths([folder, folder / "x.jpg"])
    names = sorted(path.name for case in cases for path in case.images.values())
    files = sorted(path.name for path in folder.rglob("*.*"))
    assert names == sorted([*files, "x.jpg"])
    assert {"unknown": "1_l_r.jpg"} in shown(cases).values()
    assert {"right": "1_right.jpg"} in shown(cases).values()  # that of the other folder


def test_dicom_files_of_a_folder_are_found_by_content_and_know_their_eye(folder):
    (folder / "1.2.276.7").write_bytes(dicom("RGB", DRAWN.tobytes(), ImageLaterality="R"))
    (folder / "scan").write_bytes(dicom("RGB", DRAWN.tobytes()))
    (folder / "x_left.dcm").write_bytes(dicom("RGB", DRAWN.tobytes(), ImageLaterality="R"))
    (folder / "notes.txt").write_text("no image")
    cases = {case.name: case for case in cases_of_paths([folder])}
    assert set(cases) == {"1.2.276.7", "scan", "x_left.dcm"}
    assert set(cases["1.2.276.7"].images) == {"right"}
    assert set(cases["scan"].images) == {"unknown"}
    assert cases["x_left.dcm"].problem == "the name says left eye, the DICOM file right"


def put_dicom(folder, **files):
    """name -> (eye, patient, study), of which None is not in the header."""
    for name, (eye, patient, study) in files.items():
        known = {"ImageLaterality": eye, "PatientID": patient, "StudyInstanceUID": study}
        header = {key: value for key, value in known.items() if value is not None}
        (folder / name).write_bytes(dicom("RGB", DRAWN.tobytes(), **header))


def test_the_two_eyes_of_a_dicom_study_are_one_patient_whatever_their_files_are_called(folder):
    """As an archive exports them: names are numbers, the header knows patient and study."""
    (folder / "S1").mkdir()
    put_dicom(folder / "S1", IM1=("R", "P1", "1.2.3"), IM2=("L", "P1", "1.2.3"))
    put_dicom(folder, IM3=("L", "P1", "1.2.4"), IM4=("R", "P2", "1.2.4"))
    put_dicom(folder, IM5=("R", "P2", None), IM6=("L", None, "1.2.3"))
    assert shown(cases_of_paths([folder])) == {
        "S1/IM2 + S1/IM1": {"left": "IM2", "right": "IM1"},
        "IM3": {"left": "IM3"},  # another visit
        "IM4": {"right": "IM4"},  # another patient in a study of the same number
        "IM5": {"right": "IM5"},
        "IM6": {"left": "IM6"},
    }


def test_of_several_photographs_of_an_eye_in_a_study_none_is_paired(folder):
    """Which two belong together, the header does not say."""
    put_dicom(folder, A=("L", "P1", "1.2.3"), B=("R", "P1", "1.2.3"), C=("R", "P1", "1.2.3"))
    assert shown(cases_of_paths([folder])) == {"A": {"left": "A"}, "B": {"right": "B"}, "C": {"right": "C"}}


def test_the_catalog_of_a_dicom_folder_is_no_image(folder):
    put_dicom(folder, IM1=("R", "P1", "1.2.3"))
    (folder / "DICOMDIR").write_bytes(dicom("RGB", DRAWN.tobytes()))
    assert shown(cases_of_paths([folder])) == {"IM1": {"right": "IM1"}}


TABLES = {
    "image_left,image_right": "patient_id,image_left,image_right\nP1,a.png,b.png\nP2,,b.png\nP3,,\n",
    "left,right": "name,left,right\nP1,a.png,b.png\nP2,,b.png\nP3,,\n",
    "published ODIR": "ID,Left-Fundus,Right-Fundus\nP1,a.png,b.png\nP2,,b.png\nP3,,\n",
    "image,eye": "patient_id,image,eye\nP1,a.png,OS\nP2,b.png,Right\nP1,b.png,right eye\nP3,,left\n",
}


@pytest.mark.parametrize("form", TABLES)
def test_columns_of_a_table_decide_the_eye(folder, form):
    put(folder, "a.png", "b.png")
    (folder / "table.csv").write_text(TABLES[form])
    cases = cases_of_table(folder / "table.csv", folder)
    assert shown(cases) == {"P1": {"left": "a.png", "right": "b.png"}, "P2": {"right": "b.png"}, "P3": {}}
    assert cases[0].names == {"left": "P1", "right": "P1"}
    assert [case.problem for case in cases] == ["", "", "no image is named"]


def test_images_by_the_ids_of_an_odir_table(folder):
    put(folder, "1_left.jpg", "1_right.jpg", "2_right.jpg")
    (folder / "table.csv").write_text("patient_id,left_keywords,right_keywords\n1,x,y\n2,x,y\n3,x,y\n")
    cases = cases_of_table(folder / "table.csv", folder)
    assert [sorted(case.images) for case in cases] == [["left", "right"], ["right"], []]
    assert cases[2].problem == "no image is named"


def test_what_a_table_says_of_the_eye_goes_first_and_a_contradiction_is_told(folder):
    put(folder, "a_left.png", "b_left.png", "c.png")
    (folder / "d.dcm").write_bytes(dicom("RGB", DRAWN.tobytes(), ImageLaterality="L"))
    rows = ["1,a_left.png,right", "2,b_left.png,", "3,c.png,", "4,d.dcm,right", "5,c.png,2", "6,b_left.png,unknown",
            "2,c.png,", "2,a_left.png,left"]  # fmt: skip
    (folder / "table.csv").write_text("\n".join(["patient_id,image,eye", *rows]) + "\n")
    found = {case.name: (sorted(case.images), case.problem) for case in cases_of_table(folder / "table.csv", folder)}
    assert found == {
        "1": (["right"], ""),
        "2": (["left"], ""),
        "3": (["unknown"], ""),
        "4": (["right"], "the table says right eye, the DICOM file left"),
        "5": (["unknown"], "the eye is not left, right or unknown"),
        "6": (["unknown"], ""),
        "2#2": (["unknown"], ""),
        "2#3": (["left"], ""),
    }


def test_numbers_beside_the_word_of_an_eye_are_the_patient(folder):
    """left1 and right2 are two people; left1 and right1 are one."""
    put(folder, "left1.jpg", "right2.jpg", "left3.jpg", "right3.jpg", "4left.jpg", "5right.jpg")
    assert sorted(shown(cases_of_paths([folder]))) == [
        "4left.jpg", "5right.jpg", "left1.jpg", "left3.jpg + right3.jpg", "right2.jpg"]  # fmt: skip


def test_eyes_of_two_visits_are_no_pair(folder):
    """As in training, where a column visit tells them apart."""
    put(folder, "a.png", "b.png")
    rows = ["P1,first,a.png,left", "P1,second,b.png,right", "P2,first,a.png,left", "P2,first,b.png,right"]
    (folder / "table.csv").write_text("\n".join(["patient_id,visit,image,eye", *rows]) + "\n")
    assert shown(cases_of_table(folder / "table.csv", folder)) == {
        "P1@first": {"left": "a.png"},
        "P1@second": {"right": "b.png"},
        "P2@first": {"left": "a.png", "right": "b.png"},
    }


def test_rows_that_name_nobody_are_no_pair(folder):
    put(folder, "a.png", "b.png")
    (folder / "table.csv").write_text("sample_id,patient_id,image,eye\n,,a.png,left\n,,b.png,right\n,P1,a.png,left\n")
    assert shown(cases_of_table(folder / "table.csv", folder)) == {
        "line 2": {"left": "a.png"},
        "line 3": {"right": "b.png"},
        "P1": {"left": "a.png"},
    }


def test_a_column_that_is_nearly_the_eye_is_refused(folder):
    """Without it, the names of the files would decide."""
    put(folder, "a_left.png")
    (folder / "table.csv").write_text("patient_id,image,Eye\n1,a_left.png,right\n")
    with pytest.raises(ValueError, match="the column Eye is nearly eye; rename it, or remove it"):
        cases_of_table(folder / "table.csv", folder)


def test_an_image_in_another_unicode_form_is_found_as_in_training(folder):
    put(folder, unicodedata.normalize("NFD", "é_left.png"))
    (folder / "table.csv").write_text("patient_id,image\n1,é_left.png\n", encoding="utf-8")
    (case,) = cases_of_table(folder / "table.csv", folder)
    assert case.images["left"].is_file()
