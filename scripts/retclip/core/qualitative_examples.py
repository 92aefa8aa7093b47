"""qualitative_examples.npz: small images of the test split with what a final model predicts, for the report to show."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from retclip.core.io import atomic

TOP_PROMPTS = 3
LARGEST_IMAGE = 96  # pixels


class QualitativeExamples(NamedTuple):
    """Arrays of qualitative_examples.npz, by these names.

    C classes, E examples, V views, T pixels, G patches a side, N patients.

    Examples are up to two right and two wrong ones of every class, drawn at random from the test split, ordered by
    class with the right ones first. V is 1 where labels are per eye (the eye), 2 where they are per patient (left,
    right). In a private run E is 0. The embedding has every test patient, or 2,000 drawn at random; no row names
    anybody.

    classes: str [C]. eye: str [E], left, right or patient. image: uint8 [E, V, T, T, 3], RGB, T <= 96, black where
    present is not set. present: bool [E, V]. target, prediction: int64 [E], class indices. score: float32 [E], cosine
    similarity to the predicted class; probability: float32 [E], of it, at the trained temperature. prompt: str [E, 3],
    the sentences nearest to the image among all classes' prompts, nearest first; prompt_class: int64 [E, 3];
    prompt_score: float32 [E, 3], cosine similarity; fewer sentences than three leave "" and -1 and NaN.
    occlusion: float32 [E, V, G, G], by how much the predicted class's score falls when that patch of the image is
    covered with the fundus's mean color; NaN for examples and views without a map.
    embedding: float32 [N, 2], of the patients' image features; embedding_label: int64 [N], the class of the patient,
    or of several the one that is rarest in train, -1 for none. embedding_method: str [], t-SNE or PCA.
    """

    classes: np.ndarray
    eye: np.ndarray
    image: np.ndarray
    present: np.ndarray
    target: np.ndarray
    prediction: np.ndarray
    score: np.ndarray
    probability: np.ndarray
    prompt: np.ndarray
    prompt_class: np.ndarray
    prompt_score: np.ndarray
    occlusion: np.ndarray
    embedding: np.ndarray
    embedding_label: np.ndarray
    embedding_method: np.ndarray


def write_examples(path: str | Path, examples: QualitativeExamples) -> None:
    """Writes a compressed npz, whole or not at all."""
    with atomic(path, private=True) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **examples._asdict())


def read_examples(path: str | Path) -> QualitativeExamples:
    """The arrays of a qualitative_examples.npz; nothing in it is unpickled.

    Raises ValueError where an older version wrote it.
    """
    with np.load(path, allow_pickle=False) as archive:
        missing = set(QualitativeExamples._fields) - set(archive.files)
        if missing:
            raise ValueError(f"{path}: has no {sorted(missing)[0]}; another version wrote it: delete it and run again.")
        return QualitativeExamples(**{name: archive[name] for name in QualitativeExamples._fields})
