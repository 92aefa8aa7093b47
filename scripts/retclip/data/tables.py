"""CSV tables as people have them: any separator, byte order marks, and who the patient of a row is."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from retclip.core.files import csv_separator

if TYPE_CHECKING:
    import pandas as pd

LINE = "__line__"


def read_table(path: Path) -> "pd.DataFrame":
    """All cells as stripped text, blank lines left out, with the line in the file as column LINE.

    Raises ValueError in one sentence where the file is missing, empty or no table in UTF-8.
    """
    import pandas as pd

    if not path.is_file():
        raise ValueError(f"{path}: no such file.")
    try:
        with path.open(encoding="utf-8-sig") as stream:
            header = chunk = stream.readline()
            while chunk:
                if "\0" in chunk:
                    raise ValueError(f"{path}: has null characters, so it is no CSV table; save it as CSV in UTF-8.")
                chunk = stream.read(1 << 20)
        table = pd.read_csv(
            path,
            sep=csv_separator(header),
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
            skip_blank_lines=False,
            index_col=False,
        )
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        reason = str(error).strip().splitlines()[0][:120] if str(error) else type(error).__name__
        raise ValueError(f"{path}: cannot be read as a CSV table in UTF-8 ({reason}).") from None
    table.columns = [str(name).strip() for name in table.columns]
    twice = table.columns[table.columns.duplicated()]
    if len(twice):
        raise ValueError(f"{path}: the column {twice[0]} is there twice; rename one.")
    table = table.fillna("").apply(lambda column: column.str.strip())
    blank = table.eq("").all(axis=1)
    return table.assign(**{LINE: range(2, len(table) + 2)})[~blank]


def rows_of(table: "pd.DataFrame") -> Iterator[dict[str, str]]:
    """The rows one after the other: all at once, as dictionaries, they would take ten times the table's memory."""
    names = list(table.columns)
    for cells in table.itertuples(index=False, name=None):
        yield dict(zip(names, cells, strict=True))


def need(path: Path, table: "pd.DataFrame", *columns: str) -> None:
    """Raises ValueError naming the file where none of `columns` is there."""
    if not set(columns) & set(table.columns):
        wanted = columns[0] if len(columns) == 1 else f"one of {', '.join(columns)}"
        shown = ", ".join(name for name in table.columns if name != LINE)
        raise ValueError(f"{path} lacks the column {wanted}; it has {shown}.")


def patient_of(rule: str, row: dict[str, str], picture: str, sample_id: str) -> str:
    """The patient of a row. rule: a column's name, none (every sample is its own patient), or pattern:REGEX,
    whose first group is searched in the picture's path. Raises ValueError where the pattern finds nothing."""
    if rule == "none":
        return sample_id
    if rule.startswith("pattern:"):
        found = re.search(rule.removeprefix("pattern:"), picture)
        if found is None:
            raise ValueError("the image path does not match data.patient_id's pattern")
        return found[1]
    return row[rule]
