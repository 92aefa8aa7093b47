"""What a report may not tell where privacy.private is set: where the patients' data lie."""

from pathlib import Path
from typing import Any

HIDDEN = "(private)"
PATHS = ("manifest", "test_manifest", "image_root")


def shown_config(config: dict[str, Any]) -> dict[str, Any]:
    """The config as the report of its run may show it."""
    return without_paths(config) if config["privacy"]["private"] else config


def without_paths(config: dict[str, Any]) -> dict[str, Any]:
    """The config with the places of all data, of local text encoders, of local weights and of the prompts blanked."""
    encoders = {
        name: {**entry, "source": HIDDEN} if _is_local(entry["source"]) else entry
        for name, entry in config["model"]["text_encoders"].items()
    }
    evaluation = {**config["evaluation"], "prompts": Path(config["evaluation"]["prompts"]).name}
    if "external_tests" in evaluation:
        evaluation["external_tests"] = {name: _hidden(data) for name, data in evaluation["external_tests"].items()}
    image_encoder = config["model"]["image_encoder"]
    if _is_local(image_encoder.get("weights", "")):
        image_encoder = {**image_encoder, "weights": HIDDEN}
    return {
        **config,
        "data": _hidden(config["data"]),
        "model": {**config["model"], "image_encoder": image_encoder, "text_encoders": encoders},
        "evaluation": evaluation,
    }


def _hidden(data: dict[str, Any]) -> dict[str, Any]:
    """The settings of a data set without its paths."""
    data = {key: HIDDEN if key in PATHS and value else value for key, value in data.items()}
    if "class_map" in data:
        data["class_map"] = Path(data["class_map"]).name
    return data


def _is_local(source: str) -> bool:
    """A hub id is name or owner/name; whatever starts otherwise, or goes deeper, is a folder."""
    return source.startswith(("/", ".", "~")) or source.count("/") > 1
