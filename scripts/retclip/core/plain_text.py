"""Text of data where people read it: on a terminal, in a spreadsheet, in Markdown, where some of it would act."""

import re

# What moves a terminal's cursor, or turns the direction of letters; line ends and tabs only part words.
ACTS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
# What Excel, LibreOffice and Numbers take for a formula at the start of a cell, in either width.
FORMULA = ("=", "+", "-", "@", "\t", "\n", "＝", "＋", "－", "＠")
NUMBER = r"[-+]?\d[\d.,]*(?:[eE][-+]?\d+)?"
# A number is none, nor is one with its interval.
HARMLESS = re.compile(rf"{NUMBER}(?: ?%)?(?: \({NUMBER} to {NUMBER}\))?|[-+]")
LONGEST_LABEL = 30  # letters of one in a sentence
MOST_LABELS = 6
MARKS = re.compile(r"([\\`\[\]|])")


def printable(text: str) -> str:
    """The text with escapes for what would act on a terminal."""
    return ACTS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def first_of(labels: list[str]) -> str:
    """Labels for a sentence: a few, none of them long."""
    short = [label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 1]}…" for label in labels]
    return ", ".join(short[:MOST_LABELS]) + (", ..." if len(labels) > MOST_LABELS else "")


def as_cell(text: str) -> str:
    """A cell that every spreadsheet shows as text: with ' before what it would calculate."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")  # which a CSV could not tell from the end of a row
    return f"'{text}" if text.startswith(FORMULA) and not HARMLESS.fullmatch(text) else text


def markdown(text: str) -> str:
    """One line that Markdown shows as it is: no link, image, code, cell of a table or HTML."""
    plain = " ".join(str(text).split())
    return MARKS.sub(r"\\\1", plain).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
