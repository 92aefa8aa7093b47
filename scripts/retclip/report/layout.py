"""The sections of the page in order, each out of its module, and the captions of figures: as sections.yaml has them."""

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from retclip.report import sections
from retclip.report.section import Section

DECLARED = Path(__file__).parent / "templates/sections.yaml"


def read_sections() -> dict[str, Section]:
    """Name -> section, in the order of the page; a hyphen in a name is an underscore in its module's."""
    return {name: import_module(f"{sections.__name__}.{name.replace('-', '_')}").SECTION for name in _declared()}


def read_captions() -> dict[str, str]:
    """Figure -> its caption, with {metric} and the like to be filled in."""
    return {name: entry["caption"] for figures in _declared().values() for name, entry in figures.items()}


@cache
def _declared() -> dict[str, Any]:
    import yaml

    return yaml.safe_load(DECLARED.read_text(encoding="utf-8"))
