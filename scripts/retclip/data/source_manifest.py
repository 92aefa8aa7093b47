"""Our own table: a CSV with one row a patient (image_left, image_right) or one row an eye (image, eye)."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from retclip.data.dicom import eye_of_image
from retclip.data.samples import EXTRAS, EYES, Problems, Row
from retclip.data.tables import LINE, need, patient_of, read_table, rows_of

if TYPE_CHECKING:
    from retclip.data.sources import Source

PICTURES = ("image", "image_left", "image_right")


def read(source: "Source", table_path: Path, problems: Problems) -> Iterator[Row]:
    """The table's rows. Raises ValueError naming a column that is missing."""
    table = read_table(table_path)
    by_column = source.patient_id != "none" and not source.patient_id.startswith("pattern:")
    if by_column:
        need(table_path, table, source.patient_id)
    need(table_path, table, *PICTURES)
    by_eye = "image" in table.columns
    texts = [name for name in table.columns if name == "text" or name.startswith("text_")]
    carried = [*(name for name in ("split", *EXTRAS) if name in table.columns), *texts]
    for cells in rows_of(table):
        line = int(cells.pop(LINE))
        try:
            pictures = _pictures(cells, by_eye, source.image_root)
            first = next(iter(pictures.values()))
            sample = cells.get("sample_id", "")
            patient = patient_of(source.patient_id, cells, first, sample or first)
        except ValueError as error:
            problems.append({"row": line, "reason": str(error)})
            continue
        yield Row(line, patient, sample, pictures, _values(cells, pictures, by_eye, carried))


def _pictures(cells: dict[str, str], by_eye: bool, root: Path) -> dict[str, str]:
    """eye -> path."""
    if not by_eye:
        images = {eye: cells[f"image_{eye}"] for eye in ("left", "right") if cells.get(f"image_{eye}")}
        if not images:
            raise ValueError("neither image_left nor image_right is given")
        for eye, location in images.items():
            eye_of_image(root / location, eye, "table")
        return images
    if not cells["image"]:
        raise ValueError("image is empty")
    word = cells.get("eye", "").lower()
    if word not in ("", "unknown") and word not in EYES:
        raise ValueError(f"eye is {cells['eye'][:40]!r}; it must be left, right or unknown")
    return {eye_of_image(root / cells["image"], EYES.get(word), "table"): cells["image"]}


def _values(cells: dict[str, str], pictures: dict[str, str], by_eye: bool, carried: list[str]) -> dict[str, str]:
    values = {name: cells[name] for name in carried}
    for name in ("label", "label_left", "label_right"):
        values[name] = cells.get(name, "")
    eye = next(iter(pictures))
    if by_eye and eye != "unknown":
        # in a table of eyes, label and text are those of the eye
        for name in ("label", "text"):
            own = values.pop(name, "")
            values[f"{name}_{eye}"] = values.get(f"{name}_{eye}") or own
    return values
