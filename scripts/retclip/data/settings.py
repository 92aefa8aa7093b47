"""The settings of a build: one JSON, checked key by key."""

import json
from typing import Any, NamedTuple

from retclip.core.preprocessing import INTERPOLATIONS
from retclip.data.sources.registry import SOURCES

REQUIRED = object()


class Setting(NamedTuple):
    """One key: the types that its value may have, what it is for, and its default where it may be missing."""

    kind: tuple[type, ...]
    about: str
    default: Any = REQUIRED
    choices: tuple[str, ...] = ()


NUMBER = (int, float)
KINDS = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list of texts",
    dict: "a mapping",
}
SETTINGS = {
    "source": Setting((str,), "the form of the data", choices=tuple(SOURCES)),
    "patient_id": Setting((str,), "a column, none, or pattern:REGEX of image paths", "patient_id"),
    "image_pattern": Setting((str,), "names of the image files, of what a row says", None),
    "columns": Setting((dict,), "our name -> the table's column, {one_hot: ...} or {pattern: ...}", {}),
    "values": Setting((dict,), "our name -> {a cell of the column: what it means}", {}),
    "eye_images": Setting((str,), "which of several images of one eye", "all", ("all", "first", "best")),
    "follow_links": Setting((bool,), "symbolic links out of the image root are read, whosoever they are", False),
    "text_columns": Setting((list,), "further columns of the table that hold texts", ()),
    "report_section": Setting((str,), "heading whose paragraph stands for the report", None),
    "near_duplicates": Setting((str,), "what to do with them", "warn", ("ignore", "warn", "group", "drop")),
    "image_size": Setting((int,), "pixels, square"),
    "interpolation": Setting((str,), "of the resize; by default the image encoder's", None, INTERPOLATIONS),
    "image_encoding": Setting((str,), "of the stored pixels", choices=("raw", "jpeg")),
    "test_fraction": Setting(NUMBER, "of the patients"),
    "val_fraction": Setting(NUMBER, "of the patients not in test"),
    "max_bad_fraction": Setting(NUMBER, "of the rows"),
    "seed": Setting((int,), "of the splits"),
    "only_test": Setting((bool,), "all patients are test: data to evaluate on only", False),
}


def read_settings(text: str) -> dict[str, Any]:
    """Every setting, checked, from JSON. Raises ValueError with one sentence about the first that is wrong."""
    try:
        given = json.loads(text)
    except ValueError as error:
        raise ValueError(f"--settings is no JSON: {error}.") from None
    if not isinstance(given, dict):
        raise ValueError("--settings is no mapping of names to values.")
    for name in given:
        if name not in SETTINGS:
            raise ValueError(f"--settings has the unknown key {name}; the keys are {', '.join(SETTINGS)}.")
    for name, setting in SETTINGS.items():
        if name not in given and setting.default is REQUIRED:
            raise ValueError(f"--settings lacks {name} ({setting.about}).")
        if name in given:
            _check(name, setting, given[name])
    found = {name: given.get(name, setting.default) for name, setting in SETTINGS.items()}
    return {name: float(value) if SETTINGS[name].kind == NUMBER else value for name, value in found.items()}


def described() -> str:
    """The keys, one a line, for --help."""
    lines = ["the keys of --settings, a JSON mapping:"]
    for name, setting in SETTINGS.items():
        default = "required" if setting.default is REQUIRED else f"default: {json.dumps(setting.default)}"
        lines.append(f"  {name}: {', '.join((*setting.choices, setting.about))} ({default})")
    return "\n".join(lines)


def _check(name: str, setting: Setting, value: Any) -> None:
    # to Python, true is a number
    fits = isinstance(value, setting.kind) and (bool in setting.kind or not isinstance(value, bool))
    if setting.choices and value not in setting.choices:
        raise ValueError(f"--settings: {name} is {json.dumps(value)}; it must be one of {', '.join(setting.choices)}.")
    if not fits or (setting.kind == (list,) and not all(isinstance(item, str) for item in value)):
        raise ValueError(f"--settings: {name} is {json.dumps(value)}; it must be {KINDS[setting.kind[-1]]}.")
