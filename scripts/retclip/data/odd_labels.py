"""Labels that may have been meant in another way, which only a person knows: a sentence each."""

import re
from collections import Counter
from itertools import combinations
from typing import TYPE_CHECKING

from retclip.core.plain_text import first_of
from retclip.core.spelling import spelled_alike
from retclip.core.table_columns import within_letters
from retclip.data.one_spelling import label_counts
from retclip.data.samples import SECOND_LABELS

if TYPE_CHECKING:
    import pandas as pd

# Of words that stand beside one another in a list, and seldom within one name; a comma may do either.
LISTING = re.compile(r"[;；、]")
JOINTS = re.compile(r"\s*[;,/+&；，、]\s*")
LIST = re.compile(r"[\[{].*[\]}]")  # as Python or JSON writes one
# Words that some tables have for nothing, and others for a class: csv_tables.MISSING has those that no class bears.
UNSURE = frozenset(
    ("?", "??", "???", ".", "..", "--", "---", "_", "unknown", "unk", "missing", "nil", "n.a.", "n.k.", "k.a.", "#ref!",
     "#value!", "not available", "not known", "no data", "未知", "不详")
)  # fmt: skip
NUMBER = re.compile(r"-?\d+(\.\d+)?")
NEGATION = re.compile("^(no|non|not)-?")
COUNTED = re.compile(r"\d+")
# Of names that a slip may tell apart: fewer letters differ by chance, and more classes are no list of classes.
SHORT_NAME, LONG_NAME, SHORT_WORD, MOST_COMPARED = 5, 9, 4, 500


def label_notes(frame: "pd.DataFrame") -> list[str]:
    """Sentences about labels joined otherwise than by |, classes that are nearly the same, numbers, words for nothing,
    and a second reader's that are no class."""
    counts = label_counts(frame)
    notes = []
    parts = Counter(part for label in counts if LISTING.search(label) for part in set(JOINTS.split(label)))
    again = {part for part, count in parts.items() if part and count > 1}
    joined = [label for label in counts if _joins(label, counts, again)]
    if joined:
        total = sum(counts[label] for label in joined)
        notes.append(
            f"{total} labels seem to join several ({first_of(joined)}), but each is one class: only | joins labels."
        )
    near = _near(sorted(counts))
    if near:
        notes.append(
            f"{len(near)} classes differ from another in a letter or two ({first_of(near)}): are they the same? "
            "data.values.label can make them one."
        )
    numbers = sorted((label for label in counts if NUMBER.fullmatch(label)), key=float)
    if numbers:
        notes.append(
            f"{len(numbers)} classes are bare numbers ({first_of(numbers)}): prompts would read "
            f"'showing {numbers[0]}'; "
            f'name them: data.values.label: {{"{numbers[0]}": ...}}.'
        )
    unsure = sorted(label for label in counts if label.casefold() in UNSURE)
    if unsure:
        notes.append(f"{len(unsure)} classes may be words for nothing ({first_of(unsure)}): empty such cells, if so.")
    second = label_counts(frame, SECOND_LABELS)
    others = sorted(label for label in second if label not in counts)
    if counts and others:
        notes.append(
            f"{sum(second[label] for label in others)} labels of the second reader are no class of the data "
            f"({first_of(others)}), and count as disagreements; data.values.label_2 can name their class."
        )
    return notes


def _joins(label: str, counts: Counter[str], again: set[str]) -> bool:
    """again: parts of several labels that list them."""
    if LIST.fullmatch(label):
        return True
    parts = JOINTS.split(label)
    known = [part in counts for part in parts if part]
    lists = LISTING.search(label) is not None
    return len(parts) > 1 and (all(known) or (lists and (any(known) or not again.isdisjoint(parts))))


def _near(labels: list[str]) -> list[str]:
    """Classes that a slip of the pen tells from another one; grades and stages differ in their number alone."""
    if len(labels) > MOST_COMPARED:
        return []
    found = set()
    for one, other in combinations(labels, 2):
        a, b = (COUNTED.sub("0", spelled_alike(label)) for label in (one, other))
        a, b = NEGATION.sub("", a), NEGATION.sub("", b)  # No glaucoma is not Glaucoma, and nobody takes it for that
        short = min(len(a), len(b))
        most = 2 if short >= LONG_NAME else 1
        if short >= SHORT_NAME and a != b and within_letters(a, b, most) and not _grades(one, other):
            found |= {one, other}
    return sorted(found)


def _grades(one: str, other: str) -> bool:
    """Whether the words that differ are numbers of one letter or two (Grade I, Grade II; stage A, stage B)."""
    a, b = one.casefold().split(), other.casefold().split()
    return len(a) == len(b) and all(x == y or max(len(x), len(y)) < SHORT_WORD for x, y in zip(a, b, strict=True))
