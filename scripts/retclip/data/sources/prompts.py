"""Prompts written for a public data set: dataset_index, label, prompt; the images by index."""

import os
from collections.abc import Iterator
from pathlib import Path

from retclip.data.declared import note_of_table, read_declared
from retclip.data.labels import joined_label
from retclip.data.patterns import check_image_pattern
from retclip.data.reconciliation import Ledger
from retclip.data.samples import EXTRAS, Problems, Row
from retclip.data.source import Source, SourceForm
from retclip.data.tables import LINE, PROBLEM, filled, need, patient_of, refuse_rounded, rows_of

READS = ("dataset_index", "prompt", "label", "split", "patient_id", *EXTRAS)


def read(source: Source, table_path: Path, problems: Problems, ledger: Ledger) -> Iterator[Row]:
    """One image a row, of unknown side unless it is a DICOM file that says it.

    source.image_pattern names the file below the image root, with {dataset_index} (a number, so
    {dataset_index:06d} works), {label} and {split} (train or test); a final .* takes any ending.
    Raises ValueError where it names what is no column.
    """
    check_image_pattern(source.image_pattern or "", ("dataset_index", "label", "split"))
    table = read_declared(table_path, source, READS, ledger)
    need(table_path, table, "dataset_index")
    need(table_path, table, "prompt", "label")
    refuse_rounded(table_path, table, [source.patient_id])
    # a row names its image by the index
    images = filled(table, ["dataset_index"])
    ledger.receive(rows=len(table), images=images, texts=filled(table, ["prompt"]), labels=filled(table, ["label"]))
    used = ["dataset_index", "prompt", "label", "split", *EXTRAS, source.patient_id]
    note_of_table(ledger, source.name_of(table_path), table, used, ["prompt", "label"])
    kept = frozenset(source.values.get("label", {}).values())
    split = "test" if table_path == source.test_table else "train"
    endings: dict[str, dict[str, str]] = {}
    folder = source.folder_of(table_path)
    for cells in rows_of(table):
        line = int(cells[LINE])
        values = {"label": joined_label(cells.get("label", ""), kept), "text": cells.get("prompt", "")}
        values |= {column: cells[column] for column in ("split", *EXTRAS) if column in cells}
        given = {"unknown": cells["dataset_index"]}
        try:
            if cells[PROBLEM]:
                raise ValueError(cells[PROBLEM])
            index = _index(cells["dataset_index"])
            name = (source.image_pattern or "{dataset_index}.*").format(
                dataset_index=index, label=cells.get("label", ""), split=split
            )
            image = _with_ending(source.image_root, name, endings)
            # the test table counts from 0 as well
            sample = f"{split}-{index}" if source.test_table else str(index)
            patient = patient_of(source.patient_id, cells, image, sample)
            eye = folder.eye_of(image, None, "table")
        except ValueError as error:
            yield Row(line, "", "", given, values, str(error))
            continue
        yield Row(line, patient, sample, {eye: image}, values)


def _index(text: str) -> int:
    if not text.isdecimal():
        raise ValueError("dataset_index is not a whole number")
    return int(text)


def _with_ending(root: Path, name: str, endings: dict[str, dict[str, str]]) -> str:
    """The name with .* replaced by the ending of the file that is there; each folder is listed once."""
    if not name.endswith(".*"):
        return name
    folder, stem = os.path.split(name.removesuffix(".*"))
    if folder not in endings:
        place = root / folder
        files = sorted(os.listdir(place)) if place.is_dir() else []
        endings[folder] = {os.path.splitext(file)[0]: file for file in files}
    return os.path.join(folder, endings[folder].get(stem, f"{stem}.*"))


SOURCES = {
    "prompts": SourceForm(
        read=read,
        keys=(("image_root", "hub_dataset"),),
        columns=(("dataset_index",), ("prompt", "label")),
        labels=("label",),
        reads=READS,
        image_pattern="{split}/{dataset_index}.*",
        about_table="CSV `dataset_index,label,prompt`",
        about_images="`image_root` and `image_pattern` (`{split}/{dataset_index}.*`), or `hub_dataset: "
        "{source, revision}`, fetched by `make fetch`",
    ),
}
