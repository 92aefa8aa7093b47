"""Which eye the words of a cell or of a file name say: one rule for every place that reads them."""

import re

from retclip.data.samples import EYES

# letters and digits together; what stands between them delimits
WORD = re.compile(r"[^\W_]+")
# A longer word is one beside a number, too (left12); a letter is not: L2 may be anything.
LONG = 3
# Words of a cell that names one eye and nothing else.
CELL_EYES = {
    **{word: eye for word, eye in EYES.items() if " " not in word},
    **dict.fromkeys(("le", "sinister", "sinistra", "oculussinister", "左", "左眼", "lefteye"), "left"),
    **dict.fromkeys(("re", "dexter", "dextra", "oculusdexter", "右", "右眼", "righteye"), "right"),
}
FILLERS = frozenset(("eye", "oculus", "side", "fundus"))
NO_EYE = frozenset(("unknown", "u", "unk", "unspecified", "not known", "undetermined"))


def eye_of(text: str) -> str | None:
    """left or right where words of the text name one eye (12_left, P1-R, "OD", "left eye"); None where they name none
    or both."""
    found = {eye for word in WORD.findall(text.lower()) if (eye := _eye_of_word(word))}
    return found.pop() if len(found) == 1 else None


def eye_of_cell(cell: str) -> str | None:
    """left, right or unknown as a cell of a column of eyes says it, in any usual spelling (OD, o.s., "Left eye", LE);
    None where it has another word."""
    text = " ".join(WORD.findall(cell.lower().replace(".", "")))
    if text in NO_EYE:
        return "unknown"
    words = [word for word in text.split() if word not in FILLERS]
    found = {CELL_EYES.get(word) for word in words}
    return found.pop() if len(found) == 1 else None


def without_eye(text: str) -> str:
    """The text in small letters with a star for each word that names an eye: equal for the two eyes of one patient."""
    return WORD.sub(lambda word: _starred(word[0]), text.lower())


def _starred(word: str) -> str:
    """A number beside the eye's name is the patient's, and stays."""
    return word.replace(word.strip("0123456789") or word, "*") if _eye_of_word(word) else word


def _eye_of_word(word: str) -> str | None:
    bare = word.strip("0123456789")
    return EYES.get(bare if len(bare) > LONG else word)
