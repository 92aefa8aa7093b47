"""Cells of labels: several joined by |, or a list; and whether labels are of eyes or of patients."""

import ast
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

from retclip.core.csv_tables import CONTROLS, is_missing

if TYPE_CHECKING:
    import pandas as pd


@lru_cache(maxsize=10_000)
def joined_label(cell: str, kept: frozenset[str] = frozenset()) -> str:
    """Several labels joined by |, each once and in one line, without surplus blanks or words for nothing.

    kept: words for nothing that are classes all the same. A list as Python or JSON writes one is read as one.
    """
    cell = CONTROLS.sub(" ", cell).strip()
    parts = [" ".join(part.split()) for part in (listed(cell) or cell.split("|"))]
    return "|".join(
        dict.fromkeys(part for part in parts if part and (len(parts) == 1 or part in kept or not is_missing(part)))
    )


def listed(cell: str) -> list[str]:
    """The items of a cell that is a list, such as ['a', 'b']; empty for any other cell."""
    if not (cell[:1] in ("[", "{") and cell[-1:] in ("]", "}")):
        return []
    try:
        items = ast.literal_eval(cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return []
    if not isinstance(items, list | tuple | set):
        return []
    return [str(item) for item in (sorted(items, key=str) if isinstance(items, set) else items)]


def classes_of(cells: Iterable[str]) -> list[str]:
    """Every class that a unit has, alone or beside others."""
    return sorted({label for cell in cells if cell for label in cell.split("|")})


def class_counts(cells: Iterable[str], classes: list[str], alone: bool = False) -> dict[str, int]:
    """Class -> units of it; alone: of those that have no other label."""
    counts: Counter[str] = Counter()
    for cell in cells:
        counts.update([cell] if alone else cell.split("|"))
    return {label: counts[label] for label in classes}


def label_level_of(frame: "pd.DataFrame") -> str:
    """What is scored: eye where any has a label of its own, else patient; none without labels."""
    by_eye = frame[["label_left", "label_right"]].ne("").to_numpy().any()
    return "eye" if by_eye else "patient" if frame["label"].ne("").any() else "none"
