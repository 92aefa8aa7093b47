"""Qualitative examples: test images with the tuned configuration's predictions, as cards of the page; none in a
private run."""

import base64
import io
from typing import NamedTuple

import numpy as np

from retclip.core.qualitative_examples import QualitativeExamples

HEAT = np.array([86, 180, 233])  # the palette's sky blue: no part of a fundus is blue
STRONGEST = 0.7  # opacity of the patch that matters most


class Example(NamedTuple):
    """images: (alt text, data URI), the views and then those with the patches that mattered set off."""

    true: str
    named: str
    probability: float
    images: list[tuple[str, str]]
    prompts: list[str]

    @property
    def is_right(self) -> bool:
        return self.true == self.named


def examples(arrays: QualitativeExamples | None) -> list[Example]:
    """Every example in the order of qualitative_examples.npz: by class, the right ones first."""
    if arrays is None:
        return []
    found = []
    for i in range(len(arrays.eye)):
        true, named = str(arrays.classes[arrays.target[i]]), str(arrays.classes[arrays.prediction[i]])
        images = []
        for view in np.flatnonzero(arrays.present[i]):
            image, heat = arrays.image[i, view], arrays.occlusion[i, view]
            images.append((f"fundus photograph, {true}", _uri(image)))
            if np.isfinite(heat).all():
                images.append((f"the same, with what speaks for {named} set off", _uri(_heated(image, heat))))
        prompts = [str(sentence) for sentence in arrays.prompt[i] if sentence]
        found.append(Example(true, named, float(arrays.probability[i]), images, prompts))
    return found


def _heated(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """The image [T, T, 3] with each patch of `heat` [G, G] tinted by how far the score fell without it."""
    fall = np.clip(heat, 0, None)
    # the root, or one strong patch would hide all others
    strength = STRONGEST * np.sqrt(fall / max(float(fall.max()), 1e-12))
    side = np.arange(len(image)) * len(heat) // len(image)
    opacity = strength[np.ix_(side, side)][..., None]
    return (image * (1 - opacity) + HEAT * opacity).astype(np.uint8)


def _uri(image: np.ndarray) -> str:
    """Without loss; a photograph takes a third less than as PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="webp", lossless=True, method=6)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
