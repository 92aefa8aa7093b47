"""New photographs as predict.py is given them: files, folders or a table, each image with its eye, by patient."""

import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from retclip.data.dicom import eye_of_image, is_dicom_file, study_of
from retclip.data.eyes import eye_of, without_eye
from retclip.data.image_paths import ENDINGS
from retclip.data.tables import LINE, need, read_table, refuse_nearly, rows_of

# Columns of the left and the right image; the last are those of ODIR-5K's published table.
PAIRS = (("image_left", "image_right"), ("left", "right"), ("Left-Fundus", "Right-Fundus"))
IDS = ("sample_id", "name", "patient_id", "ID")
ODIR_PATTERN = "{patient_id}_{eye}.jpg"
SIDES = ("left", "right")


class Case(NamedTuple):
    """A patient: images by eye (left, right; or one that is unknown), and what the row of each is called.

    name: of the patient's row. problem: why the case cannot be scored, "" where it can.
    """

    name: str
    images: dict[str, Path]
    names: dict[str, str]
    problem: str = ""


def cases_of_paths(paths: list[Path]) -> list[Case]:
    """Files, and the images below folders. The eye is the DICOM header's or the name's; two files of one folder whose
    names differ in the eye alone are one patient, and so are the two eyes of a DICOM study, where it has one photograph
    of each.

    Raises ValueError for what is neither a file nor a folder, and where a folder has no image.
    """
    cases: dict[object, Case] = {}
    found = []
    for name, path in _files(paths):
        stem = path.stem if path.suffix.lower() in ENDINGS else path.name
        named = eye_of(stem)
        eye, problem = _eye(path, named, "name")
        # a name that tells the eye tells the patient, too
        study = study_of(path) if named is None and eye in SIDES else None
        found.append((name, path, stem, eye, problem, study))
    photographs = Counter((study, eye) for *_, eye, _, study in found if study)
    for name, path, stem, eye, problem, study in found:
        key: object = (path.parent, without_eye(stem)) if eye in SIDES else path
        if study and all(photographs[study, side] == 1 for side in SIDES):
            key = study
        if key in cases and (problem or cases[key].problem or eye in cases[key].images):
            key = path, len(cases)  # a second image of this eye is nobody's fellow
        known = cases.get(key, Case("", {}, {}, problem))
        names = {**known.names, eye: name}
        title = " + ".join(names[side] for side in (*SIDES, "unknown") if side in names)
        cases[key] = Case(title, {**known.images, eye: path}, names, problem)
    return list(cases.values())


def cases_of_table(table: Path, image_root: Path) -> list[Case]:
    """Rows of a CSV: a patient's with image_left and image_right (or left and right, or ODIR-5K's columns), or an
    image's with image and, where known, eye; images of one sample_id or patient_id are one case then, as in training.

    Cases are named by sample_id, name or patient_id (and visit), or by line. Raises ValueError naming a column that is
    missing.
    """
    frame = read_table(table)
    refuse_nearly(table, frame, (*PAIRS[0], *IDS[:3], "image", "eye", "visit"))
    pair = next((pair for pair in PAIRS if set(pair) & set(frame.columns)), None)
    by_id = "left_keywords" in frame.columns and "patient_id" in frame.columns
    if not by_id:
        need(table, frame, "image", *(column for columns in PAIRS for column in columns))
    cases: dict[str, Case] = {}
    for cells in rows_of(frame):
        named = next((column for column in IDS if cells.get(column)), "")
        name = cells[named] if named else f"line {cells[LINE]}"
        if named != "sample_id" and cells.get("visit"):
            name = f"{name}@{cells['visit']}"
        if pair and any(cells.get(column) for column in pair):
            images = {eye: cells[column] for eye, column in zip(SIDES, pair, strict=True) if cells.get(column)}
            case = _of_row(name, images, image_root)
        elif cells.get("image"):
            case = _of_image(name, cells["image"], cells.get("eye"), image_root)
        elif by_id:
            places = {eye: ODIR_PATTERN.format(patient_id=cells["patient_id"], eye=eye) for eye in SIDES}
            case = _of_row(name, {eye: at for eye, at in places.items() if (image_root / at).is_file()}, image_root)
        else:
            case = _of_row(name, {}, image_root)
        _add(cases, case, named not in ("", "name"))
    return list(cases.values())


def _add(cases: dict[str, Case], case: Case, by_sample: bool) -> None:
    """Under its name, or as NAME#2, NAME#3, ... where that is taken, as the build names further images of an eye."""
    name, copy = case.name, 1
    while name in cases and not (by_sample and _fits(cases[name], case)):
        copy += 1
        name = f"{case.name}#{copy}"
    known = cases.get(name, Case(name, {}, {}, case.problem))
    images = {**known.images, **case.images}
    cases[name] = Case(name, images, dict.fromkeys(images, name), case.problem)


def _fits(known: Case, case: Case) -> bool:
    """Whether an image is the fellow eye of a case that is there."""
    eyes = {*known.images, *case.images}
    return not known.problem and not case.problem and len(known.images) == 1 == len(case.images) and eyes == set(SIDES)


def _of_row(name: str, places: dict[str, str], root: Path) -> Case:
    images, problem = {eye: _found(root, place) for eye, place in places.items()}, ""
    for eye, path in images.items():
        problem = problem or _eye(path, eye, "table")[1]
    return Case(name, images, {}, problem if images else "no image is named")


def _of_image(name: str, place: str, word: str | None, root: Path) -> Case:
    """The eye is that of the table, where it says none the DICOM header's, and last the file name's."""
    path = _found(root, place)
    said = eye_of(word or Path(place).stem)
    if word and word.lower() != "unknown" and said is None:
        return Case(name, {"unknown": path}, {}, "the eye is not left, right or unknown")
    eye, problem = _eye(path, said, "table" if word else "name")
    return Case(name, {eye: path}, {}, problem)


def _found(root: Path, place: str) -> Path:
    """The place below the root, in whichever Unicode form the disk has it."""
    forms = (place, *(unicodedata.normalize(form, place) for form in ("NFC", "NFD")))
    return next((root / form for form in forms if (root / form).is_file()), root / place)


def _eye(path: Path, said: str | None, who: str) -> tuple[str, str]:
    """The eye of an image, and what contradicts it. said: left or right, as `who` (table or name) has it."""
    try:
        return eye_of_image(path, said, who), ""
    except ValueError as error:
        return said or "unknown", str(error)


def _files(paths: list[Path]) -> Iterator[tuple[str, Path]]:
    """(name, path) of each image, in the order given, those of a folder sorted."""
    for path in paths:
        if path.is_dir():
            found = sorted(inner for inner in path.rglob("*") if _is_image(inner))
            if not found:
                raise ValueError(f"{path}: this folder has no image (DICOM, {', '.join(sorted(ENDINGS))}).")
            yield from ((str(inner.relative_to(path)), inner) for inner in found)
        elif path.is_file():
            yield path.name, path
        else:
            raise ValueError(f"{path}: no such file or folder.")


def _is_image(path: Path) -> bool:
    # the catalog of a folder of DICOM files is one of them
    return path.suffix.lower() in ENDINGS or (path.name.upper() != "DICOMDIR" and is_dicom_file(path))
