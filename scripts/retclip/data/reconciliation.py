"""Nothing is lost without a word: what the tables held is counted when they are read, and once more at the end.

Whatever is neither used at the end, nor booked as merged or quarantined on the way, is a mistake of ours, and stops
the build.
"""

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from retclip.core.logs import log

if TYPE_CHECKING:
    import pandas as pd

WHAT = ("rows", "images", "texts", "labels")
# merged: another row, image or text stands for it; quarantined: it could not be used.
FATES = ("merged", "quarantined")
SIDES = ("left", "right")
LABELS = ("label", "label_left", "label_right")


class Ledger:
    """What came in, by the readers' own counts, and what was left out on the way, and why."""

    def __init__(self) -> None:
        self.received: Counter[str] = Counter()
        # rows and images are booked by name, since one may stand in several samples: it counts once
        self.named: dict[tuple[str, str], set[str]] = {(fate, what): set() for fate in FATES for what in WHAT[:2]}
        self.counted: Counter[tuple[str, str]] = Counter()
        self.reasons: Counter[tuple[str, str, str]] = Counter()
        self.notes: list[str] = []
        # age, sex, site, camera: how often a row says another one than the sample that it joined
        self.disagreements: Counter[str] = Counter()

    def receive(self, **counts: int) -> None:
        """What a reader found in its file: rows, images, texts, labels."""
        self.received.update(counts)

    def note(self, sentence: str) -> None:
        """Something of a whole table that a person should know; it is said, and stands in the audit."""
        self.notes.append(sentence)

    def book(self, fate: str, reason: str, items: Mapping[str, set[str] | int]) -> None:
        """items: rows and images as sets of names (see row_name), texts and labels as counts."""
        for what, item in items.items():
            if isinstance(item, int):
                self.counted[fate, what] += item
                number = item
            else:
                self.named[fate, what] |= item
                number = len(item)
            if number:
                self.reasons[fate, what, reason] += number

    def book_difference(self, fate: str, reason: str, before: "pd.DataFrame", after: "pd.DataFrame") -> None:
        """What a step that dropped samples, or parts of them, took away."""
        old, new = held(before), held(after)
        items: dict[str, set[str] | int] = {what: old[what] - new[what] for what in WHAT}
        self.book(fate, reason, items)

    def close(self, frame: "pd.DataFrame") -> dict[str, Any]:
        """{"counts": {what: {in, used, merged, quarantined}}, "reasons": [...], "notes": [...]}.

        frame: the samples that stay, with none but their own texts and labels. Asserts that all adds up.
        """
        used = held(frame)
        counts = {}
        for what in WHAT:
            if what in ("rows", "images"):
                merged = self.named["merged", what] - used[what]
                quarantined = self.named["quarantined", what] - used[what] - merged
                found = [len(used[what]), len(merged), len(quarantined)]
            else:
                found = [used[what], self.counted["merged", what], self.counted["quarantined", what]]
            counts[what] = dict(zip(("in", "used", *FATES), [self.received[what], *found], strict=True))
            assert self.received[what] == sum(found), f"the {what} of the table do not add up: {counts[what]}"
        reasons = [
            {"fate": fate, "what": what, "reason": reason, "count": count}
            for (fate, what, reason), count in sorted(self.reasons.items())
        ]
        disagreeing = [
            f"{count} rows say another {column} than an earlier row of their sample; the first counts."
            for column, count in self.disagreements.items()
        ]
        return {"counts": counts, "reasons": reasons, "notes": [*self.notes, *disagreeing]}


def say_counts(document: Mapping[str, Any]) -> None:
    """One line for each of WHAT, then what is to be known of whole tables."""
    for what, entry in document["counts"].items():
        parts = " + ".join(f"{entry[fate]:,} {fate}" for fate in ("used", *FATES))
        log(f"{what}: {entry['in']:,} in = {parts}")
    for note in document["notes"]:
        log(f"warning: {note}")


def row_name(table: str, line: int | str) -> str:
    """A row's name across the tables of a source."""
    return f"{table}:{line}"


def held(frame: "pd.DataFrame") -> dict[str, Any]:
    """The rows and images (names) and the texts and labels (counts) in a frame of samples."""
    rows: set[str] = set()
    images: set[str] = set()
    for side in SIDES:
        for table, line, source in zip(frame["table"], frame[f"row_{side}"], frame[f"source_{side}"], strict=True):
            if source:
                name = row_name(table, line)
                rows.add(name)
                images.add(f"{name}/{side}")
    texts = [name for name in frame.columns if name == "text" or name.startswith("text_")]
    return {
        "rows": rows,
        "images": images,
        "texts": int(frame[texts].ne("").to_numpy().sum()),
        "labels": int(frame[list(LABELS)].ne("").to_numpy().sum()),
    }
