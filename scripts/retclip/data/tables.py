"""CSV tables as frames of clean cells, and who the patient of a row is."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from retclip.core.csv_tables import cell_of, is_missing, plain, read_rows, shown
from retclip.data.reconciliation import LABELS, Ledger

if TYPE_CHECKING:
    import pandas as pd

LINE = "__line__"
# Paths stay as they are written: a disk may know a name in another Unicode form.
PATHS = ("image", "image_left", "image_right", "left", "right")
ROWS_AT_ONCE = 20_000
ROUNDED = re.compile(r"-?\d([.,]\d+)?[eE]\+\d{2,}")


def read_table(path: Path) -> "pd.DataFrame":
    """All cells as stripped text, "" where nothing is there, blank lines left out, the line of the file as LINE.

    attrs["missing"]: column -> how many of its cells are a word for nothing, such as NA. Raises ValueError in one
    sentence where the table cannot be read whole; see csv_tables.read_rows.
    """
    import pandas as pd

    rows = read_rows(path)
    _, names = next(rows)
    words: Counter[str] = Counter()
    clean = [str.strip if name in PATHS else cell_of for name in names]
    parts = []
    while piece := list(islice(rows, ROWS_AT_ONCE)):
        columns: dict[str, list[str]] = {}
        for place, name in enumerate(names):
            cells = [clean[place](cells[place]) for _, cells in piece]
            columns[name] = ["" if is_missing(cell) else cell for cell in cells]
            words[name] += sum(bool(cell) and not kept for cell, kept in zip(cells, columns[name], strict=True))
        parts.append(pd.DataFrame({**columns, LINE: [line for line, _ in piece]}).astype({LINE: int}))
    # a row of words for nothing is as blank as an empty one
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({name: [] for name in [*names, LINE]})
    table = table[~table[names].eq("").all(axis=1)].reset_index(drop=True)
    table.attrs["missing"] = {name: count for name, count in words.items() if count}
    return table


def rows_of(table: "pd.DataFrame") -> Iterator[dict[str, str]]:
    """The rows one after the other: all at once, as dictionaries, they would take ten times the table's memory."""
    names = list(table.columns)
    for cells in table.itertuples(index=False, name=None):
        yield dict(zip(names, cells, strict=True))


def filled(table: "pd.DataFrame", columns: list[str]) -> int:
    """How many cells of these columns say something; columns that are not there count nothing."""
    return sum(int(table[name].ne("").sum()) for name in columns if name in table.columns)


def note_of_table(ledger: Ledger, name: str, table: "pd.DataFrame", used: list[str], told: list[str]) -> None:
    """Notes the columns that nothing uses, and the words for nothing in the columns `told`: one might be a class.

    name: what to call the table on a page that shows no path.
    """
    unused = [column for column in table.columns if column not in (*used, LINE)]
    if unused:
        ledger.note(f"{name}: columns that nothing uses: {shown(unused)}.")
    for column in told:
        count = table.attrs["missing"].get(column, 0)
        if column in LABELS and column in table.columns:  # or a part of what is joined
            parts = (cell.split("|") for cell in table[column] if "|" in cell)
            count += sum(any(is_missing(part.strip()) for part in cell) for cell in parts)
        if count:
            ledger.note(f"{name}: {count} cells of {column} are a word for nothing, such as NA, and count as empty.")


def refuse_nearly(path: Path, table: "pd.DataFrame", ours: Iterable[str]) -> None:
    """Raises ValueError for a column that is one of ours but for letter case, blanks or width, where ours is not there:
    left unread, a column Split would make other splits than its owner's."""
    missing = {plain(name): name for name in ours if name not in table.columns}
    for name in table.columns:
        if near := missing.get(plain(name)):
            raise ValueError(f"{path}: the column {shown([name])} is nearly {near}; rename it, or remove it.")


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
        raise ValueError(f"{path} lacks the column {wanted}; it has {shown([n for n in table.columns if n != LINE])}.")


def patient_of(rule: str, row: dict[str, str], image: str, sample_id: str) -> str:
    """The patient of a row. rule: a column's name, none (every sample is its own patient), or pattern:REGEX,
    whose first group is searched in the image's path. Raises ValueError where the pattern finds nothing."""
    if rule == "none":
        return cell_of(sample_id)
    if rule.startswith("pattern:"):
        found = re.search(rule.removeprefix("pattern:"), image)
        if found is None or found[1] is None:
            raise ValueError("the image path does not match data.patient_id's pattern")
        return cell_of(found[1])
    return row[rule]


def ids_alike(ids: Iterable[str]) -> int:
    """How many ids differ from another one in letter case, blanks, width, leading zeros or a final .0 alone."""
    alike: dict[str, int] = {}
    for name in set(ids):
        plain = "".join(unicodedata.normalize("NFKC", name).casefold().split())
        plain = re.sub(r"(?<!\d)0+(?=\d)", "", plain.removesuffix(".0"))
        alike[plain] = alike.get(plain, 0) + 1
    return sum(count for count in alike.values() if count > 1)
