"""What frozen towers make of every picture and text, computed once: trials then train heads and scales alone."""

from pathlib import Path
from typing import Any

import torch

from retclip.core.io import atomic, sha256_of


def serves(tower: str, hyperparameters: dict[str, Any]) -> bool:
    """Whether a trial may read features of `tower` (image or text) instead of running it: a search may vary what
    is frozen, and augmented pictures are new in every step."""
    frozen = hyperparameters["freeze"] in (tower, "both")
    return frozen and not (tower == "image" and hyperparameters["augment"])


def features_key(
    tower: str, trial: dict[str, Any], fingerprint: dict[str, Any], encoder: dict[str, Any], precision: str
) -> str:
    """Hex digest of everything that features of `tower` (image or text) depend on.

    fingerprint: that of the data. encoder: source.json of the text encoder's folder.
    """
    data = {name: fingerprint["splits"][name]["sha256"] for name in ("train", "val")}
    content: dict[str, Any] = {"tower": tower, "data": data, "precision": precision}
    if tower == "image":
        content |= {"image_encoder": trial["image_encoder"], "image_size": trial["image_size"]}
    else:
        reading = [trial["text_encoder_settings"][name] for name in ("texts", "truncation_side", "from_checkpoint")]
        weights = trial["image_encoder"].get("weights") if trial["text_encoder_settings"]["from_checkpoint"] else None
        content |= {"encoder": encoder, "reading": reading, "weights": weights,
                    "context_length": trial["hyperparameters"]["context_length"]}  # fmt: skip
    return sha256_of(content)


def frozen_features(
    paths: dict[str, Path | None],
    trial: dict[str, Any],
    fingerprint: dict[str, Any],
    encoder: dict[str, Any],
    precision: str,
) -> dict[str, torch.Tensor]:
    """What cached features serve this trial, for Split. paths: tower (image, text) -> file, None where none is given.
    fingerprint, encoder: see features_key. Raises ValueError where a file is of something else."""
    found: dict[str, torch.Tensor] = {}
    for tower, path in paths.items():
        if path and serves(tower, trial["hyperparameters"]):
            found |= read_features(path, features_key(tower, trial, fingerprint, encoder, precision))
    return found


def write_features(path: Path, features: dict[str, torch.Tensor], key: str) -> None:
    """features: {split}.eyes and {split}.texts -> tensor."""
    from safetensors.torch import save_file

    with atomic(path) as temporary:
        save_file(features, temporary, metadata={"key": key})


def read_features(path: Path, key: str) -> dict[str, torch.Tensor]:
    """What write_features wrote. Raises ValueError where it was made of other data, or by another tower."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as stream:
        if (stream.metadata() or {}).get("key") != key:
            raise ValueError(
                f"{path}: these features are of other data, another tower or another precision than this trial's; "
                "delete the file and run again."
            )
        return {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118, it is no dict
