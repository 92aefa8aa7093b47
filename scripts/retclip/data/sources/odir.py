"""A table of patients with keywords per eye, as ODIR-5K has it, and a prompt per eye and patient."""

import fnmatch
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from retclip.core.bounded import read_yaml
from retclip.core.csv_tables import read_header
from retclip.core.spelling import form_of, plain
from retclip.data.declared import note_of_table, read_declared
from retclip.data.patterns import check_image_pattern
from retclip.data.reconciliation import Ledger, row_name
from retclip.data.samples import Problems, Row
from retclip.data.source import Source, SourceForm
from retclip.data.tables import LINE, PROBLEM, filled, need, refuse_rounded, rows_of

if TYPE_CHECKING:
    import pandas as pd

ClassMap = list[tuple[str, str]]
SIDES = ("left", "right")
IMAGES = ("image_left", "image_right")
LABELS = ["left_keywords", "right_keywords"]
TEXTS = ["prompt_patient", "prompt_left", "prompt_right"]
READS = ("patient_id", *LABELS, *TEXTS, *IMAGES, "split", "age", "sex")
PATTERN = "{patient_id}_{eye}.jpg"
# Columns of ODIR-5K as it is published, in the form of csv_tables.plain.
PUBLISHED = {
    "patient_id": ("id",),
    "age": ("patient_age",),
    "sex": ("patient_sex",),
    "image_left": ("left-fundus", "left_fundus"),
    "image_right": ("right-fundus", "right_fundus"),
    "left_keywords": ("left-diagnostic_keywords", "left_diagnostic_keywords"),
    "right_keywords": ("right-diagnostic_keywords", "right_diagnostic_keywords"),
}
# Its columns of 0 and 1 by class of config/odir_classes.yaml: of the patient, and made of the keywords.
CLASS_COLUMNS = {
    "Normal": ("n", "normal"),
    "Diabetic Retinopathy": ("d", "diabetes"),
    "Glaucoma": ("g", "glaucoma"),
    "Cataract": ("c", "cataract"),
    "Age-related Macular Degeneration": ("a", "age_related_macular_degeneration", "amd"),
    "Hypertensive Retinopathy": ("h", "hypertension"),
    "Myopia": ("m", "pathological_myopia", "myopia"),
    "Other": ("o", "other_diseases/abnormalities", "other"),
}


def read(source: Source, table_path: Path, problems: Problems, ledger: Ledger) -> Iterator[Row]:
    """One patient a row, as the table is published or in our words; its images are those that it names, else
    {patient_id}_left.jpg and {patient_id}_right.jpg, or by source.image_pattern.

    Raises ValueError where a column is missing, or where a keyword is in no class of source.class_map: a
    disease that nobody thought of must not become "unlabeled" unnoticed.
    """
    names = read_header(table_path)
    source = source._replace(columns={**_published(names), **source.columns})
    table = read_declared(table_path, source, READS, ledger)
    need(table_path, table, "patient_id")
    need(table_path, table, *LABELS)
    refuse_rounded(table_path, table, ["patient_id"])
    assert source.class_map is not None
    classes = read_class_map(source.class_map)
    _refuse_unknown_keywords(table, classes, source.class_map)
    pattern = source.image_pattern or PATTERN
    check_image_pattern(pattern, ("patient_id", "eye"))
    named = [name for name in IMAGES if name in table.columns] if pattern == PATTERN else []
    # a row is a patient with a photograph of each eye
    images = filled(table, named) + (len(IMAGES) - len(named)) * len(table)
    ledger.receive(rows=len(table), images=images, texts=filled(table, TEXTS), labels=filled(table, LABELS))
    by_class = _class_columns(table, classes)
    used = [*READS, *by_class.values()]
    note_of_table(ledger, source.name_of(table_path), table, used, [*LABELS, *TEXTS])
    name = table_path.name if table_path == source.test_table else ""
    seen: set[tuple[str, ...]] = set()
    other: list[int] = []
    folder = source.folder_of(table_path)
    for cells in rows_of(table):
        line = int(cells[LINE])
        patient = cells["patient_id"]
        images_of = {
            eye: cells[column] if column in named else pattern.format(patient_id=patient, eye=eye)
            for eye, column in zip(SIDES, IMAGES, strict=True)
        }
        images_of = {eye: location for eye, location in images_of.items() if location}
        problem = cells[PROBLEM] or ("" if images_of else "neither a left nor a right image is given")
        try:
            for eye, location in images_of.items():
                folder.eye_of(location, eye, "table")
        except ValueError as error:
            problem = str(error)
        values = {"text": cells.get("prompt_patient", ""), "age": cells.get("age", ""), "sex": cells.get("sex", "")}
        for eye in SIDES:
            values[f"label_{eye}"] = label_of(cells.get(f"{eye}_keywords", ""), classes)
            values[f"text_{eye}"] = cells.get(f"prompt_{eye}", "")
        if "split" in cells:
            values["split"] = cells["split"]
        if not _agrees(cells, values, by_class):
            other.append(line)
        whole = (patient, *images_of.values(), *values.values())
        if whole in seen and not problem:
            _book_again(ledger, row_name(name, line), images_of, cells)
            continue
        seen.add(whole)
        for eye in SIDES:
            if cells.get(f"{eye}_keywords") and not values[f"label_{eye}"]:
                ledger.book("quarantined", "keywords that name no disease (ignore of data.class_map)", {"labels": 1})
        yield Row(line, patient, "", images_of, values, problem)
    if other:
        ledger.note(
            f"{source.name_of(table_path)}: {len(other)} rows have keywords of other classes than their columns of 0 "
            f"and 1 say (the first in line {other[0]}); the keywords count."
        )


