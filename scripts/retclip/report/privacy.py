"""What a report may not tell where privacy.private is set: where the patients' data lie."""

from pathlib import Path
from typing import Any

HIDDEN = "(private)"
PATHS = ("manifest", "test_manifest", "image_root")


def without_paths(config: dict[str, Any]) -> dict[str, Any]:
    """The config with the places of the data, of local text encoders and of the prompts blanked."""
    data = {key: HIDDEN if key in PATHS and value else value for key, value in config["data"].items()}
    if "class_map" in data:
        data["class_map"] = Path(data["class_map"]).name
    encoders = {
        name: {**entry, "source": HIDDEN} if _is_local(entry["source"]) else entry
        for name, entry in config["model"]["text_encoders"].items()
    }
    evaluation = {**config["evaluation"], "prompts": Path(config["evaluation"]["prompts"]).name}
    return {
        **config,
        "data": data,
        "model": {**config["model"], "text_encoders": encoders},
        "evaluation": evaluation,
    }


def _is_local(source: str) -> bool:
    """A hub id is name or owner/name; whatever starts otherwise, or goes deeper, is a folder."""
    return source.startswith(("/", ".", "~")) or source.count("/") > 1
