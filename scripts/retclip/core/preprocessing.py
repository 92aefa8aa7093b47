"""How an image encoder wants its images: mean, deviation, interpolation and native size belong to its weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retclip.core.io import read_json

INTERPOLATIONS = ("bicubic", "bilinear", "lanczos", "nearest")


@dataclass(frozen=True)
class Preprocessing:
    """mean, std: of R, G and B in [0, 1]. interpolation: of the resize, one of INTERPOLATIONS. native_size: pixels, the
    side of the images that the weights were trained with; None where nobody knows."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    native_size: int | None = None


# OpenAI CLIP's image statistics, which RET-CLIP was trained with; networks without weights take them, too.
CLIP = Preprocessing((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


def preprocessing_of(settings: dict[str, Any]) -> Preprocessing:
    """Of `with_weights_settings`, or of a mapping that lacks some of them: those are CLIP's."""
    return Preprocessing(
        mean=tuple(settings.get("mean", CLIP.mean)),
        std=tuple(settings.get("std", CLIP.std)),
        interpolation=settings.get("interpolation", CLIP.interpolation),
        native_size=settings.get("native_size"),
    )


def settings_path(weights: Path) -> Path:
    """The JSON beside fetched weights: its `encoder` is what they bring to model.image_encoder."""
    return weights.with_suffix(".json")


def with_weights_settings(config: dict[str, Any], weights: Path | None) -> dict[str, Any]:
    """model.image_encoder, complete: what the config leaves out is as the weights have it, or else as CLIP has it.

    weights: as fetched; a file without JSON beside it, which a person made, brings nothing; None where training starts
    from random ones.
    """
    own = {"mean": list(CLIP.mean), "std": list(CLIP.std), "interpolation": CLIP.interpolation}
    beside = settings_path(weights) if weights else None
    brought = read_json(beside)["encoder"] if beside and beside.is_file() else {}
    return {**own, **brought, **config}
