"""When two words of a table, a config or a file of class names are one."""

import re
import unicodedata
from collections.abc import Callable, Iterable

# Blanks that str.strip leaves: they come with text that was copied from a web page.
ZERO_WIDTH = "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
NO_WIDTH = dict.fromkeys(map(ord, ZERO_WIDTH))
WHOLE = re.compile(r"(?<=\d)\.0+$")  # what programs that count in fractions write behind a whole number


def form_of(cell: str) -> str:
    """What cells share that differ in letter case, width, blanks or a final .0 alone: 12 and 12.0, No DR and no  dr."""
    words = " ".join(unicodedata.normalize("NFKC", cell).translate(NO_WIDTH).casefold().split())
    return WHOLE.sub("", words)


def plain(name: str) -> str:
    """A name without what the eye hardly sees: letter case, width, blanks beside underscores, zero-width letters."""
    return "_".join(unicodedata.normalize("NFKC", name).translate(NO_WIDTH).casefold().replace("_", " ").split())


def spelled_alike(word: str) -> str:
    """What names share that differ in letter case, blanks, width or a final .0 alone: No DR, no dr and NoDR."""
    return "".join(form_of(word).split())


def in_words_of(names: Iterable[str]) -> Callable[[str], str]:
    """Gives a name as these are spelled; one that is none of them as it is."""
    known = {spelled_alike(name): name for name in names}
    return lambda name: known.get(spelled_alike(name), name)
