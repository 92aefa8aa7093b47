"""What build_lmdb is told of the config's `data`: how a table and its images become stores."""

from typing import Any

from retclip.core.config import Config, external_test
from retclip.core.source_facts import source_facts

# Whoever is in a data set that is only evaluated is a test patient, and a copy there harms no training run.
ONLY_TEST = {"test_fraction": 1, "val_fraction": 0, "near_duplicates": "ignore", "only_test": True}
SHARED = ("image_size", "image_encoding", "max_bad_fraction", "follow_links")


def build_settings(config: Config, external: str | None = None) -> dict[str, Any]:
    """The settings of build_lmdb. external: the name of an external test set; None for the run's own data."""
    data = external_test(config, external) if external else config["data"]
    own = {name: config["data"][name] for name in ("test_fraction", "val_fraction", "near_duplicates")}
    settings = {
        "source": data["source"],
        "eye_images": data["eye_images"],
        "patient_id": patient_rule(data),
        "columns": data.get("columns"),
        "values": data.get("values"),
        "image_pattern": data.get("image_pattern", source_facts(data["source"]).image_pattern),
        "report_section": data.get("report_section"),
        "text_columns": text_columns(config),
        "interpolation": config["model"]["image_encoder"].get("interpolation"),
        "seed": config["seed"],
        **{name: config["data"][name] for name in SHARED},
        **(ONLY_TEST if external else own),
    }
    return {name: value for name, value in settings.items() if value is not None}


def patient_rule(data: dict[str, Any]) -> str:
    """A column, none, or pattern:REGEX; data.columns.patient_id is read under our own name."""
    if "patient_id" in data.get("columns", {}):
        return "patient_id"
    patient = data["patient_id"]
    return patient if isinstance(patient, str) else f"pattern:{patient['pattern']}"


def text_columns(config: Config) -> list[str]:
    """What encoders of other languages read; no other column of the table is taken for texts."""
    entries = config["model"]["text_encoders"].values()
    columns = {column for entry in entries for column in entry.get("texts", {}).values()}
    return sorted(columns - {"text", "text_left", "text_right"})


def image_root(data: dict[str, Any]) -> str:
    """The folder that the paths of a table are relative to. data: settings in the words of the config's `data`."""
    return data["manifest"] if source_facts(data["source"]).holds_images else data["image_root"]
