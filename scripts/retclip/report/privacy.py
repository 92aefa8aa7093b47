"""What a report may not tell where privacy.private is set: where the patients' data lie, and how they are named."""

from pathlib import Path
from typing import Any

HIDDEN = "(private)"
PATHS = ("manifest", "test_manifest", "image_root")
HUB = "hf-hub:"
REPOSITORY = Path(__file__).resolve().parents[3]


def shown_config(config: dict[str, Any]) -> dict[str, Any]:
    """The config as the report of its run may show it."""
    return without_paths(config) if config["privacy"]["private"] else config


def without_paths(config: dict[str, Any]) -> dict[str, Any]:
    """The config with the places of all data, of local text encoders, of local weights and of the prompts blanked, and
    the patterns that image names and patient ids follow."""
    encoders = {
        name: {**entry, "source": HIDDEN} if _is_local(entry["source"]) else entry
        for name, entry in config["model"]["text_encoders"].items()
    }
    evaluation = {**config["evaluation"], "prompts": Path(config["evaluation"]["prompts"]).name}
    if "external_tests" in evaluation:
        evaluation["external_tests"] = {name: _hidden(data) for name, data in evaluation["external_tests"].items()}
    image_encoder = {
        key: HIDDEN if key in ("weights", "architecture") and _is_file(str(value)) else value
        for key, value in config["model"]["image_encoder"].items()
    }
    return {
        **config,
        "data": _hidden(config["data"]),
        "model": {**config["model"], "image_encoder": image_encoder, "text_encoders": encoders},
        "evaluation": evaluation,
    }


def private_values(config: dict[str, Any]) -> set[str]:
    """Every text of a config that without_paths does not show, but for words that say nothing."""
    shown = set(_texts(without_paths(config)))
    return {text for text in _texts(config) if text not in shown and len(text) > 3 and not _is_ours(text)}


def _is_ours(text: str) -> bool:
    """config/prompts.yaml and the like, which everybody has."""
    return text.startswith("config/") and (REPOSITORY / text).is_file()


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for inner in value.values() for text in _texts(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in _texts(inner)]
    return [value] if isinstance(value, str) else []


def _hidden(data: dict[str, Any]) -> dict[str, Any]:
    """The settings of a data set without its places and patterns."""
    data = {key: HIDDEN if key in (*PATHS, "image_pattern") and value else value for key, value in data.items()}
    if "class_map" in data:
        data["class_map"] = Path(data["class_map"]).name
    if data.get("hub_dataset"):
        data["hub_dataset"] = {**data["hub_dataset"], "source": HIDDEN}
    if isinstance(data.get("patient_id"), dict):
        data["patient_id"] = {"pattern": HIDDEN}
    if data.get("columns"):
        data["columns"] = {
            name: {**given, "pattern": HIDDEN} if isinstance(given, dict) and "pattern" in given else given
            for name, given in data["columns"].items()
        }
    return data


def _is_local(source: str) -> bool:
    """A hub id is name or owner/name; whatever starts otherwise, goes deeper, or is here, is a folder."""
    return source.startswith(("/", ".", "~")) or source.count("/") > 1 or ("/" in source and Path(source).exists())


def _is_file(name: str) -> bool:
    """Of weights and architectures: neither a tag or a name of a library's, nor a repository of the hub's."""
    return not name.startswith((HUB, "timm/")) and ("/" in name or bool(Path(name).suffix[1:].isalpha()))
