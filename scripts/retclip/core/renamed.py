"""Keys and values of configs that had other names in version 0.1: read for one version more, with a warning.

Snakemake has laid the user's overlay over config.yaml before we see it, so an old key stands beside the new one with
config.yaml's value; what the user wrote is the old one, and it is laid over the new one.
"""

import copy
from typing import Any

Config = dict[str, Any]

KEYS = {"model.vision": "image_encoder", "model.long_texts": "truncation_side"}
VALUES = {"truncation_side": {"head": "right", "tail": "left"}, "freeze": {"vision": "image"}}
SECTIONS = ("model", "phase1.space", "phase2.space")


def in_new_words(config: Config) -> tuple[Config, list[str]]:
    """A copy of the config with today's keys and values, and one sentence for each old one.

    config: as Snakemake merged it, unchecked, nulls included.
    """
    config, told = copy.deepcopy(config), []
    for old, new in KEYS.items():
        inner, key = _mapping(config, old.split(".")[0]), old.split(".")[1]
        if key in inner:
            inner[new] = _laid_over(inner.get(new), inner.pop(key))
            told.append(_sentence(f"{old} is", f"{old.split('.')[0]}.{new}"))
    for section in SECTIONS:
        inner = _mapping(config, section)
        for name, renamed in VALUES.items():
            given = inner.get(name)
            for value in given if isinstance(given, list) else [given]:
                if isinstance(value, str) and value in renamed:
                    told.append(_sentence(f"{value} of {section}.{name} is", renamed[value]))
            inner.update({name: _renamed(given, renamed)} if name in inner else {})
    return config, told


def model_folder_in_new_words(document: dict[str, Any]) -> dict[str, Any]:
    """A JSON file of an exported model with today's keys: models of version 0.1 can be used as they are."""
    names = {key.split(".")[1]: new for key, new in KEYS.items()}
    return {
        names.get(key, key): _renamed(value, VALUES.get(names.get(key, key), {})) for key, value in document.items()
    }


def _laid_over(below: Any, above: Any) -> Any:
    if isinstance(below, dict) and isinstance(above, dict):
        return {**below, **{name: _laid_over(below.get(name), value) for name, value in above.items()}}
    return above


def _mapping(config: Config, path: str) -> dict[str, Any]:
    """The mapping at a path of the config; an empty one where there is none."""
    inner: Any = config
    for key in path.split("."):
        inner = inner.get(key) if isinstance(inner, dict) else None
    return inner if isinstance(inner, dict) else {}


def _renamed(value: Any, renamed: dict[str, str]) -> Any:
    if isinstance(value, list):
        return [_renamed(one, renamed) for one in value]
    return renamed.get(value, value) if isinstance(value, str) else value


def _sentence(old: str, new: str) -> str:
    return f"config: {old} now called {new}; the old name is read for one more version."
