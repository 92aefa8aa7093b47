"""Class prompts for zero-shot ensembles: from the user's file, or a template with a warning."""

from pathlib import Path

from retclip.core.logs import say

TEMPLATES = ("A fundus photograph showing {label}.", "Findings are consistent with {label}.")


def class_prompts(path: str | Path, classes: list[str]) -> dict[str, list[str]]:
    """Descriptions per class. A class that the file does not have falls back to TEMPLATES.

    Raises ValueError where the file is not a mapping of class names to lists of sentences.
    """
    import yaml

    try:
        known = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read as YAML ({str(error).splitlines()[0]}).") from None
    if not isinstance(known, dict):
        raise ValueError(f"{path}: must map class names to lists of descriptions.")
    prompts = {}
    for label in classes:
        if label not in known:
            say(f"{path} has no prompts for the class {label!r}: using a template")
            prompts[label] = [template.format(label=label) for template in TEMPLATES]
            continue
        sentences = known[label]
        if not (isinstance(sentences, list) and sentences and all(isinstance(s, str) for s in sentences)):
            raise ValueError(f"{path}: the class {label!r} needs a list of at least one description.")
        prompts[label] = sentences
    return prompts
