"""Our own table: a CSV with one row a patient (image_left, image_right) or one row an eye (image, eye)."""

from collections.abc import Iterator
from pathlib import Path

from retclip.core.csv_tables import shown
from retclip.data.declared import note_of_table, read_declared
from retclip.data.image_paths import ImageFolder
from retclip.data.labels import joined_label
from retclip.data.reconciliation import LABELS, Ledger
from retclip.data.samples import EXTRAS, EYES, SECOND_LABELS, Problems, Row
from retclip.data.source import Source, SourceForm
from retclip.data.tables import LINE, PROBLEM, filled, need, patient_of, refuse_rounded, rows_of

IMAGES = ("image", "image_left", "image_right")
TEXTS = ("text", "text_left", "text_right")
OURS = (*IMAGES, *TEXTS, *LABELS, "eye", "split", "sample_id", "visit")
READS = ("patient_id", *OURS, *EXTRAS)


def read(source: Source, table_path: Path, problems: Problems, ledger: Ledger) -> Iterator[Row]:
    """The table's rows. Raises ValueError naming a column that is missing."""
    table = read_declared(table_path, source, READS, ledger)
    by_column = source.patient_id != "none" and not source.patient_id.startswith("pattern:")
    if by_column:
        need(table_path, table, source.patient_id)
    need(table_path, table, *IMAGES)
    need(table_path, table, *LABELS, *TEXTS, *source.text_columns)
    by_eye = "image" in table.columns
    if by_eye and (double := filled(table, list(IMAGES[1:]))):
        raise ValueError(
            f"{table_path}: has both a column image and {double} images in image_left or image_right; "
            "keep one row an eye (image, eye), or one row a patient (image_left, image_right)."
        )
    images = ["image"] if by_eye else list(IMAGES[1:])
    texts = [name for name in (*TEXTS, *source.text_columns) if name in table.columns]
    for column in source.text_columns:
        if column in (*OURS, *EXTRAS, source.patient_id):
            raise ValueError(f"data.text_columns: the column {column} has another use, so it is no further text.")
    carried = [*(name for name in ("split", *EXTRAS) if name in table.columns), *dict.fromkeys(texts)]
    ledger.receive(
        rows=len(table),
        images=filled(table, images),
        texts=filled(table, texts),
        labels=filled(table, list(LABELS)),
    )
    patient = [source.patient_id] if by_column else []
    refuse_rounded(table_path, table, [*patient, "sample_id"])
    used = [*images, *texts, *LABELS, *EXTRAS, *patient, "eye", "split", "sample_id", "visit"]
    note_of_table(ledger, source.name_of(table_path), table, used, [*LABELS, *texts])
    kept = frozenset(word for name in LABELS for word in source.values.get(name, {}).values())
    folder = source.folder_of(table_path)
    eye_column = table.attrs["theirs"].get("eye", "eye")
    for cells in rows_of(table):
        line = int(cells.pop(LINE))
        given = {eye: cells[name] for eye, name in zip(_eyes(by_eye), images, strict=True) if cells.get(name)}
        problem, sample, person = cells.pop(PROBLEM), "", ""
        try:
            if problem:
                raise ValueError(problem)
            given = _images(cells, given, by_eye, folder, eye_column)
            first = next(iter(given.values()))
            sample = cells.get("sample_id", "")
            person = patient_of(source.patient_id, cells, first, sample or first)
        except ValueError as error:
            problem = str(error)
        yield Row(line, person, sample, given, _values(cells, given, by_eye, carried, kept), problem,
                  visit=cells.get("visit", ""))  # fmt: skip


def _eyes(by_eye: bool) -> tuple[str, ...]:
    return ("unknown",) if by_eye else ("left", "right")


def _images(
    cells: dict[str, str], given: dict[str, str], by_eye: bool, folder: ImageFolder, eye_column: str
) -> dict[str, str]:
    """eye -> path. given: the row's paths, whose eye may be in a column of its own, which the table calls
    eye_column."""
    if not given:
        raise ValueError("image is empty" if by_eye else "neither image_left nor image_right is given")
    if not by_eye:
        for eye, location in given.items():
            folder.eye_of(location, eye, "table")
        return given
    word = cells.get("eye", "").lower()
    if word not in ("", "unknown") and word not in EYES:
        # the word is not quoted: a cell that was shifted here may be a name
        kind = "a number" if word.replace(".", "", 1).isdecimal() else "no eye's name"
        raise ValueError(
            f"the eye is {kind}; it must be left, right or unknown (the column {shown([eye_column])}; data.values.eye "
            "can say which is which)"
        )
    return {folder.eye_of(cells["image"], EYES.get(word), "table"): cells["image"]}


def _values(
    cells: dict[str, str], images: dict[str, str], by_eye: bool, carried: list[str], kept: frozenset[str]
) -> dict[str, str]:
    values = {name: cells[name] for name in carried}
    for name in (*LABELS, *(name for name in SECOND_LABELS if name in carried)):
        values[name] = joined_label(cells.get(name, ""), kept)
    eye = next(iter(images), "unknown")
    if by_eye and eye != "unknown":
        # in a table of eyes, label and text are those of the eye, unless columns of the eye say something, too
        for name in ("label", "text", "label_2"):
            if values.get(name) and not values.get(f"{name}_{eye}"):
                values[f"{name}_{eye}"] = values.pop(name)
    return values


SOURCES = {
    "manifest": SourceForm(
        read=read,
        keys=(("image_root",),),
        columns=(IMAGES, (*LABELS, *TEXTS)),
        labels=tuple(LABELS),
        reads=READS,
    ),
    "demo": SourceForm(read=read, reads=READS, keys=(("demo_patients",),), is_drawn=True),
}
