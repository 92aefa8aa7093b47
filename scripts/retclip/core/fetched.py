"""What was fetched for a run: where it lies, what it is, and how it comes to a machine without network."""

import os
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retclip.core.hub import is_hub_id
from retclip.core.io import atomic, read_json, whole_folder
from retclip.core.preprocessing import settings_path

RESOURCES = "resources"


def fetched_lines(paths: list[Path]) -> list[str]:
    """A line for each of the folders of text encoders and data sets, and files of image weights."""
    return [_line(path) for path in paths] or ["nothing is fetched for this config: it takes no weights"]


def refuse_absent(model: Mapping[str, Any], encoder_dirs: Mapping[str, str], image_weights: Path | None) -> None:
    """Raises ValueError where what is still to be fetched comes from a folder or file that is not there.

    model: of the config. encoder_dirs, image_weights: where the fetch puts them.
    """
    for name, folder in encoder_dirs.items():
        source = model["text_encoders"][name]["source"]
        if source != "demo" and not any(map(os.path.exists, (folder, source))) and not is_hub_id(source):
            raise ValueError(
                f"config: model.text_encoders.{name}.source is {source[:150]}: neither a folder nor a hub id."
            )
    given = model["image_encoder"].get("weights")
    if image_weights is None or image_weights.exists() or given.startswith("hf-hub:") or os.path.exists(given):
        return
    if Path(given).suffix or "/" in given:  # else a tag
        raise ValueError(f"config: model.image_encoder.weights is {given[:150]}: no such file.")


def carry(paths: list[Path], folder: Path) -> str:
    """Copies them below `folder` as they lie here; returns how they are used there.

    What the folder has of them already is replaced, all else in it stays. Raises ValueError where that would lose
    files of the user's, or where the disk is full.
    """
    for path in paths:
        assert path.parts[0] == RESOURCES, "all that is fetched lies there"
        target = folder / path
        if path.is_dir():
            with whole_folder(target) as made:
                shutil.copytree(path, made, dirs_exist_ok=True)
            continue
        for file in filter(Path.is_file, (path, settings_path(path))):
            with atomic(folder / file) as temporary:
                shutil.copyfile(file, temporary)
    there = shlex.quote(f"{folder.name}/{RESOURCES}")
    return (
        f"carry {folder} over, and there, in the folder in which you run: cp -r {there} .\n"
        "With the same config and code nothing is fetched there, and no network is needed."
    )


def _line(path: Path) -> str:
    found = _source(path)
    facts = [f"{key} {str(found[key])[:40]}" for key in ("revision", "license") if found.get(key)]
    files = filter(Path.is_file, path.rglob("*")) if path.is_dir() else [path]
    size = sum(file.stat().st_size for file in files)
    name = found.get("source") or found.get("name") or "of yours"
    return f"{path}: {', '.join([name, *facts])}, {size / 1e6:,.1f} MB"


def _source(path: Path) -> dict[str, Any]:
    """source.json of a folder, or what the JSON beside weights says of theirs."""
    if path.is_dir():
        document: dict[str, Any] = read_json(path / "source.json") if (path / "source.json").is_file() else {}
        return document
    beside = settings_path(path)
    weights: dict[str, Any] = read_json(beside)["source"] if beside.is_file() else {}
    return weights
