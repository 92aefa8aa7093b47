"""The blocks of config/schema that repeat what scripts/ declares, written by make reference.

They are text and not filled in when a schema is read, for two reasons: core may not import the metrics, sources and
strategies of upper floors, and the wording of a declaration is then no part of the code of a training run, which it
would run again.
"""

import dataclasses
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from retclip.core.hyperparameters import GIVEN, HYPERPARAMETERS, Hyperparameter
from retclip.core.source_facts import SourceFacts
from retclip.data.sources.registry import SOURCES
from retclip.metrics.registry import SELECTABLE
from retclip.search.strategies import STRATEGIES

SCHEMAS = Path(__file__).resolve().parents[1] / "config/schema"
BLOCK = re.compile(r"^( *)# made by `make reference`: (\S+)\n.*?^\1# end\n", re.MULTILINE | re.DOTALL)


def regenerated_schemas() -> Iterator[tuple[Path, str]]:
    """Every schema file and its text with fresh blocks."""
    for path in sorted(SCHEMAS.glob("*.schema.yaml")):
        yield path, BLOCK.sub(_made, path.read_text(encoding="utf-8"))


def _made(found: re.Match[str]) -> str:
    indent, name = found[1], found[2]
    lines = [f"# made by `make reference`: {name}", *BLOCKS[name](), "# end"]
    return "".join(f"{indent}{line}\n" for line in lines)


def _flow(value: Any) -> str:
    """A value in YAML's flow style, in one line; texts are quoted where it is prose."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_flow, value))}]"
    if isinstance(value, str) and re.search(r"[^a-z0-9_]", value):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return yaml.safe_dump(value, default_flow_style=True).splitlines()[0]


def _of_section(section: str) -> dict[str, Hyperparameter]:
    """Key in the section -> hyperparameter."""
    return {one.at.split(".")[1]: one for one in HYPERPARAMETERS.values() if one.at.split(".")[0] == section}


def _required(section: str) -> list[str]:
    return [f"- {key}" for key, one in _of_section(section).items() if one.default is GIVEN]


def _configured(section: str) -> list[str]:
    lines = []
    for key, one in _of_section(section).items():
        default = {} if one.default in (GIVEN, None) else {"default": one.default}
        lines.append(f"{key}: {_flow({'description': one.about, **one.schema(configured=True), **default})}")
    return lines


def _searched(line: Callable[[str, Hyperparameter], str]) -> list[str]:
    return [line(name, one) for name, one in HYPERPARAMETERS.items() if one.searched]


def _values(name: str, one: Hyperparameter) -> str:
    place = "#/properties/" + one.at.replace(".", "/properties/")
    items = _flow({"$ref": place})
    return f"{name}: {{type: array, minItems: 1, uniqueItems: true, items: {items}}}"


def _near_best(name: str, one: Hyperparameter) -> str:
    other = "relative" if one.is_numeric else "from_best"
    return (
        f'{name}: {{if: {{type: array}}, then: {{$ref: "#/$defs/values/{name}"}}, else: {{$ref: "#/$defs/{other}"}}}}'
    )


def _phase1(name: str, one: Hyperparameter) -> str:
    del one
    place = "values_or_auto" if name == "learning_rate" else f"values/{name}"
    return f'{name}: {{$ref: "#/$defs/{place}"}}'


def _strategies() -> list[str]:
    facts = {
        fact: [name for name, declared in STRATEGIES.items() if getattr(declared, fact)]
        for fact in ("learns", "has_rungs", "is_exhaustive")
    }
    return [f"enum: {_flow(list(STRATEGIES))}", f"x-facts: {_flow(facts)}"]


def _sources() -> list[str]:
    facts = dataclasses.fields(SourceFacts)
    lines = [f"enum: {_flow(list(SOURCES))}", "x-facts:"]
    for name, form in SOURCES.items():
        declared = {fact.name: getattr(form, fact.name) for fact in facts if getattr(form, fact.name) != fact.default}
        lines.append(f"  {name}: {_flow(declared)}")
    return lines


BLOCKS: dict[str, Callable[[], list[str]]] = {
    **{
        f"{section}.required": lambda section=section: _required(section)
        for section in ("model", "training", "defaults")
    },
    **{section: lambda section=section: _configured(section) for section in ("model", "training", "defaults")},
    "phase1.space": lambda: _searched(_phase1),
    "phase2.space": lambda: _searched(lambda name, _: f'{name}: {{$ref: "#/$defs/near_best/{name}"}}'),
    "values": lambda: _searched(_values),
    "near_best": lambda: _searched(_near_best),
    "sources": _sources,
    "external.sources": lambda: [f"enum: {_flow([name for name, form in SOURCES.items() if not form.is_drawn])}"],
    "strategies": _strategies,
    "metrics": lambda: [f"- {name}" for name in SELECTABLE],
    "trial.required": lambda: [f"- {name}" for name in HYPERPARAMETERS],
    "trial": lambda: [f"{name}: {_flow(one.schema())}" for name, one in HYPERPARAMETERS.items()],
}
