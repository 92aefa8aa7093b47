"""A model on the test split, which no choice has read: its predictions, and a linear probe of its features."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from retclip.core.io import read_json
from retclip.core.prompts import TEMPLATES
from retclip.core.trial import Trial
from retclip.evaluation.logistic import fit, regression
from retclip.evaluation.validation import (
    EVALUATION_BATCH,
    Features,
    embed,
    labeled_views,
    labels_of,
    predictions,
    retrieval_ranks,
    several_labels,
    zero_shot_classifier,
)
from retclip.loading.dataset import Split
from retclip.loading.device import autocast, choose_device, choose_precision, prepare_device
from retclip.loading.feature_cache import frozen_features
from retclip.metrics.evaluation_document import Evaluation, Probe
from retclip.metrics.evaluation_report import Retrieval, evaluation_document
from retclip.metrics.thresholds import choose_thresholds
from retclip.models.encode import eyes_of
from retclip.models.export import load_exported
from retclip.models.factory import build_model
from retclip.models.provenance import ran_on
from retclip.models.text_encoder import load_tokenizer

if TYPE_CHECKING:
    import pandas as pd

    from retclip.models.retclip import RetClip

# The probe is fitted on all of train. The solver has no randomness of its own: to show how much the training patients
# matter, each seed leaves out another fifth of them.
PROBE_SEEDS = (0, 1, 2, 3, 4)
LEFT_OUT = 0.2


class Reader(NamedTuple):
    """What it takes to run a model: its trial, the tokenizer of its text encoder, the device and precision.

    encoder: source.json of the text encoder. untouched: the encoders have their initial weights, frozen or not.
    features: of frozen encoders, which then do not run; see reading.
    """

    trial: Trial
    tokenize: Any
    device: torch.device
    precision: str
    encoder: dict[str, Any]
    untouched: bool = False
    features: dict[str, torch.Tensor] | None = None

    def reading(self, paths: dict[str, list[Path]], fingerprint: dict[str, Any]) -> "Reader":
        """The same with cached features, as far as they are this model's. paths: encoder (image, text) -> its files.
        fingerprint: of the data that they are of. Raises ValueError where a file is of something else."""
        found = frozen_features(paths, self.trial, fingerprint, self.encoder, self.precision, self.untouched)
        return self._replace(features=found)

    def split(self, data_dir: Path, name: str, fingerprint: dict[str, Any]) -> Split:
        """One split of a data folder, with the texts that the model's encoder reads."""
        length = self.trial.hyperparameters["context_length"]
        columns = self.trial.text_encoder_settings.texts
        return Split(data_dir, name, fingerprint, self.tokenize, length, text_columns=columns, frozen=self.features)

    def embed(self, model: "RetClip", split: Split) -> Features:
        """Both encoders over the split, as far as its features are not known."""
        return embed(model, split, self.device, self.precision)

    def table(
        self, model: "RetClip", split: Split, features: Features, prompts: dict[str, list[str]]
    ) -> "pd.DataFrame":
        """The split's table of predictions, as metrics.evaluation_report reads it, without a probe's columns."""
        length = self.trial.hyperparameters["context_length"]
        classes = split.classes
        one_sentence = {name: [TEMPLATES[0].format(label=name)] for name in classes}
        ensemble, single_template = (
            zero_shot_classifier(model, classes, words, self.tokenize, length, self.device)
            for words in (prompts, one_sentence)
        )
        return prediction_table(split, features, ensemble, single_template, scales_of(model))

    def provenance(self, fingerprint: dict[str, Any], splits: Iterable[str], code: str) -> dict[str, Any]:
        """The origin in evaluation.json, under the names of metrics.json; splits: those that were read."""
        return {
            "trial_sha256": self.trial.sha256,
            "seed": self.trial.seed,
            **ran_on(self.device, self.precision, code),
            "data": {name: fingerprint["splits"][name]["sha256"] for name in splits},
        }


def trained_model(trial: Trial, model_dir: Path, device: str) -> tuple["RetClip", Reader]:
    """An exported model and how it reads. device: auto, cpu or cuda."""
    reader = make_reader(trial, model_dir / "text", device)
    return load_exported(model_dir).to(reader.device), reader


