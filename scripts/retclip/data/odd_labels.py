"""What labels look like that were meant in another way: asked about in one sentence each, and used as they are."""

import re
import unicodedata
from collections import Counter
from typing import TYPE_CHECKING

from retclip.data.reconciliation import LABELS

if TYPE_CHECKING:
    import pandas as pd

JOINTS = re.compile(r"\s*[;,/+&；，、]\s*")
LIST = re.compile(r"[\[{].*[\]}]")  # as Python or JSON writes one
# Words that some tables have for nothing, and others for a class: csv_tables.MISSING has those that no class bears.
UNSURE = frozenset(
    ("?", "??", "???", ".", "..", "--", "---", "_", "unknown", "unk", "missing", "nil", "n.a.", "n.k.", "k.a.", "#ref!",
     "#value!", "not available", "not known", "no data", "未知", "不详")
)  # fmt: skip
LONGEST = 30  # letters of a label in a sentence
MOST = 6


def label_notes(frame: "pd.DataFrame") -> list[str]:
    """Sentences about labels joined otherwise than by |, classes that differ in form alone, and words for nothing."""
    counts: Counter[str] = Counter()
    for column in LABELS:
        for cell, count in frame[column].value_counts().items():
            for label in str(cell).split("|"):
                counts[label] += int(count)
    del counts[""]
    notes = []
    joined = [label for label in counts if _joins(label, counts)]
    if joined:
        total = sum(counts[label] for label in joined)
        notes.append(
            f"{total} labels seem to join several ({_shown(joined)}), but each is one class: only | joins labels."
        )
    forms: dict[str, list[str]] = {}
    for label in sorted(counts):
        forms.setdefault(_form(label), []).append(label)
    alike = [label for labels in forms.values() if len(labels) > 1 for label in labels]
    if alike:
        notes.append(
            f"{len(alike)} classes differ in letter case, blanks, width or a final .0 alone ({_shown(alike)}): "
            "are they the same?"
        )
    unsure = sorted(label for label in counts if label.casefold() in UNSURE)
    if unsure:
        notes.append(f"{len(unsure)} classes may be words for nothing ({_shown(unsure)}): empty such cells, if so.")
    return notes


def _joins(label: str, counts: Counter[str]) -> bool:
    if LIST.fullmatch(label):
        return True
    parts = JOINTS.split(label)
    known = [part in counts for part in parts if part]
    return len(parts) > 1 and (all(known) or (any(known) and re.search("[;；]", label) is not None))


def _form(label: str) -> str:
    return "".join(unicodedata.normalize("NFKC", label).casefold().removesuffix(".0").split())


def _shown(labels: list[str]) -> str:
    short = [label if len(label) <= LONGEST else f"{label[: LONGEST - 1]}…" for label in labels[:MOST]]
    return ", ".join(short) + (", ..." if len(labels) > MOST else "")
