"""Writes the key table of config/README.md from the schema and config.yaml: make reference."""

from pathlib import Path
from typing import Any

import yaml

CONFIG = Path(__file__).resolve().parents[1] / "config"
README = CONFIG / "README.md"
BEGIN, END = "<!-- keys: made by `make reference` -->", "<!-- end of keys -->"


def reference() -> str:
    """The whole of config/README.md, its table made anew."""
    before, rest = README.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{key_table()}\n\n{END}{after}"


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
        value = defaults.get(name) if isinstance(defaults, dict) else None
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
    README.write_text(reference(), encoding="utf-8")
