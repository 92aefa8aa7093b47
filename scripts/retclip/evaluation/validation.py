"""A model on a split: features once per encoder, then zero-shot and retrieval scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from retclip.core.trial import Trial
from retclip.loading.dataset import Split
from retclip.loading.device import autocast
from retclip.metrics.metrics_document import Levels, Validation
from retclip.metrics.registry import METRICS, MULTI_LABEL, SELECTABLE, SEVERAL_LABELS, ZERO_SHOT
from retclip.metrics.scores import (
    chance_levels,
    chance_recalls,
    majority_levels,
    multi_label_score,
    retrieval_scores,
    standard_error,
    unpack,
    zero_shot_scores,
)
from retclip.models.encode import encode_batch
from retclip.models.loss import tripartite_loss

if TYPE_CHECKING:
    import pandas as pd

    from retclip.models.retclip import RetClip

# Fixed, so that losses of trials with different batch sizes can be compared: InfoNCE depends on the number
# of negatives.
EVALUATION_BATCH = 64
RETRIEVAL_CHUNK = 512
LABEL_COLUMNS = {"left": "label_left", "right": "label_right", "patient": "label"}


@dataclass
class Features:
    """L2-normalized features of a split [N, D] per view (left, right, patient), and the mean loss."""

    image: dict[str, torch.Tensor]
    text: dict[str, torch.Tensor]
    loss: float


@torch.inference_mode()
def embed(model: "RetClip", split: Split, device: torch.device, precision: str) -> Features:
    """Both encoders over the whole split, without augmentation."""
    model.eval()
    parts: dict[str, list[torch.Tensor]] = {}
    loss_sum = torch.zeros((), dtype=torch.float64, device=device)
    for start in range(0, len(split), EVALUATION_BATCH):
        indices = np.arange(start, min(start + EVALUATION_BATCH, len(split)))
        batch = split.batch(indices, device)
        with autocast(device, precision):
            outputs = encode_batch(model, batch, augment=False)
        left, right = batch["present"].unbind(1)
        loss_sum += tripartite_loss(outputs, left, right)["total"].double() * len(indices)
        for name, value in outputs.items():
            if value.ndim == 2:
                parts.setdefault(name, []).append(value.float())
    joined = {name: torch.cat(values).cpu() for name, values in parts.items()}
    return Features(
        image={
            "left": joined["left_features"],
            "right": joined["right_features"],
            "patient": joined["image_features"],
        },
        text={
            "left": joined["text_features_left"],
            "right": joined["text_features_right"],
            "patient": joined["text_features"],
        },
        loss=float(loss_sum / len(split)),
    )


@torch.inference_mode()
def zero_shot_classifier(
    model: "RetClip",
    classes: list[str],
    class_prompts: dict[str, list[str]],
    tokenize: Any,
    context_length: int,
    device: torch.device,
) -> dict[str, torch.Tensor]:
    """Class embeddings of the prompt ensembles: the mean of each class's prompt features, normalized again.

    class_prompts: class -> sentences. Returns view -> [C, D]; empty without classes. Source: open_clip's
    build_zero_shot_classifier.
    """
    model.eval()
    features: dict[str, torch.Tensor] = {}
    if not classes:
        return features
    prompts = [prompt for label in classes for prompt in class_prompts[label]]
    owner = torch.tensor([i for i, label in enumerate(classes) for _ in class_prompts[label]])
    ids, mask = tokenize(prompts, context_length)
    tokens = _prompt_tokens(model, ids.to(device), mask.to(device))
    for view in ("left", "right", "patient"):
        encoded = model.text_feature(tokens, view).float().cpu()
        sums = torch.zeros(len(classes), encoded.shape[1]).index_add_(0, owner, encoded)
        features[view] = torch.nn.functional.normalize(sums, dim=1)
    return features


# A frozen text encoder's features of the class prompts: the same after every epoch.
_frozen_tokens: WeakKeyDictionary["RetClip", tuple[torch.Tensor, torch.Tensor]] = WeakKeyDictionary()


def _prompt_tokens(model: "RetClip", ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    if not model.is_frozen(model.bert):
        return model.pooled_text(ids, mask)
    known = _frozen_tokens.get(model)
    if known is None or not torch.equal(known[0], ids):
        known = _frozen_tokens[model] = ids, model.pooled_text(ids, mask)
    return known[1]


def evaluate(
    trial: Trial, model: "RetClip", split: Split, tokenize: Any, device: torch.device, precision: str
) -> tuple[Validation, "pd.DataFrame"] | None:
    """Scores and predictions on a split; None where finite but huge weights give features that are not finite."""
    features = embed(model, split, device, precision)
    context_length = trial.hyperparameters["context_length"]
    texts = zero_shot_classifier(model, split.classes, trial.class_prompts, tokenize, context_length, device)
    known = (*features.image.values(), *features.text.values(), *texts.values())
    if not all(torch.isfinite(feature).all() for feature in known):
        return None
    several = several_labels(split)
    table = predictions(split, features, texts, several)
    if any(map(len, several.values())) or trial.selection_metric == MULTI_LABEL:
        table = table.assign(labels=labels_of(split, table))
    return validation_scores(split, features, table), table


def predictions(
    split: Split, features: Features, class_texts: dict[str, torch.Tensor], joined: dict[str, np.ndarray] | None = None
) -> "pd.DataFrame":
    """One row per scored eye (or patient, where labels are per patient): cosine similarity to each class.

    Columns: sample_id, patient_id, eye, target (class index; -1: not scored), score_0 .. score_{C-1}, and the sample's
    image_to_text_rank and text_to_image_rank. joined: view -> rows of the split that get a row with target -1.
    A sample without any other row has one as a patient: every sample is a query of the retrieval scores.
    """
    import pandas as pd

    ranks = {f"{name}_rank": values for name, values in retrieval_ranks(features, split.texts["patient"]).items()}

    def part(view: str, rows: np.ndarray, target: np.ndarray) -> "pd.DataFrame":
        table = split.frame.loc[rows, ["sample_id", "patient_id"]].reset_index(drop=True)
        table = table.assign(eye=view, target=target)
        if split.classes:
            scores = (features.image[view][rows] @ class_texts[view].T).numpy()
            columns = [f"score_{k}" for k in range(len(split.classes))]
            table = pd.concat([table, pd.DataFrame(scores, columns=columns)], axis=1)
        return table.assign(**{name: values[rows] for name, values in ranks.items()})

    scored = {view: np.flatnonzero((target >= 0) & seen(split, view)) for view, target in split.targets.items()}
    parts = [part(view, rows, split.targets[view][rows]) for view, rows in scored.items()]
    parts += [part(view, rows, np.full(len(rows), -1)) for view, rows in (joined or {}).items() if len(rows)]
    named = {sample for table in parts for sample in table["sample_id"]}
    others = np.flatnonzero(~split.frame["sample_id"].isin(named))
    if len(others):
        parts.append(part("patient", others, np.full(len(others), -1)))
    return pd.concat(parts, ignore_index=True)


def several_labels(split: Split) -> dict[str, np.ndarray]:
    """View -> rows of the split that have it, and several labels of it."""
    return {
        view: np.flatnonzero(split.frame[LABEL_COLUMNS[view]].str.contains("|", regex=False) & seen(split, view))
        for view in split.targets
    }


def labels_of(split: Split, table: "pd.DataFrame") -> np.ndarray:
    """The labels of each row of a table of predictions, joined by |."""
    import pandas as pd

    row = pd.Series(range(len(split)), index=split.frame["sample_id"])[table["sample_id"]].to_numpy()
    labels = np.full(len(table), "", dtype=object)
    for view in split.targets:
        here = (table["eye"] == view).to_numpy()
        labels[here] = split.frame[LABEL_COLUMNS[view]].to_numpy()[row[here]]
    return labels


def seen(split: Split, view: str) -> np.ndarray:
    """bool [N], whether each sample has the view: an eye may be absent."""
    return np.ones(len(split), dtype=bool) if view == "patient" else split.present[:, ("left", "right").index(view)]


def labeled_views(split: Split, inputs: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Features [M, D], class indices [M], patients [M] and view [M] of the views that are scored. inputs: view ->
    features of all samples."""
    rows = {view: np.flatnonzero((target >= 0) & seen(split, view)) for view, target in split.targets.items()}
    if not rows:
        return np.zeros((0, 1)), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=object), np.zeros(0, dtype=str)
    patients = split.frame["patient_id"].to_numpy()
    return (
        np.concatenate([inputs[view][places] for view, places in rows.items()]),
        np.concatenate([split.targets[view][places] for view, places in rows.items()]),
        np.concatenate([patients[places] for places in rows.values()]),
        np.repeat(list(rows), [len(places) for places in rows.values()]),
    )