def initial_model(trial: Trial, encoder_dir: Path, image_weights: Path | None, device: str) -> tuple["RetClip", Reader]:
    """The model with which `trial` begins, and how it reads. encoder_dir: the text encoder's folder."""
    reader = make_reader(trial, encoder_dir, device)._replace(untouched=True)
    return build_model(trial, encoder_dir, image_weights).to(reader.device), reader


def make_reader(trial: Trial, encoder_dir: Path, device: str) -> Reader:
    """encoder_dir: the folder with the tokenizer and source.json; device: auto, cpu or cuda."""
    chosen = choose_device(device)
    tokenize = load_tokenizer(encoder_dir, trial.text_encoder_settings.truncation_side)
    precision = choose_precision(trial.hyperparameters["precision"], chosen)
    prepare_device(chosen, precision)
    return Reader(trial, tokenize, chosen, precision, read_json(encoder_dir / "source.json"))


def scales_of(model: "RetClip") -> dict[str, float]:
    """View -> the factor of its cosine similarities (1 / temperature)."""
    scales = {"left": model.logit_scale_left, "right": model.logit_scale_right, "patient": model.logit_scale}
    return {view: float(scale.detach().exp()) for view, scale in scales.items()}


def prediction_table(
    split: Split,
    features: Features,
    ensemble: dict[str, torch.Tensor],
    single_template: dict[str, torch.Tensor],
    scales: dict[str, float],
) -> "pd.DataFrame":
    """`predictions` of the split, views of several labels among them with target -1; with further columns.

    ensemble, single_template: view -> zero-shot classifier [C, D], of all prompts and of one sentence a class.
    """
    import pandas as pd

    table = predictions(split, features, ensemble, several_labels(split))
    row = pd.Series(range(len(split)), index=split.frame["sample_id"])[table["sample_id"]].to_numpy()
    similarity = np.zeros((len(table), len(split.classes)))
    for view in table["eye"].unique():
        here = (table["eye"] == view).to_numpy()
        if split.classes:
            similarity[here] = (features.image[view][row[here]] @ single_template[view].T).numpy()
    columns = pd.DataFrame(similarity, columns=[f"template_{k}" for k in range(len(split.classes))])
    return pd.concat([table, columns], axis=1).assign(
        labels=labels_of(split, table), logit_scale=table["eye"].map(scales)
    )


def linear_probe(
    splits: dict[str, Split], inputs: dict[str, dict[str, np.ndarray]], table: "pd.DataFrame", features: str
) -> tuple[Probe | None, "pd.DataFrame"]:
    """A logistic regression on frozen image features, and `table` with its class probabilities: probe_{k}, and for each
    seed probe{seed}_{k}.

    inputs: split (train, val and that of the table) -> view -> features [N, D]. table: predictions of the split
    `test`. features: their name. None where fewer than two classes are labeled in train, or val is unlabeled.
    """
    import pandas as pd

    x, y, patients, _ = labeled_views(splits["train"], inputs["train"])
    x_val, y_val, *_ = labeled_views(splits["val"], inputs["val"])
    finite = all(np.isfinite(values).all() for views in inputs.values() for values in views.values())
    if len(np.unique(y)) < 2 or len(y_val) == 0 or not finite:
        return None, table
    fitted = fit(x, y, x_val, y_val)
    probes = {"": fitted}
    for seed in PROBE_SEEDS:
        rows = _without_a_fifth(y, patients, seed)
        model = regression(fitted.scaler.transform(x[rows]), y[rows], fitted.strength)
        probes[str(seed)] = fitted._replace(model=model)
    test, classes = splits["test"], len(splits["train"].classes)
    row = pd.Series(range(len(test)), index=test.frame["sample_id"])[table["sample_id"]].to_numpy()
    columns: dict[str, np.ndarray] = {}
    for part, probe in probes.items():
        scores = np.full((len(table), classes), np.nan)  # of views without a label
        for view in test.targets:
            here = (table["eye"] == view).to_numpy()
            if here.any():
                scores[here] = probe.probabilities(inputs["test"][view][row[here]], classes)
        columns |= {f"probe{part}_{k}": scores[:, k] for k in range(classes)}
    table = pd.concat([table, pd.DataFrame(columns, index=table.index)], axis=1)
    probe_used = Probe(features=features, strength=fitted.strength, train_units=len(y), seeds=PROBE_SEEDS)
    return probe_used, table


