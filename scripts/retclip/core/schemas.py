"""Checks values against config/schema/*.schema.yaml and says in one sentence what is wrong."""

import difflib
import math
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

LONGEST = 100  # letters of a key or a value in a sentence
MOST_SHOWN = 180  # letters of all values that there are
SCHEMAS = Path(__file__).resolve().parents[3] / "config" / "schema"


@cache
def load(name: str) -> dict[str, Any]:
    """The schema called `name`, parsed."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C takes a tenth of the time
    return yaml.load((SCHEMAS / f"{name}.schema.yaml").read_text(encoding="utf-8"), Loader=loader)


def check(value: Any, name: str, origin: str) -> None:
    """Raises ValueError with one sentence naming `origin` and the key if `value` breaks schema `name`."""
    import jsonschema

    error = jsonschema.exceptions.best_match(_validator(name).iter_errors(value))
    if error is not None:
        # a key or a value may hold line breaks, a sentence may not
        raise ValueError(" ".join(f"{origin}: {_sentence(error)}".split()))


@cache
def _validator(name: str) -> Any:
    import jsonschema

    kind = jsonschema.Draft202012Validator
    numbers = kind.TYPE_CHECKER
    # NaN and infinity are floats that no comparison with a bound refuses, and that no JSON file holds
    checker = numbers.redefine("number", lambda _, item: numbers.is_type(item, "number") and abs(item) < math.inf)
    if name == "config":
        # to JSON 2.0 is an integer; to Python, which counts with it, it is not
        checker = checker.redefine("integer", lambda _, item: type(item) is int)
    return jsonschema.validators.extend(kind, type_checker=checker)(load(name))


def _sentence(error: Any) -> str:
    """One sentence a user can act on, for the mistakes that YAML invites first."""
    key = _short(".".join(str(part) for part in error.absolute_path)) or "the top level"
    value, shown = error.instance, _short(repr(error.instance))
    if error.validator == "additionalProperties":
        return _unknown_key(error, key)
    if error.validator == "required":
        missing = next(name for name in error.validator_value if name not in value)
        return f"{key} lacks the key '{missing}'."
    if error.validator == "enum":
        return f"{key} is {shown}; {_advice(value, error.validator_value)}"
    if error.validator == "const":
        return f"{key} is {shown}; this version knows only {error.validator_value!r}."
    if error.validator == "type":
        hint = ""
        if isinstance(value, str) and _is_number(value):
            hint = f" YAML reads {_short(value)} as text; write {_as_yaml_number(value)}."
        if isinstance(value, bool):
            hint = " YAML reads bare off, on, yes and no as true or false; put the word in quotes."
        if error.validator_value == "string" and isinstance(value, int | float | date) and not hint:
            hint = " Put it in quotes."
        wanted = error.validator_value
        wanted = " or ".join(wanted) if isinstance(wanted, list) else wanted
        article = "an" if wanted[0] in "aeio" else "a"
        return f"{key} is {shown}; it must be {article} {wanted}.{hint}"
    described = error.schema.get("description") if isinstance(error.schema, dict) else None
    explanation = f" ({' '.join(described.split())})" if described else ""
    message = error.message if len(error.message) <= 160 else f"{error.message[:100]} ... {error.message[-50:]}"
    return f"{key}: {message}{explanation}."


def _advice(value: Any, known: list[Any]) -> str:
    """All values that there are, or where they fill more than a sentence, the one that was meant, or the first."""
    names = [str(name) for name in known]
    near = difflib.get_close_matches(str(value), names, n=1, cutoff=0.5)
    if near and len(", ".join(names)) > MOST_SHOWN:
        return f"did you mean {near[0]}? config/README.md has all {len(names)}."
    return f"it must be one of {_first(names)}."


def _unknown_key(error: Any, key: str) -> str:
    known = list(error.schema.get("properties", {}))
    unknown = next(name for name in error.instance if name not in known)
    near = difflib.get_close_matches(str(unknown), known, n=1)
    advice = f"did you mean '{near[0]}'?" if near else f"known keys are {_first(known)}."
    return f"{key} has the unknown key '{_short(str(unknown))}'; {advice}"


def _first(names: list[str]) -> str:
    """As many names as go into a sentence."""
    told = list(names)
    while len(", ".join(told)) > MOST_SHOWN:
        told.pop()
    more = len(names) - len(told)
    return f"{', '.join(told)}{f' and {more} more (config/README.md)' if more else ''}"


def _short(text: str) -> str:
    """What a stranger wrote, as much of it as a sentence takes."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 30]} ... {text[-20:]}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _as_yaml_number(text: str) -> str:
    number = float(text)
    plain = f"{number:g}"
    if "e" in plain and "." not in plain:
        plain = plain.replace("e", ".0e")
    return plain
