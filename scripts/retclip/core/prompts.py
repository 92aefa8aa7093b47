"""Class prompts for zero-shot ensembles: from the user's file, or a template with a warning."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

from retclip.core.bounded import read_yaml
from retclip.core.io import sha256_of
from retclip.core.logs import log
from retclip.core.plain_text import first_of
from retclip.core.spelling import in_words_of

TEMPLATES = ("A fundus photograph showing {label}.", "Findings are consistent with {label}.")


def class_prompts(path: str | Path, classes: list[str]) -> dict[str, list[str]]:
    """Descriptions per class, in whatever spelling the file has it. One that it does not have falls back to TEMPLATES.

    Raises ValueError where the file is not a mapping of class names to lists of sentences.
    """
    known = read_prompts(path)
    name_of = in_words_of(known)
    prompts = {}
    for label in classes:
        if name_of(label) not in known:
            log(f"{path} has no prompts for the class {label!r}: using a template")
            prompts[label] = [template.format(label=label) for template in TEMPLATES]
            continue
        prompts[label] = _descriptions(known, name_of(label), path)
    return prompts


def read_prompts(path: str | Path) -> dict[str, Any]:
    """Class -> what the file says of it. Raises ValueError where it is no mapping, or has a class without a
    name, or in two spellings."""
    known = read_yaml(path, named=True)
    if not isinstance(known, dict) or not all(isinstance(name, str) for name in known):
        raise ValueError(f"{path}: must map class names to lists of descriptions.")
    name_of = in_words_of(known)
    for name in known:
        if not name.strip():
            raise ValueError(f"{path}: a class has no name.")
        if name_of(name) != name:
            raise ValueError(
                f"{path}: the classes {name!r} and {name_of(name)!r} are one, as classes that differ in letter case, "
                "blanks, width or a final .0 alone are; write them as one."
            )
    return known


def note_on_prompts(path: str | Path, classes: list[str]) -> str:
    """What is to be said of classes that get a template; "" where the file describes all. Raises ValueError as
    class_prompts does."""
    known = read_prompts(path)
    name_of = in_words_of(known)
    missing = [label for label in classes if name_of(label) not in known]
    described = [name_of(label) for label in classes if name_of(label) in known]
    for name in described:
        _descriptions(known, name, path)
    if not missing:
        return ""
    verb = "class has" if len(missing) == 1 else "classes have"
    note = f"evaluation.prompts: {len(missing)} {verb} no descriptions ({first_of(missing)}), and get a template"
    unused = [name for name in known if name not in described]
    for label in missing:
        if near := get_close_matches(label, unused, n=1, cutoff=0.8):
            return f"{note}; did you mean {label} by {near[0]}?"
    return f"{note}."


def prompts_hash(path: str | Path) -> str:
    """Hex digest of what the file says, whatever its comments and layout. Raises ValueError as class_prompts does."""
    return sha256_of({label: repr(sentences) for label, sentences in read_prompts(path).items()})


def _descriptions(known: dict[str, Any], label: str, path: str | Path) -> list[str]:
    sentences = known[label]
    if not (isinstance(sentences, list) and sentences and all(isinstance(s, str) for s in sentences)):
        raise ValueError(f"{path}: the class {label!r} needs a list of at least one description.")
    return sentences