def no_predictions(classes: int) -> "pd.DataFrame":
    """An empty table in the form of `predictions`: nothing is labeled, or the training broke."""
    import pandas as pd

    ranks = ("image_to_text_rank", "text_to_image_rank")
    names = ["sample_id", "patient_id", "eye", "target", *(f"score_{i}" for i in range(classes)), *ranks]
    return pd.DataFrame({name: [] for name in names})


def retrieval_ranks(features: Features, texts: list[str]) -> dict[str, np.ndarray]:
    """Rank (from 1) of the best right answer for every query, [N] per direction.

    Samples with the same text are each other's right answers: no model could tell them apart. A wrong answer
    that is as near as the right one counts before it, or a model with one feature for everything would be perfect.
    """
    _, group = np.unique(np.asarray(texts, dtype=object).astype(str), return_inverse=True)
    labels = torch.from_numpy(group)
    image, text = features.image["patient"], features.text["patient"]
    return {
        "image_to_text": _ranks(image, text, labels),
        "text_to_image": _ranks(text, image, labels),
    }


def _ranks(queries: torch.Tensor, answers: torch.Tensor, labels: torch.Tensor) -> np.ndarray:
    ranks = []
    for start in range(0, len(queries), RETRIEVAL_CHUNK):
        chunk = slice(start, start + RETRIEVAL_CHUNK)
        similarity = queries[chunk] @ answers.T
        right = labels[chunk, None] == labels[None, :]
        best = similarity.masked_fill(~right, -torch.inf).max(dim=1, keepdim=True).values
        ranks.append(1 + ((similarity >= best) & ~right).sum(1))
    return torch.cat(ranks).numpy()


