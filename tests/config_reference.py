"""Writes what is made of declarations: the blocks of config/schema, and of them and config.yaml the tables of
config/README.md: make reference."""

import sys
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from schema_blocks import regenerated_schemas

from retclip.data.sources.registry import SOURCES
from retclip.search.strategies import STRATEGIES, Strategy

CONFIG = Path(__file__).resolve().parents[1] / "config"
README = CONFIG / "README.md"


def reference() -> str:
    """The whole of config/README.md, with its tables regenerated."""
    text = README.read_text(encoding="utf-8")
    for name, table in (("sources", source_table()), ("strategies", strategy_table()), ("keys", key_table())):
        begin, end = f"<!-- {name}: made by `make reference` -->", f"<!-- end of {name} -->"
        before, rest = text.split(begin)
        _, after = rest.split(end)
        text = f"{before}{begin}\n\n{table}\n\n{end}{after}"
    return text


def source_table() -> str:
    """Of the forms that say something of themselves; the others are described beside it."""
    rows = [f"| `{name}` | {form.about_table} | {form.about_images} |" for name, form in SOURCES.items()
            if form.about_table]  # fmt: skip
    return "\n".join(["| source | manifest | images |", "|---|---|---|", *rows])


def strategy_table() -> str:
    return "\n".join(
        [
            "| strategy | trials | |",
            "|---|---|---|",
            *(f"| `{name}` | {_trials(declared)} | {declared.about} |" for name, declared in STRATEGIES.items()),
        ]
    )


def _trials(declared: Strategy) -> str:
    if declared.has_rungs:
        return "`brackets` times `rungs`"
    if declared.is_exhaustive:
        return "every combination of the lists"
    return "`trials`, in rounds of `trials_per_round`" if declared.learns else "`trials`"


def key_table() -> str:
    schema = yaml.safe_load((CONFIG / "schema/config.schema.yaml").read_text(encoding="utf-8"))
    defaults = yaml.safe_load((CONFIG / "config.yaml").read_text(encoding="utf-8"))
    lines = ["| key | default | allowed | what it is |", "|---|---|---|---|"]
    return "\n".join([*lines, *_rows(schema, schema["$defs"], defaults, "")])


def _rows(schema: dict[str, Any], definitions: dict[str, Any], defaults: Any, prefix: str) -> list[str]:
    rows = []
    for name, entry in schema.get("properties", {}).items():
        while "$ref" in entry:
            target: Any = definitions
            for part in entry["$ref"].removeprefix("#/$defs/").split("/"):
                target = target[part]
            entry = {**target, **{key: value for key, value in entry.items() if key != "$ref"}}
        value = defaults.get(name, entry.get("default")) if isinstance(defaults, dict) else None
        key = f"{prefix}{name}"
        if "properties" in entry and name != "space":  # a space has a row of its own, not one per hyperparameter
            rows += _rows(entry, definitions, value, f"{key}.")
        else:
            shown = "" if value is None else _code(value)
            rows.append(f"| `{key}` | {shown} | {_allowed(entry)} | {entry.get('description', '').replace('|', '/')} |")
    return rows


def _code(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=1000).replace("\n...", "").strip()
    return f"`{text}`"


def _allowed(entry: dict[str, Any]) -> str:
    if "enum" in entry:
        return ", ".join(f"`{value}`" for value in entry["enum"])
    if "const" in entry:
        return _code(entry["const"])
    kind = entry.get("type", "").replace("object", "mapping") if isinstance(entry.get("type"), str) else ""
    limits = [
        f"{sign} {entry[name]}"
        for name, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"))
        if name in entry
    ]
    return " ".join([kind, ", ".join(limits)]).strip()


if __name__ == "__main__":
    for path, text in regenerated_schemas():
        path.write_text(text, encoding="utf-8")
    README.write_text(reference(), encoding="utf-8")
