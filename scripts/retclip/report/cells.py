"""A table of the report: rows of cells that a person reads, ready for the template and for a CSV file."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from retclip.metrics.estimates import Estimate
from retclip.report import formatting as wording


class Table(NamedTuple):
    """Column heads and rows of text; the rows at `marked` are set off. The first column names the row."""

    heads: list[str]
    rows: list[list[str]]
    marked: frozenset[int] = frozenset()


class TrialCell(str):
    """A cell that names a trial: its readable name with the id in small print, and on the page a link to it."""

    name: str
    trial: str

    def __new__(cls, name: str, trial: str) -> "TrialCell":
        cell = super().__new__(cls, f"{name} ({trial})")
        cell.name, cell.trial = name, trial
        return cell


class Captioned(NamedTuple):
    """A table and its caption. file: of the report, which has all of it and more; else it is tables/{name}.csv."""

    caption: str
    content: Table
    file: str | None = None


def with_interval(estimate: Estimate, write: Any = wording.score) -> str:
    """The estimate, and its 95 % CI where it has one. write: how a value is written."""
    if estimate.low is None:
        return write(estimate.value)
    return f"{write(estimate.value)} ({wording.interval(estimate.low, estimate.high)})"


def estimate_in(document: Mapping[str, Any] | None) -> Estimate:
    """A score of evaluation.json; without a value where there is none."""
    return Estimate(None) if document is None else Estimate(document["value"], document["low"], document["high"])


def estimated(document: dict[str, Any] | None) -> str:
    """A score of evaluation.json with its interval."""
    return with_interval(estimate_in(document))
