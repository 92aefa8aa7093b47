"""The samples of a source whose files are there: what the plan and the build begin with. No pixel is read."""

from typing import TYPE_CHECKING

from retclip.data.reconciliation import Ledger
from retclip.data.refusals import refuse_many, refuse_never_scored
from retclip.data.samples import Problems, of_present_eyes
from retclip.data.source import Source
from retclip.data.sources.registry import read_source

if TYPE_CHECKING:
    import pandas as pd


def usable_rows(source: Source, max_bad_fraction: float, ledger: Ledger) -> tuple["pd.DataFrame", Problems]:
    """The samples (see samples.collect), and the rows that cannot be used.

    Raises ValueError where they are more than max_bad_fraction of all, or where labels would never be scored.
    """
    frame, problems = read_source(source, ledger)
    refuse_many(problems, ledger.received["rows"], max_bad_fraction)
    whole, frame = frame, of_present_eyes(frame)
    ledger.book_difference("quarantined", "of an eye that has no image", whole, frame)
    refuse_never_scored(frame, source.table, max_bad_fraction)
    return frame, problems