def _published(names: list[str]) -> dict[str, str]:
    """Our names -> columns of the table as it is published, where ours are not there."""
    seen = {plain(name): name for name in reversed(names)}
    found = {ours: [seen[form] for form in forms if form in seen] for ours, forms in PUBLISHED.items()}
    return {ours: theirs[0] for ours, theirs in found.items() if theirs and ours not in names}


def _class_columns(table: "pd.DataFrame", classes: ClassMap) -> dict[str, str]:
    """Class -> its column of 0 and 1, where the table has those of all classes."""
    seen = {plain(name): name for name in table.columns}
    found = {label: next((seen[form] for form in forms if form in seen), "") for label, forms in CLASS_COLUMNS.items()}
    ours = {label for _, label in classes if label}
    return found if all(found.values()) and ours == set(found) else {}


def _agrees(cells: Mapping[str, str], values: Mapping[str, str], by_class: Mapping[str, str]) -> bool:
    """Whether the keywords of both eyes give the classes that the columns of 0 and 1 say of the patient: normal is who
    has no disease in either eye. True where nothing is said."""
    said = {label for label, column in by_class.items() if form_of(cells[column]) == "1"}
    found = {label for eye in SIDES for label in values[f"label_{eye}"].split("|") if label}
    diseases = found - {"Normal"}
    return not said or not found or said == (diseases or found)


def _book_again(ledger: Ledger, name: str, images: Mapping[str, str], cells: Mapping[str, str]) -> None:
    """A table of one row an eye says all of the patient in both."""
    texts, labels = (sum(bool(cells.get(column)) for column in columns) for columns in (TEXTS, LABELS))
    places = {f"{name}/{eye}" for eye in images}
    items: dict[str, set[str] | int] = {"rows": {name}, "images": places, "texts": texts, "labels": labels}
    ledger.book("merged", "the same patient's row again", items)


def read_class_map(path: Path) -> ClassMap:
    """(pattern, class name) in the order of the file; a class called `ignore` has no name ("").

    Raises ValueError where the file is not a mapping of class names to lists of keywords.
    """
    content = read_yaml(path, named=True)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: must be a mapping, class name: list of keywords.")
    entries = []
    for name, patterns in content.items():
        if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
            raise ValueError(f"{path}: {name} must be a list of keywords.")
        entries += [(pattern.lower(), "" if name == "ignore" else name) for pattern in patterns]
    return entries


def keywords_of(cell: str) -> list[str]:
    """Keywords between ASCII or full-width commas and semicolons, in lower case."""
    return [word.strip().lower() for word in re.split("[,;，；、]", cell) if word.strip()]


def label_of(cell: str, classes: ClassMap) -> str:
    """The classes of an eye's keywords, joined by |, each once. A healthy class gives way to any disease."""
    found = [name for keyword in keywords_of(cell) if (name := _class_of(keyword, classes))]
    healthy = classes[0][1] if classes else ""  # the file's first class
    diseases = [name for name in found if name != healthy]
    return "|".join(dict.fromkeys(diseases or found))


def _class_of(keyword: str, classes: ClassMap) -> str | None:
    return next((name for pattern, name in classes if fnmatch.fnmatchcase(keyword, pattern)), None)


def _refuse_unknown_keywords(table, classes: ClassMap, path: Path) -> None:
    cells = [*table.get("left_keywords", []), *table.get("right_keywords", [])]
    keywords = {keyword for cell in set(cells) for keyword in keywords_of(cell)}
    unknown = sorted(keyword for keyword in keywords if _class_of(keyword, classes) is None)
    if unknown:
        raise ValueError(
            f"{path}: {len(unknown)} keywords of the table are in no class ({', '.join(unknown[:5])}"
            f"{', ...' if len(unknown) > 5 else ''}); add each to a class, or to ignore."
        )


SOURCES = {
    "odir": SourceForm(
        read=read,
        keys=(("image_root",), ("class_map",)),
        columns=(("patient_id", "ID"), (*LABELS, "Left-Diagnostic Keywords", "Right-Diagnostic Keywords")),
        reads=READS,
        labels=tuple(LABELS),
        image_pattern=PATTERN,
        has_patients=True,
        about_table="ODIR-5K's CSV as it is published, or `patient_id`, `left_keywords`, `right_keywords`, `age`, "
        "`sex`; with reports `prompt_left`, `prompt_right`, `prompt_patient`",
        about_images="`Left-Fundus`, `Right-Fundus`, else `image_pattern`; keywords become classes by `class_map`",
    ),
}