def _ranks_in(table: "pd.DataFrame", split: Split) -> dict[str, np.ndarray]:
    """As retrieval_ranks, which `predictions` has given to each row of a sample."""
    queries = table.drop_duplicates("sample_id").set_index("sample_id").loc[split.frame["sample_id"]]
    return {name: queries[f"{name}_rank"].to_numpy() for name in ("image_to_text", "text_to_image")}


def validation_scores(split: Split, features: Features, table: "pd.DataFrame") -> Validation:
    """The `val` part of metrics.json without its standard errors: the loss, every score, and both levels; of several
    labels where the table has them."""
    classes = len(split.classes)
    target, scores, _ = unpack(table)
    found = retrieval_scores(_ranks_in(table, split))
    labeled = len(target) > 0
    zero_shot = zero_shot_scores(target, scores) if labeled else dict.fromkeys(ZERO_SHOT)
    chance = chance_levels(target, classes) if labeled else {}
    if "labels" in table:
        found[MULTI_LABEL] = multi_label_score(table, split.classes)
        chance[MULTI_LABEL] = SEVERAL_LABELS[MULTI_LABEL].chance
    return Validation(
        loss=features.loss if np.isfinite(features.loss) else None,
        scores={**zero_shot, **found},
        levels=Levels(
            chance={**chance, **chance_recalls(split.texts["patient"])},
            majority=majority_levels(target, classes) if labeled else {},
        ),
        standard_error={},
    )


def standard_errors(table: "pd.DataFrame", classes: Sequence[str] = ()) -> dict[str, float | None]:
    """Standard error per metric, by a bootstrap over patients; of several labels where the table has them."""
    metrics = SELECTABLE if "labels" in table else METRICS
    return {metric: standard_error(metric, table, classes) for metric in metrics}
