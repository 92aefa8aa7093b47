"""Qualitative examples: predictions with their nearest prompts, occlusion maps of a few, and a map of the features."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from retclip.core.qualitative_examples import LARGEST_IMAGE, TOP_PROMPTS, QualitativeExamples
from retclip.data.images import DARK
from retclip.evaluation.test_set import Reader, as_arrays, scales_of
from retclip.evaluation.validation import Features
from retclip.loading.augmentation import to_model_input
from retclip.loading.dataset import Split
from retclip.loading.device import autocast

if TYPE_CHECKING:
    import pandas as pd

    from retclip.models.retclip import RetClip

EXAMPLES = 2  # right and wrong ones, each, per class
MAPS = 12
PATCHES = 8  # a side: 28 px of 224
LARGEST_EMBEDDING = 2000
PERPLEXITY = 30
SIDES = ("left", "right")


class Prompts(NamedTuple):
    """Every prompt of every class: its sentence, its class's index, and its feature [D] by view."""

    sentences: list[str]
    classes: np.ndarray
    features: dict[str, torch.Tensor]


def collect_examples(
    model: "RetClip",
    reader: Reader,
    split: Split,
    features: Features,
    table: "pd.DataFrame",
    train_counts: dict[str, int],
    private: bool,
) -> QualitativeExamples:
    """The content of qualitative_examples.npz. table: predictions.parquet of the split. train_counts: views of each
    class in train. private: no images.
    """
    chosen = table.iloc[[] if private else choose_examples(table, len(split.classes))]
    images_each = 1 if "patient" not in split.targets else 2
    size = 0 if len(chosen) == 0 else split.batch(np.zeros(1, int), torch.device("cpu"))["images"].shape[1]
    small = min(size, LARGEST_IMAGE)
    prompts = encode_prompts(model, reader, split.classes)
    scales = scales_of(model)
    row_of = {name: row for row, name in enumerate(split.frame["sample_id"])}
    count = len(chosen)
    found = QualitativeExamples(
        classes=np.array(split.classes, dtype=str),
        eye=chosen["eye"].to_numpy(dtype=str),
        image=np.zeros((count, images_each, small, small, 3), np.uint8),
        present=np.zeros((count, images_each), bool),
        target=chosen["target"].to_numpy(np.int64),
        prediction=np.zeros(count, np.int64),
        score=np.zeros(count, np.float32),
        probability=np.zeros(count, np.float32),
        prompt=np.full((count, TOP_PROMPTS), "", dtype=f"<U{max(map(len, prompts.sentences), default=1)}"),
        prompt_class=np.full((count, TOP_PROMPTS), -1, np.int64),
        prompt_score=np.full((count, TOP_PROMPTS), np.nan, np.float32),
        occlusion=np.full((count, images_each, PATCHES, PATCHES), np.nan, np.float32),
        **embedding_of(split, features, train_counts),
    )
    mapped = set(np.linspace(0, count - 1, min(count, MAPS)).round().astype(int))
    for i, example in enumerate(chosen.to_dict("records")):
        view, row = example["eye"], row_of[example["sample_id"]]
        scores = np.array([example[f"score_{k}"] for k in range(len(split.classes))])
        found.prediction[i] = guess = int(scores.argmax())
        found.score[i] = scores[guess]
        found.probability[i] = np.exp(scales[view] * (scores - scores[guess])).sum() ** -1
        similarity = (prompts.features[view] @ features.image[view][row]).numpy()
        for rank, k in enumerate(np.argsort(-similarity, kind="stable")[:TOP_PROMPTS]):
            found.prompt[i, rank] = prompts.sentences[k]
            found.prompt_class[i, rank], found.prompt_score[i, rank] = prompts.classes[k], similarity[k]
        images, present = _images_of(split, row, view)
        found.present[i] = present
        for position in np.flatnonzero(present):
            found.image[i, position] = shrink(images[position], small)
        if i in mapped:
            direction = class_direction(prompts, guess, view)
            found.occlusion[i] = occlusion_maps(model, reader, images, present, view, direction)
    return found


def choose_examples(table: "pd.DataFrame", classes: int, seed: int = 0) -> list[int]:
    """Rows of a table of predictions: per class up to EXAMPLES that are right, then as many that are wrong."""
    generator = np.random.default_rng(seed)
    target = table["target"].to_numpy()
    scores = table[[f"score_{k}" for k in range(classes)]].to_numpy(dtype=float)
    if classes == 0 or not np.isfinite(scores).all():
        return []
    right = scores.argmax(1) == target
    chosen: list[int] = []
    for k in range(classes):
        for among in (right, ~right):
            places = np.flatnonzero((target == k) & among)
            chosen += sorted(generator.permutation(places)[:EXAMPLES].tolist())
    return chosen


