"""Every form of data that people have, behind one interface: what the modules beside this one declare."""

import importlib
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retclip.data import sources
from retclip.data.odd_labels import label_notes
from retclip.data.one_spelling import unite_groups, unite_labels
from retclip.data.reconciliation import Ledger
from retclip.data.samples import Problems, collect
from retclip.data.source import Source, SourceForm
from retclip.data.tables import ids_alike, refuse_alike

if TYPE_CHECKING:
    import pandas as pd


def _declared() -> dict[str, SourceForm]:
    """data.source -> its form, of every module of this package; what asks for the least first, the demo last."""
    found: dict[str, SourceForm] = {}
    for module in pkgutil.iter_modules(sources.__path__):
        if module.name != "registry":
            found |= importlib.import_module(f"{sources.__name__}.{module.name}").SOURCES
    return dict(sorted(found.items(), key=lambda item: (item[1].is_drawn, item[1].holds_images, len(item[1].keys))))


SOURCES = _declared()
CONTAINERS = {scheme: open_image for form in SOURCES.values() for scheme, open_image in form.containers.items()}


def read_source(source: Source, ledger: Ledger | None = None) -> tuple["pd.DataFrame", Problems]:
    """The samples (see samples.collect) and the rows that cannot be used.

    split is "" where no table says it. ledger: what came in, and what was left out, is booked there. Raises
    ValueError where a whole table cannot be used.
    """
    import pandas as pd

    ledger = ledger or Ledger()
    problems: Problems = []
    frame = _read_one(source, source.table, "", problems, ledger)
    if source.test_table is not None:
        tests = _read_one(source, source.test_table, source.test_table.name, problems, ledger)
        _refuse_split(frame, source.table, "test")
        for split in ("train", "val"):
            _refuse_split(tests, source.test_table, split)
        frame = frame.assign(split=frame["split"].where(frame["split"].ne(""), "train"))
        frame = pd.concat([frame, tests.assign(split="test")], ignore_index=True).fillna("")
        twice = frame.index[frame["sample_id"].duplicated()]
        if len(twice):
            raise ValueError(
                f"{source.test_table}: {len(twice)} samples are in {source.table.name} too (the first in line "
                f"{frame.loc[twice[0], 'row_left'] or frame.loc[twice[0], 'row_right']}); keep each in one table."
            )
    if not len(frame):
        first = f" Line {problems[0]['row']}: {sentence_of(problems[0])}." if problems else ""
        raise ValueError(f"{source.table}: no row can be used.{first}")
    if SOURCES[source.kind].holds_images:  # upstream's keys, which its own files tell apart
        if alike := sum(map(len, ids_alike(frame["patient_id"]))):
            ledger.note(f"{alike} patient ids differ in letter case, blanks, width or zeros alone: one patient's?")
    elif source.patient_id != "none":
        refuse_alike(source.table, frame)
    frame, notes = unite_labels(frame)
    frame, of_groups = unite_groups(frame)
    for note in [*notes, *label_notes(frame), *of_groups]:
        ledger.note(note)
    return frame, problems


def sentence_of(problem: dict[str, Any]) -> str:
    """A problem's reason, with the table that its line is of where a source has several."""
    return f"{problem['table']}: {problem['reason']}" if problem["table"] else problem["reason"]


def _refuse_split(frame: "pd.DataFrame", table: Path, split: str) -> None:
    """A split that contradicts the table that its rows are in, where there is a table of test samples."""
    rows = frame[frame["split"].eq(split)]
    if len(rows):
        raise ValueError(
            f"{table}: {len(rows)} samples have the split {split} (the first in line "
            f"{rows['row_left'].iloc[0] or rows['row_right'].iloc[0]}), but data.test_manifest is the table of test "
            "samples, and of nobody else; correct the column, or leave it out."
        )


def _read_one(source: Source, table: Path, name: str, problems: Problems, ledger: Ledger) -> "pd.DataFrame":
    """name: what tells the table's rows from those of the source's other table."""
    form = SOURCES[source.kind]
    rows = form.read(source, table, problems, ledger)
    named = (row._replace(table=name) for row in rows) if name else rows
    return collect(named, source.folder_of(table), source.eye_images, problems, ledger, tuple(form.containers))
