"""CSV tables as frames of clean cells, and who the patient of a row is."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from retclip.core.csv_tables import cell_of, is_missing, read_rows, shown
from retclip.core.spelling import form_of
from retclip.core.table_columns import is_near, suggestion
from retclip.data.patterns import pattern_of

if TYPE_CHECKING:
    import pandas as pd

LINE = "__line__"
# Why a row cannot be used, "" where it can, as far as a table's declaration says.
PROBLEM = "__problem__"
# Begins the name of a copy of a column as it is written, before its values are translated.
RAW = "__raw__"
# Paths stay as they are written: a disk may know a name in another Unicode form.
PATHS = ("image", "image_left", "image_right", "left", "right")
ROWS_AT_ONCE = 20_000
LEADING = re.compile(r"(?<!\d)0+(?=\d)")
ROUNDED = re.compile(r"-?\d([.,]\d+)?[eE]\+\d{2,}")


def read_table(
    path: Path,
    translate: Mapping[str, Callable[[str], str | None]] | None = None,
    paths: Iterable[str] = PATHS,
    raw: Iterable[str] = (),
) -> "pd.DataFrame":
    """All cells as stripped text, "" where nothing is there, blank lines left out, the line of the file as LINE.

    translate: column -> what a cell of it means, None where it means what it says. paths: columns of paths. raw:
    columns of which a copy, RAW + name, keeps what is written. attrs: missing, column -> how many of its cells are a
    word for nothing, such as NA; cells, the different cells of each column that is translated. Raises ValueError in one
    sentence where the table cannot be read whole; see csv_tables.read_rows.
    """
    import pandas as pd

    rows = read_rows(path)
    _, names = next(rows)
    words: Counter[str] = Counter()
    clean = [str.strip if name in paths else cell_of for name in names]
    known: dict[str, dict[str, str | None]] = {name: {} for name in translate or ()}
    parts = []
    while piece := list(islice(rows, ROWS_AT_ONCE)):
        columns: dict[str, list[str]] = {}
        for place, name in enumerate(names):
            cells = [clean[place](cells[place]) for _, cells in piece]
            if name in raw:
                columns[RAW + name] = cells
            if name in known:
                assert translate is not None
                meaning = known[name]
                meaning |= {cell: translate[name](cell) for cell in set(cells) - set(meaning)}
                columns[name] = [
                    said if (said := meaning[cell]) is not None else "" if is_missing(cell) else cell for cell in cells
                ]
                words[name] += sum(bool(cell) and meaning[cell] is None and is_missing(cell) for cell in cells)
                continue
            columns[name] = ["" if is_missing(cell) else cell for cell in cells]
            words[name] += sum(bool(cell) and not kept for cell, kept in zip(cells, columns[name], strict=True))
        parts.append(pd.DataFrame({**columns, LINE: [line for line, _ in piece]}).astype({LINE: int}))
    # a row of words for nothing is as blank as an empty one
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({name: [] for name in [*names, LINE]})
    table = table[~table[names].eq("").all(axis=1)].reset_index(drop=True)
    table.attrs["missing"] = {name: count for name, count in words.items() if count}
    table.attrs["cells"] = {name: list(meaning) for name, meaning in known.items()}
    return table


def rows_of(table: "pd.DataFrame") -> Iterator[dict[str, str]]:
    """The rows one after the other: all at once, as dictionaries, they would take ten times the table's memory."""
    names = list(table.columns)
    for cells in table.itertuples(index=False, name=None):
        yield dict(zip(names, cells, strict=True))


def filled(table: "pd.DataFrame", columns: list[str]) -> int:
    """How many cells of these columns say something; columns that are not there count nothing."""
    return sum(int(table[name].ne("").sum()) for name in columns if name in table.columns)


def refuse_nearly(path: Path, table: "pd.DataFrame", ours: Iterable[str], exempt: Iterable[str] = ()) -> None:
    """Raises ValueError for a column that is one of ours but for letter case, blanks, width or one letter, where ours
    is not there: left unread, a column Split would make other splits than its owner's. exempt: columns that a
    declaration speaks of."""
    missing = [name for name in ours if name not in table.columns]
    for name in table.columns:
        near = next((one for one in missing if is_near(name, one)), None)
        if near and name not in ours and name not in exempt:
            seen = shown([name])
            raise ValueError(
                f"{path}: the column {seen} is nearly {near}; rename it, or remove it. Did you mean data.columns: "
                f"{{{near}: {seen}}}? If neither, list it in data.columns.ignore."
            )


def refuse_rounded(path: Path, table: "pd.DataFrame", columns: Iterable[str]) -> None:
    """Raises ValueError for ids that a spreadsheet has rounded (2.02E+13): those of several people may be alike."""
    for column in dict.fromkeys(columns):
        rounded = table[column].astype(str).str.fullmatch(ROUNDED) if column in table.columns else None
        if rounded is not None and rounded.any():
            raise ValueError(
                f"{path}: {rounded.sum()} cells of {column} are numbers that a spreadsheet has rounded (the first in "
                f"line {table.loc[rounded, LINE].iloc[0]}); export the column as text."
            )


def need(path: Path, table: "pd.DataFrame", *columns: str) -> None:
    """Raises ValueError naming the file where none of `columns` is there."""
    if not set(columns) & set(table.columns):
        wanted = columns[0] if len(columns) == 1 else f"one of {', '.join(columns)}"
        names = [name for name in table.columns if name not in (LINE, PROBLEM)]
        hint = suggestion(names, columns)
        raise ValueError(
            f"{path} lacks the column {wanted}; it has {shown(names)}.{f' Did you mean {hint}?' if hint else ''}"
        )


def patient_of(rule: str, row: dict[str, str], image: str, sample_id: str) -> str:
    """The patient of a row. rule: a column's name, none (every sample is its own patient), or pattern:REGEX,
    whose first group is searched in the image's path. Raises ValueError where the pattern finds nothing."""
    if rule == "none":
        return cell_of(sample_id)
    if rule.startswith("pattern:"):
        found = pattern_of(rule.removeprefix("pattern:")).first_group(image)
        if found is None:
            raise ValueError("the image path does not match data.patient_id's pattern")
        return cell_of(found)
    return row[rule]


def ids_alike(ids: Iterable[str]) -> list[list[str]]:
    """Ids that differ in letter case, blanks, width, leading zeros or a final .0 alone, those of each form together."""
    alike: dict[str, list[str]] = {}
    for name in dict.fromkeys(ids):
        alike.setdefault(LEADING.sub("", form_of(name).replace(" ", "")), []).append(name)
    return [names for names in alike.values() if len(names) > 1]


def refuse_alike(table: Path, frame: "pd.DataFrame") -> None:
    """Raises ValueError where patient ids differ in form alone: 0001 and 1 may be one person, in two splits. frame:
    samples with their lines."""
    if doubtful := ids_alike(frame["patient_id"]):
        firsts = [frame[frame["patient_id"].eq(name)].iloc[0] for name in doubtful[0][:2]]
        lines = " and ".join(row["row_left"] or row["row_right"] for row in firsts)
        raise ValueError(
            f"{table}: {sum(map(len, doubtful))} patient ids differ in letter case, blanks, width or zeros alone (the "
            f"first in lines {lines}): are they one patient's? Write each id in one way."
        )
