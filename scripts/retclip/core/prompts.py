"""Class prompts for zero-shot ensembles: from the user's file, or a template with a warning."""

from pathlib import Path
from typing import Any

from retclip.core.bounded import read_yaml
from retclip.core.io import sha256_of
from retclip.core.logs import log

TEMPLATES = ("A fundus photograph showing {label}.", "Findings are consistent with {label}.")


def class_prompts(path: str | Path, classes: list[str]) -> dict[str, list[str]]:
    """Descriptions per class. A class that the file does not have falls back to TEMPLATES.

    Raises ValueError where the file is not a mapping of class names to lists of sentences.
    """
    known = _read(path)
    prompts = {}
    for label in classes:
        if label not in known:
            log(f"{path} has no prompts for the class {label!r}: using a template")
            prompts[label] = [template.format(label=label) for template in TEMPLATES]
            continue
        sentences = known[label]
        if not (isinstance(sentences, list) and sentences and all(isinstance(s, str) for s in sentences)):
            raise ValueError(f"{path}: the class {label!r} needs a list of at least one description.")
        prompts[label] = sentences
    return prompts


def prompts_hash(path: str | Path) -> str:
    """Hex digest of what the file says, whatever its comments and layout. Raises ValueError as class_prompts does."""
    return sha256_of({str(label): repr(sentences) for label, sentences in _read(path).items()})


def _read(path: str | Path) -> dict[Any, Any]:
    known = read_yaml(path)
    if not isinstance(known, dict):
        raise ValueError(f"{path}: must map class names to lists of descriptions.")
    return known
