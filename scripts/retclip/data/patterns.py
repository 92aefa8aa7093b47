"""Patterns of the config, which may be a stranger's: of image names, and regular expressions over them."""

import re
import time
from collections.abc import Iterable
from functools import cache
from string import Formatter

import regex

# How the value of a field may be written: 06d, >4.
FORM = re.compile(r"(.?[<>^])?0?\d{0,2}[ds]?")
MOST_LETTERS = 1000  # of a pattern
SECONDS = 5.0  # for all searches with one pattern that take long
QUICK_SECONDS = 0.01
SLOW = "the pattern takes too long on the image path; write it without repeats in repeats"


class Pattern:
    """A regular expression that cannot hang: one that backtracks for ever ends within SECONDS, for all texts."""

    def __init__(self, pattern: str) -> None:
        """Raises ValueError where it is none, or a long one."""
        if len(pattern) > MOST_LETTERS:
            raise ValueError(f"the pattern has {len(pattern)} letters; give at most {MOST_LETTERS}")
        try:
            self._search = regex.compile(pattern, regex.VERSION0).search
        except regex.error as error:
            raise ValueError(f"the pattern is no regular expression ({error})") from None
        self._left = SECONDS

    def first_group(self, text: str) -> str | None:
        """What the first group finds in a text; None where nothing is found. Raises ValueError where that takes too
        long."""
        if self._left <= 0:
            raise ValueError(SLOW)
        started = time.monotonic()
        try:
            found = self._search(text, timeout=min(1.0, self._left))
        except TimeoutError:
            raise ValueError(SLOW) from None
        finally:
            taken = time.monotonic() - started
            self._left -= taken if taken > QUICK_SECONDS else 0.0
        group: str | None = found[1] if found else None
        return group


@cache
def pattern_of(text: str) -> Pattern:
    """One Pattern for each text, so that its seconds are those of all rows together."""
    return Pattern(text)


def check_image_pattern(pattern: str, fields: Iterable[str]) -> None:
    """Raises ValueError where data.image_pattern has another field, or writes one at a width that nobody needs."""
    known = list(fields)
    try:
        parts = [
            (name, form, conversion) for _, name, form, conversion in Formatter().parse(pattern) if name is not None
        ]
    except ValueError as error:
        raise ValueError(f"data.image_pattern: {pattern[:60]!r} cannot be filled in ({error}).") from None
    for name, form, conversion in parts:
        if name not in known:
            words = ", ".join(f"{{{one}}}" for one in known)
            raise ValueError(f"data.image_pattern: {{{name[:40]}}} is not known here; it may have {words}.")
        if conversion or not FORM.fullmatch(form or ""):
            raise ValueError(f"data.image_pattern: {{{name}:{(form or conversion or '')[:40]}}}: write a width as 06d.")
