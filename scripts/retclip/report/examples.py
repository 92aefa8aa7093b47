"""Examples of what the winner says of test pictures, as cards of the page; none where the run is private."""

import base64
import io
from typing import NamedTuple

import numpy as np

from retclip.core.qualitative_examples import QualitativeExamples

HEAT = np.array([213, 94, 0])  # the palette's vermilion
STRONGEST = 0.7  # opacity of the patch that matters most


class Example(NamedTuple):
    """pictures: (alt text, data URI), the views and then those with the patches that mattered set off."""

    true: str
    named: str
    probability: float
    pictures: list[tuple[str, str]]
    prompts: list[str]

    @property
    def is_right(self) -> bool:
        return self.true == self.named


def examples(looks: QualitativeExamples | None) -> list[Example]:
    """Every example in the order of looks.npz: by class, the right ones first."""
    if looks is None:
        return []
    found = []
    for i in range(len(looks.eye)):
        true, named = str(looks.classes[looks.target[i]]), str(looks.classes[looks.prediction[i]])
        pictures = []
        for view in np.flatnonzero(looks.present[i]):
            picture, heat = looks.image[i, view], looks.occlusion[i, view]
            pictures.append((f"fundus photograph, {true}", _uri(picture)))
            if np.isfinite(heat).all():
                pictures.append((f"the same, with what spoke for {named} set off", _uri(_heated(picture, heat))))
        prompts = [str(sentence) for sentence in looks.prompt[i] if sentence]
        found.append(Example(true, named, float(looks.probability[i]), pictures, prompts))
    return found


def _heated(picture: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """The picture [T, T, 3] with each patch of `heat` [G, G] tinted by how far the score fell without it."""
    fall = np.clip(heat, 0, None)
    # the root, or one strong patch would hide all others
    strength = STRONGEST * np.sqrt(fall / max(float(fall.max()), 1e-12))
    side = np.arange(len(picture)) * len(heat) // len(picture)
    opacity = strength[np.ix_(side, side)][..., None]
    return (picture * (1 - opacity) + HEAT * opacity).astype(np.uint8)


def _uri(picture: np.ndarray) -> str:
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, picture, format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
