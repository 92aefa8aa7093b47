"""Checkpoints of known layouts: what their files do not say of how their images are read and their patches pooled."""

import math
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from retclip.core.preprocessing import CLIP

Shapes = dict[str, tuple[int, ...]]

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
HALF = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
AVERAGE = {"pool": "avg"}


class Layout(NamedTuple):
    """fits(architecture, shapes): whether a file of this architecture is one; shapes by the names in the file.
    settings: of model.image_encoder, unless the config has them."""

    name: str
    fits: Callable[[str, Shapes], bool]
    settings: dict[str, Any]


def _has(names: Iterable[str], pattern: str) -> bool:
    return any(re.search(pattern, name) for name in names)


def is_autoencoder(names: Iterable[str]) -> bool:
    """Whether a file holds a masked autoencoder (He et al. 2022), whose decoder is of no use to us."""
    return _has(names, r"(^|\.)decoder_(pos_)?embed")


def native_size(shapes: Shapes) -> int | None:
    """Pixels a side that the position embeddings of a vision transformer stand for; None where there are none.

    Beside the patches, up to five tokens have positions: class, distillation, registers.
    """
    for embedding, patches in (("pos_embed", "patch_embed.proj.weight"), ("positional_embedding", "conv1.weight")):
        for name, shape in shapes.items():
            stem = name.removesuffix(embedding)
            kernel = shapes.get(f"{stem}{patches}")
            if name.endswith(embedding) and kernel and len(kernel) == 4 and len(shape) in (2, 3):
                side = math.isqrt(shape[-2])
                if shape[-2] - side**2 <= 5:
                    return side * kernel[-1]
    return None


def _is_retfound_green(architecture: str, shapes: Shapes) -> bool:
    """28 x 28 patches of 14 px are its 392 px; the DINOv2 that it started from has 37 x 37."""
    patches = [shape[1] for name, shape in shapes.items() if name.endswith("pos_embed") and len(shape) == 3]
    return "reg4_dinov2" in architecture and any(count in (28 * 28, 28 * 28 + 1) for count in patches)


# The first that fits is taken. As the public loading code of Zhou et al. 2023 (RETFound), Engelmann and Bernabeu 2024
# (RETFound-Green), Silva-Rodriguez et al. 2025 (FLAIR) and Du et al. 2024 (RET-CLIP) has it.
LAYOUTS = (
    Layout(
        "RET-CLIP",
        lambda architecture, shapes: _has(shapes, r"(^|\.)bert\.") and _has(shapes, r"(^|\.)visual\.conv1"),
        {"mean": list(CLIP.mean), "std": list(CLIP.std), "interpolation": "bicubic", "quick_gelu": True},
    ),
    Layout(
        "FLAIR",
        lambda architecture, shapes: _has(shapes, r"(^|\.)vision_model\.model\.") and _has(shapes, r"text_model\."),
        {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0], "interpolation": "bilinear", "native_size": 512},
    ),
    Layout(
        "MAE, as RETFound",
        lambda architecture, shapes: is_autoencoder(shapes),
        {**IMAGENET, "interpolation": "bicubic"},
    ),
    Layout(
        "OpenAI's CLIP",
        lambda architecture, shapes: {"input_resolution", "vocab_size"} <= shapes.keys(),
        {"mean": list(CLIP.mean), "std": list(CLIP.std), "interpolation": "bicubic", "quick_gelu": True},
    ),
    Layout("RETFound-Green", _is_retfound_green, {**HALF, **AVERAGE, "interpolation": "bicubic"}),
)


def layout_of(architecture: str, shapes: Shapes) -> Layout | None:
    """The known layout of a file, if it has one."""
    return next((layout for layout in LAYOUTS if layout.fits(architecture, shapes)), None)
