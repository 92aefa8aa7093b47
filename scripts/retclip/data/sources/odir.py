"""A table of patients with keywords per eye, as ODIR-5K has it, and a prompt per eye and patient."""

import fnmatch
import re
from collections.abc import Iterator
from pathlib import Path

from retclip.data.dicom import eye_of_image
from retclip.data.reconciliation import Ledger
from retclip.data.samples import Problems, Row
from retclip.data.source import Source, SourceForm
from retclip.data.tables import LINE, filled, need, note_of_table, read_table, refuse_nearly, refuse_rounded, rows_of

ClassMap = list[tuple[str, str]]
LABELS = ["left_keywords", "right_keywords"]
TEXTS = ["prompt_patient", "prompt_left", "prompt_right"]


def read(source: Source, table_path: Path, problems: Problems, ledger: Ledger) -> Iterator[Row]:
    """One patient a row; images {patient_id}_left.jpg and {patient_id}_right.jpg, or by source.image_pattern.

    Raises ValueError where a column is missing, or where a keyword is in no class of source.class_map: a
    disease that nobody thought of must not become "unlabeled" unnoticed.
    """
    table = read_table(table_path)
    refuse_nearly(table_path, table, ["patient_id", *LABELS, *TEXTS, "split"])
    need(table_path, table, "patient_id")
    need(table_path, table, *LABELS)
    refuse_rounded(table_path, table, ["patient_id"])
    assert source.class_map is not None
    classes = read_class_map(source.class_map)
    _refuse_unknown_keywords(table, classes, source.class_map)
    # a row is a patient with a photograph of each eye
    ledger.receive(rows=len(table), images=2 * len(table), texts=filled(table, TEXTS), labels=filled(table, LABELS))
    note_of_table(
        ledger,
        source.name_of(table_path),
        table,
        ["patient_id", "age", "sex", "split", *LABELS, *TEXTS],
        [*LABELS, *TEXTS],
    )
    for cells in rows_of(table):
        line = int(cells[LINE])
        patient = cells["patient_id"]
        images = {eye: source.image_pattern.format(patient_id=patient, eye=eye) for eye in ("left", "right")}
        problem = ""
        try:
            for eye, location in images.items():
                eye_of_image(source.image_root / location, eye, "table")
        except ValueError as error:
            problem = str(error)
        values = {
            "text": cells.get("prompt_patient", ""),
            "age": cells.get("age", ""),
            "sex": cells.get("sex", ""),
        }
        for eye in images:
            keywords = cells.get(f"{eye}_keywords", "")
            values[f"label_{eye}"] = label_of(keywords, classes)
            if keywords and not values[f"label_{eye}"]:
                ledger.book("quarantined", "keywords that name no disease (ignore of data.class_map)", {"labels": 1})
            values[f"text_{eye}"] = cells.get(f"prompt_{eye}", "")
        if "split" in cells:
            values["split"] = cells["split"]
        yield Row(line, patient, "", images, values, problem)


def read_class_map(path: Path) -> ClassMap:
    """(pattern, class name) in the order of the file; a class called `ignore` has no name ("").

    Raises ValueError where the file is not a mapping of class names to lists of keywords.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read as YAML ({str(error).splitlines()[0]}).") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: must be a mapping, class name: list of keywords.")
    entries = []
    for name, patterns in content.items():
        if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
            raise ValueError(f"{path}: {name} must be a list of keywords.")
        entries += [(pattern.lower(), "" if name == "ignore" else str(name)) for pattern in patterns]
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
        columns=(("patient_id",), tuple(LABELS)),
        labels=tuple(LABELS),
        image_pattern="{patient_id}_{eye}.jpg",
        has_patients=True,
        about_table="CSV with `left_keywords`, `right_keywords`, `prompt_left`, `prompt_right`, `prompt_patient`, "
        "`age`, `sex`",
        about_images="`{patient_id}_left.jpg`, `{patient_id}_right.jpg`; keywords become classes by `class_map`",
    ),
}
