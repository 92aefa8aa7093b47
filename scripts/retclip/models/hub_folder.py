"""A final model as a repository of the Hugging Face hub: its files with a card that fetches them by the hub's name."""

import re
import shutil
from pathlib import Path
from typing import Any

import yaml

from retclip.core.hub import is_hub_id
from retclip.core.io import is_file, read_json
from retclip.models.model_card import LOCAL_FOLDER, TEST_SCORES

# One folder of the hub each, or the hub's word for a license; see its documentation of model cards.
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]{1,60}")
# Upstream's layout is a pickle, which the hub warns of; the same weights are there as safetensors.
LEFT_OUT = ("README.md", "retclip.pt", ".*")
TAGS = ["retclip", "ophthalmology", "fundus", "open_clip", "transformers"]


def check_flags(repository: str, license_name: str, license_file: Path) -> None:
    """Raises ValueError where the hub has no such name, or the license has no text."""
    if not REPOSITORY.fullmatch(repository):
        raise ValueError(f"--repository is {repository[:100]!r}; give OWNER/NAME, as the hub is to call it.")
    if not LICENSE.fullmatch(license_name):
        raise ValueError(
            f"--license is {license_name[:60]!r}; give the hub's word for it, such as mit, cc-by-nc-4.0 or other."
        )
    if not is_file(license_file):
        raise ValueError(f"{license_file}: no such file; --license-file is the text of the license.")


def lay_out(model: Path, folder: Path, repository: str, license_name: str, license_file: Path) -> None:
    """Fills the empty `folder` with the exported model, README.md and LICENSE. repository: OWNER/NAME on the hub.

    Raises ValueError where an earlier version exported the model.
    """
    card = (model / "README.md").read_text(encoding="utf-8")
    if LOCAL_FOLDER not in card or TEST_SCORES not in card:
        raise ValueError(f"{model}: was exported by an earlier version; run snakemake again, which exports it again.")
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns(*LEFT_OUT), dirs_exist_ok=True)
    fetched = f'from huggingface_hub import snapshot_download\n\nfolder = Path(snapshot_download("{repository}"))'
    text = card.replace(LOCAL_FOLDER, fetched).replace(TEST_SCORES, _test_scores(model.parent / "evaluation.json"))
    front = yaml.safe_dump(_front_matter(model, license_name), sort_keys=False)
    (folder / "README.md").write_text(f"---\n{front}---\n\n{text}", encoding="utf-8")
    shutil.copyfile(license_file, folder / "LICENSE")


def places_in(model: Path) -> set[str]:
    """Folders and files of this machine that an exported model names."""
    weights = read_json(model / "model.json")["image_encoder"].get("weights")
    source = read_json(model / "text/source.json").get("source")
    named = [name for name in (weights, source) if isinstance(name, str)]
    return {name for name in named if "/" in name and not is_hub_id(name) and not name.startswith("hf-hub:")}


def _front_matter(model: Path, license_name: str) -> dict[str, Any]:
    source = str(read_json(model / "text/source.json").get("source"))
    return {
        "license": license_name,
        "library_name": "open_clip",
        "pipeline_tag": "zero-shot-image-classification",
        "tags": TAGS,
        **({"base_model": [source]} if is_hub_id(source) else {}),
    }


def _test_scores(path: Path) -> str:
    """What evaluation.json says of the test split, in a table; where it is not beside the model, nothing is known."""
    if not path.is_file():
        return "Scores on a test split are not part of this repository."
    rows = [
        f"| {name.replace('_', ' ')} | {found['value']:.3f} | {_interval(found)} |"
        for name, found in read_json(path)["zero_shot"].items()
        if found["value"] is not None
    ]
    head = ["On the test split, of which nothing was chosen:", "", "| score | value | 95 % CI |", "|---|---|---|"]
    return "\n".join([*head, *rows])


def _interval(found: dict[str, Any]) -> str:
    return "" if found["low"] is None else f"{found['low']:.3f} to {found['high']:.3f}"