def evaluate_on_test(
    model: "RetClip",
    reader: Reader,
    data_dir: Path,
    fingerprint: dict[str, Any],
    ordered_classes: list[str] | None,
    code: str,
) -> tuple[Evaluation, "pd.DataFrame"]:
    """evaluation.json and predictions.parquet of a model on the test split of the data it was trained on.

    code: hash of the evaluation's code. The probe reads features of the image encoder, not of its heads, which are
    random in the initial weights: so the two can be compared.
    """
    splits = {name: reader.split(data_dir, name, fingerprint) for name in ("train", "val", "test")}
    features = {name: reader.embed(model, split) for name, split in splits.items()}
    prompts = reader.trial.class_prompts
    val, table = (reader.table(model, splits[name], features[name], prompts) for name in ("val", "test"))
    inputs = {name: encoder_features(model, split, reader) for name, split in splits.items()}
    probe, table = linear_probe(splits, inputs, table, "image_encoder")
    document = evaluation_document(
        table,
        splits["test"].frame,
        splits["test"].classes,
        retrieval_of(splits["test"], features["test"]),
        choose_thresholds(val, splits["test"].classes),
        fingerprint["texts_from_labels"],
        reader.provenance(fingerprint, splits, code),
        probe,
        ordered_classes,
    )
    return document, table


def evaluate_external(
    model: "RetClip",
    reader: Reader,
    data_dir: Path,
    fingerprint: dict[str, Any],
    prompts: dict[str, list[str]],
    thresholds: dict[str, float],
    ordered_classes: list[str] | None,
    code: str,
) -> tuple[Evaluation, "pd.DataFrame"]:
    """evaluation.json and predictions of a model on an external data set, which may have other classes; without a
    probe, since nothing is trained on it. thresholds: class -> score, chosen on the model's own val split. code:
    hash of the evaluation's code."""
    split = reader.split(data_dir, "test", fingerprint)
    features = reader.embed(model, split)
    table = reader.table(model, split, features, prompts)
    document = evaluation_document(
        table,
        split.frame,
        split.classes,
        retrieval_of(split, features),
        thresholds,
        fingerprint["texts_from_labels"],
        reader.provenance(fingerprint, ["test"], code),
        ordered_classes=ordered_classes,
    )
    return document, table


def retrieval_of(split: Split, features: Features) -> Retrieval:
    """Ranks, patients and texts of a split, which its retrieval scores are computed from."""
    texts = split.texts["patient"]
    return Retrieval(retrieval_ranks(features, texts), split.frame["patient_id"].to_numpy(), texts)


def as_arrays(features: Features) -> dict[str, np.ndarray]:
    """View -> image features [N, D]."""
    return {view: values.numpy() for view, values in features.image.items()}


@torch.inference_mode()
def encoder_features(model: "RetClip", split: Split, reader: Reader) -> dict[str, np.ndarray]:
    """View -> features of the image encoder alone: an eye's [N, D], a patient's both eyes' side by side [N, 2D]."""
    left, right = [], []
    for start in range(0, len(split), EVALUATION_BATCH):
        indices = np.arange(start, min(start + EVALUATION_BATCH, len(split)))
        batch = split.batch(indices, reader.device)
        with autocast(reader.device, reader.precision):
            eyes = eyes_of(model, batch, augment=False).float()
        left.append(eyes[0].cpu().numpy())
        right.append(eyes[1].cpu().numpy())
    sides = {"left": np.concatenate(left), "right": np.concatenate(right)}
    return {**sides, "patient": np.concatenate([sides["left"], sides["right"]], axis=1)}


def _without_a_fifth(y: np.ndarray, patients: np.ndarray, seed: int) -> np.ndarray:
    """Rows of the patients that stay; all rows where too few classes would be left."""
    people = np.unique(patients)
    out = np.random.default_rng(seed).permutation(people)[: int(LEFT_OUT * len(people))]
    rows = np.flatnonzero(~np.isin(patients, out))
    return rows if len(np.unique(y[rows])) > 1 else np.arange(len(y))
