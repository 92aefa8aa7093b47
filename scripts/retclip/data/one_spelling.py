"""Words that differ in spelling alone are one: classes, and groups of patients, each in its most frequent spelling."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from retclip.core.plain_text import first_of
from retclip.core.spelling import form_of, in_words_of, spelled_alike
from retclip.data.reconciliation import LABELS
from retclip.data.samples import SECOND_LABELS

if TYPE_CHECKING:
    import pandas as pd

# Columns whose words part the patients into groups; ages are numbers.
GROUPS = ("sex", "site", "camera")


def unite_labels(frame: "pd.DataFrame") -> tuple["pd.DataFrame", list[str]]:
    """Classes that differ in form alone as one, the more frequent spelling, and what is to be said of it.

    A second reader's names of them are spelled so, too.
    """
    counts = label_counts(frame)
    if first := _first_spellings(counts, spelled_alike):
        frame = _respelled(frame, LABELS, first)
    respelled = in_words_of(first.get(label, label) for label in counts)
    second = label_counts(frame, SECOND_LABELS)
    frame = _respelled(frame, SECOND_LABELS, {label: respelled(label) for label in second})
    return frame, [_note("classes", first)] if first else []


def unite_groups(frame: "pd.DataFrame") -> tuple["pd.DataFrame", list[str]]:
    """The same for sex, site and camera; a letter beside a word that begins with it is asked about."""
    notes = []
    for column in GROUPS:
        counts = Counter(cell for cell in frame[column] if cell)
        first = _first_spellings(counts, form_of)  # a blank parts 1 12 from 11 2
        if first:
            frame = frame.assign(**{column: [first.get(cell, cell) for cell in frame[column]]})
            notes.append(_note(f"values of {column}", first))
        if column == "sex" and (pairs := _initials(sorted({first.get(word, word) for word in counts}))):
            notes.append(
                f"sex: do {first_of([f'{letter} and {word}' for letter, word in pairs])} mean the same? "
                "data.values.sex can make them one."
            )
    return frame, notes


def label_counts(frame: "pd.DataFrame", columns: Iterable[str] = LABELS) -> Counter[str]:
    """Class -> how often these columns name it."""
    counts: Counter[str] = Counter()
    for column in columns:
        for cell, count in frame[column].value_counts().items():
            for label in str(cell).split("|"):
                counts[label] += int(count)
    del counts[""]
    return counts


def _first_spellings(counts: Mapping[str, int], form: Callable[[str], str]) -> dict[str, str]:
    """Each word that has another spelling, too -> the most frequent one. form: what its spellings share."""
    forms: dict[str, list[str]] = {}
    for word in sorted(counts, key=lambda word: (-counts[word], word)):
        forms.setdefault(form(word), []).append(word)
    return {word: words[0] for words in forms.values() if len(words) > 1 for word in words}


def _note(what: str, first: Mapping[str, str]) -> str:
    return (
        f"{len(first)} {what} differ in letter case, blanks, width or a final .0 alone ({first_of(sorted(first))}): "
        "each is read as its most frequent spelling."
    )


def _respelled(frame: "pd.DataFrame", columns: Iterable[str], first: Mapping[str, str]) -> "pd.DataFrame":
    cells = {column: {cell: _united(cell, first) for cell in frame[column].unique()} for column in columns}
    return frame.assign(**{column: frame[column].map(known) for column, known in cells.items()})


def _united(cell: str, first: Mapping[str, str]) -> str:
    return "|".join(dict.fromkeys(first.get(label, label) for label in cell.split("|")))


def _initials(words: list[str]) -> list[tuple[str, str]]:
    """One letter, and a longer word that begins with it, of any case."""
    letters = [word for word in words if len(word) == 1 and word.isalpha()]
    return [
        (letter, word)
        for letter in letters
        for word in words
        if len(word) > 1 and word.casefold().startswith(letter.casefold())
    ]
