"""Features of frozen encoders, of every image and text, computed once: trials then train heads and scales alone, and
evaluations run heads alone. Those of the test split lie in a file of their own, which evaluations alone read."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from retclip.core.io import atomic, sha256_of
from retclip.core.preprocessing import with_weights_settings
from retclip.core.trial import ModelSpecification


def serves(which: str, hyperparameters: dict[str, Any]) -> bool:
    """Whether a trial may read features of the encoder (image or text) instead of running it: a search may vary what
    is frozen, and augmented images are new in every step."""
    frozen = hyperparameters["freeze"] in (which, "both")
    return frozen and not (which == "image" and hyperparameters["augment"])


def features_key(
    which: str,
    trial: ModelSpecification,
    fingerprint: dict[str, Any],
    encoder: dict[str, Any],
    precision: str,
    splits: Iterable[str],
) -> str:
    """Hex digest of everything that features of the encoder `which` (image or text) depend on.

    fingerprint: that of the data. encoder: source.json of the text encoder's folder. splits: those in the file.
    """
    data = {name: fingerprint["splits"].get(name, {}).get("sha256") for name in splits}
    content: dict[str, Any] = {"encoder_kind": which, "data": data, "precision": precision}
    if which == "image":
        content |= {"image_encoder": with_weights_settings(trial.image_encoder, None), "image_size": trial.image_size}
    else:
        texts = trial.text_encoder_settings
        reading = texts.reading
        weights = trial.image_encoder.get("weights") if texts.from_checkpoint else None
        content |= {"encoder": encoder, "reading": reading, "weights": weights,
                    "context_length": trial.hyperparameters["context_length"]}  # fmt: skip
    return sha256_of(content)


def frozen_features(
    paths: dict[str, list[Path]],
    trial: ModelSpecification,
    fingerprint: dict[str, Any],
    encoder: dict[str, Any],
    precision: str,
    untouched: bool = False,
) -> dict[str, torch.Tensor]:
    """The cached features that this trial may read, for Split. paths: encoder (image, text) -> its files.
    fingerprint, encoder: see features_key. untouched: the encoders have their initial weights, frozen or not.
    Raises ValueError where a file is of something else."""
    found: dict[str, torch.Tensor] = {}
    for which, files in paths.items():
        for path in files if untouched or serves(which, trial.hyperparameters) else ():
            key = partial(features_key, which, trial, fingerprint, encoder, precision)
            found |= read_features(path, key)
    return found


def write_features(path: Path, features: dict[str, torch.Tensor], key: str) -> None:
    """features: {split}.eyes and {split}.texts -> tensor."""
    from safetensors.torch import save_file

    with atomic(path, private=True) as temporary:
        save_file(features, temporary, metadata={"key": key})


def read_features(path: Path, key_of: Callable[[Iterable[str]], str]) -> dict[str, torch.Tensor]:
    """The tensors of write_features by name. key_of: the splits in the file -> the key that it must have. Raises
    ValueError where it has another: other data, another encoder."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as stream:
        splits = sorted({name.split(".")[0] for name in stream.keys()})  # noqa: SIM118, it is no dict
        if (stream.metadata() or {}).get("key") != key_of(splits):
            raise ValueError(
                f"{path}: these features are of other data, another encoder or another precision than this trial's; "
                "delete the file and run again."
            )
        return {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118, it is no dict