@torch.inference_mode()
def encode_prompts(model: "RetClip", reader: Reader, classes: list[str]) -> Prompts:
    """The prompts of the model's trial, each by itself."""
    words = {label: reader.trial.class_prompts[label] for label in classes}
    sentences = [sentence for label in classes for sentence in words[label]]
    owner = np.array([k for k, label in enumerate(classes) for _ in words[label]], dtype=np.int64)
    if not sentences:
        return Prompts([], owner, {})
    ids, mask = reader.tokenize(sentences, reader.trial.hyperparameters["context_length"])
    tokens = model.pooled_text(ids.to(reader.device), mask.to(reader.device))
    views = {view: model.text_feature(tokens, view).float().cpu() for view in (*SIDES, "patient")}
    return Prompts(sentences, owner, views)


def class_direction(prompts: Prompts, k: int, view: str) -> torch.Tensor:
    """Feature [D] of a class: the mean of its prompts', normalized again, as zero-shot takes it."""
    return functional.normalize(prompts.features[view][torch.from_numpy(prompts.classes == k)].sum(0), dim=0)


@torch.inference_mode()
def occlusion_maps(
    model: "RetClip",
    reader: Reader,
    images: np.ndarray,
    present: np.ndarray,
    view: str,
    direction: torch.Tensor,
) -> np.ndarray:
    """By how much the similarity to `direction` [D] falls with each patch covered, float32 [V, G, G].

    images: uint8 [V, S, S, 3]; an absent eye (present bool [V]) shows the other one, is covered with it, and
    has no map (NaN). Source: Zeiler and Fergus, Visualizing and understanding convolutional networks,
    ECCV 2014.
    """
    size = images.shape[1]
    edges = np.linspace(0, size, PATCHES + 1).round().astype(int)
    lit = images.max(-1) > DARK
    colors = [image[seen].mean(0).round() if seen.any() else 0 for image, seen in zip(images, lit, strict=True)]
    maps = np.full((len(images), PATCHES, PATCHES), np.nan, np.float32)
    for position in np.flatnonzero(present):
        covered = np.repeat(images[None], PATCHES**2 + 1, axis=0)  # the last one stays whole
        both = [position] if present.all() else range(len(images))
        for patch in range(PATCHES**2):
            y, x = divmod(patch, PATCHES)
            for other in both:
                # the dark surround stays as it is: a bright corner would be a sign of its own
                square = np.s_[edges[y] : edges[y + 1], edges[x] : edges[x + 1]]
                covered[patch, other][square][lit[other][square]] = colors[other]
        scores = (_features(model, reader, covered, view) @ direction).numpy()
        maps[position] = (scores[-1] - scores[:-1]).reshape(PATCHES, PATCHES)
    return maps


def embedding_of(split: Split, features: Features, train_counts: dict[str, int]) -> dict[str, np.ndarray]:
    """The parts of QualitativeExamples that begin with `embedding`."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    values = as_arrays(features)["patient"].astype(np.float32)
    rows = np.arange(len(values))
    if not np.isfinite(values).all():
        rows = rows[:0]
    rows = np.sort(np.random.default_rng(0).permutation(rows)[:LARGEST_EMBEDDING])
    method = "t-SNE" if len(rows) > 3 * PERPLEXITY else "PCA"
    points = np.zeros((len(rows), 2), np.float32)
    if method == "t-SNE":
        points = TSNE(perplexity=PERPLEXITY, init="pca", random_state=0).fit_transform(values[rows])
    elif len(rows) > 2:
        points = PCA(2, random_state=0).fit_transform(values[rows])
    labels = [_rarest(split.frame["label"].iloc[row], split.classes, train_counts) for row in rows]
    return {
        "embedding": points.astype(np.float32),
        "embedding_label": np.array(labels, dtype=np.int64),
        "embedding_method": np.array(method),
    }


def shrink(image: np.ndarray, size: int) -> np.ndarray:
    """uint8 [S, S, 3] -> [size, size, 3]."""
    from PIL import Image

    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS))


def _images_of(split: Split, row: int, view: str) -> tuple[np.ndarray, np.ndarray]:
    """The images [V, S, S, 3] that a view is judged by, and which of them are its own."""
    batch = split.batch(np.array([row]), torch.device("cpu"))
    both = batch["images"][batch["eyes"][:, 0]].numpy()
    if view == "patient":
        own = split.present[row]
        # an image of unknown side is kept as the left one
        return both, own if own.any() else np.array([True, False])
    return both[[SIDES.index(view)]], np.array([True])


def _features(model: "RetClip", reader: Reader, images: np.ndarray, view: str) -> torch.Tensor:
    """L2-normalized features [B, D] of uint8 images [B, V, S, S, 3]."""
    inputs = [
        to_model_input(torch.from_numpy(images[:, position]).to(reader.device), False, model.preprocessing)
        for position in range(images.shape[1])
    ]
    with autocast(reader.device, reader.precision):
        if view == "patient":
            return model.encode_eyes(*inputs)[0].float().cpu()
        head = model.left_feature_mapping if view == "left" else model.right_feature_mapping
        return functional.normalize(head(model.encode_image(inputs[0])), dim=1).float().cpu()


def _rarest(label: str, classes: list[str], counts: dict[str, int]) -> int:
    found = [name for name in label.split("|") if name in classes]
    return classes.index(min(found, key=lambda name: (counts.get(name, 0), name))) if found else -1
