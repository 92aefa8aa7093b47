"""A task for search strategies: heads on real frozen encoders, for the photographs of 298 real patients.

The public set of diabetic patients (tests/workflow/test_real_photographs.py says where it is looked for), ten classes,
texts made of the labels; EfficientNet-lite0 with ImageNet's weights and MiniLM (make weights). config/laptop.yaml, by
the workflow up to the features; then every trial by the trainer itself, in one process. 160 patients train, 101 are
validation: two fifths, since half of these have to say what is true.
"""

import copy
import math
import os
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import yaml
from make_srahim_manifest import make_manifest
from real_encoders import IMAGE_ARCHITECTURE, IMAGE_CHECKPOINT, TEXT_ENCODER, write_image_weights
from running import REPOSITORY, snakemake
from search_table import Values, Views

EPOCHS = 10
SPACE: dict[str, list[Any]] = {
    "learning_rate": [3.0e-4, 1.0e-3, 3.0e-3, 1.0e-2, 3.0e-2],
    "batch_size": [32, 64],
    "warmup_steps": [0, 20],
    "weight_decay": [0.01, 0.3],
    "temperature": [0.02, 0.05, 0.1, 0.2, 0.4],
}
# of config/laptop.yaml, as near as the space has it
BASELINE: Values = {
    "learning_rate": 1.0e-3,
    "batch_size": 64,
    "warmup_steps": 20,
    "weight_decay": 0.01,
    "temperature": 0.05,
}
PLACES = (os.environ.get("RETCLIP_REAL_DATA"), REPOSITORY.parent / "shared/data/srahim_dr")


def missing() -> str | None:
    """What this task needs and does not find, in a sentence."""
    if _photographs() is None:
        return "photographs: left out; set RETCLIP_REAL_DATA to a folder with labels.csv and images/ of the public set"
    if not (IMAGE_CHECKPOINT.is_file() and TEXT_ENCODER.is_dir()):
        return "photographs: left out; make weights brings the encoders"
    return None


class Photographs:
    """Prepared data and features in `folder`, made where they are not there."""

    name = "photographs"
    space = SPACE
    seeds = (1, 2, 3, 4, 5)
    epochs = EPOCHS
    baseline = BASELINE

    def __init__(self, folder: Path) -> None:
        import torch

        torch.set_num_threads(1)
        self.results, self.resources = folder / "results/photographs", folder / "resources"
        if not (self.results / "phase1/baseline/trial.json").is_file():
            _prepare(folder)
        self.splits: dict[str, Any] = {}
        self.models: dict[int, Any] = {}

    def views(self) -> Views:
        """The eyes of the validation patients, in the order of the predictions."""
        self._read()
        parts = [
            (target[target >= 0], np.flatnonzero(target >= 0)) for target in self.splits["val"].targets.values()
        ]  # every patient has both eyes
        return Views(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def train(self, values: Values, seed: int) -> Iterator[np.ndarray]:
        """What each eye is named after every epoch; a training run that diverged names the first class from there."""
        import torch

        from retclip.evaluation.validation import embed, predictions, zero_shot_classifier
        from retclip.models.factory import build_model
        from retclip.search.budget import plan
        from retclip.training.checkpoint import StateFolder
        from retclip.training.trainer import Trainer, _no_scores

        named: list[np.ndarray] = []

        class Watched(Trainer):
            """Only what an eye is named: all other scores and their errors take most of so short a training run."""

            def _evaluate(self) -> Any:
                texts = zero_shot_classifier(self.model, self.val.classes, trial.class_prompts, self.tokenize,
                                             trial.hyperparameters["context_length"], self.device)  # fmt: skip
                features = embed(self.model, self.val, self.device, self.precision)
                table = predictions(self.val, features, texts)
                named.append(table.filter(regex=r"^score_\d+$").to_numpy().argmax(1))
                return _no_scores(), table

        self._read()
        configured = {**self.trial.configured, **values, "epochs": EPOCHS, "early_stopping_patience": None}
        specification = {**self.trial.to_dict(), "seed": seed, "epochs": EPOCHS, "train_samples": None,
                         "val_samples": None, "stop_epoch": None}  # fmt: skip
        trial = plan(specification, configured, {name: len(split) for name, split in self.splits.items()})
        if seed not in self.models:
            self.models[seed] = self._without_encoders(build_model(trial, self.encoder, self.weights))
        model = copy.deepcopy(self.models[seed])
        for scale in (model.logit_scale, model.logit_scale_left, model.logit_scale_right):
            scale.data.fill_(-math.log(values["temperature"]))
        with tempfile.TemporaryDirectory() as folder:
            Watched(trial, model, self.splits["train"], self.splits["val"], self.tokenize, torch.device("cpu"),
                    self.precision, StateFolder(Path(folder), "bench"), save_seconds=3600).run()  # fmt: skip
        nothing = np.zeros(len(self.views().target), dtype=int)
        yield from [*named, *[nothing] * (EPOCHS - len(named))]

    def _without_encoders(self, model: Any) -> Any:
        """The model with heads alone, and the features of the class prompts: no step of a trial runs an encoder, but
        each walks over its hundreds of parts."""
        import torch
        from torch import nn

        prompts = [prompt for name in self.splits["val"].classes for prompt in self.trial.class_prompts[name]]
        ids, mask = self.tokenize(prompts, self.trial.hyperparameters["context_length"])
        with torch.no_grad():
            known = model.pooled_text(ids, mask)

        class KnownTexts(nn.Module):
            config = model.bert.config

            def forward(self, input_ids: Any, attention_mask: Any) -> Any:
                return SimpleNamespace(last_hidden_state=known[:, None].expand(-1, input_ids.shape[1], -1))

        model.bert, model.visual.trunk = KnownTexts(), nn.Identity()
        return model

    def _read(self) -> None:
        """Splits with their features, once."""
        if self.splits:
            return
        import torch

        from retclip.core.io import read_json
        from retclip.core.trial import Trial
        from retclip.loading.dataset import Split
        from retclip.loading.device import choose_precision
        from retclip.loading.feature_cache import frozen_features
        from retclip.models.text_encoder import load_tokenizer

        self.trial = Trial.read(self.results / "phase1/baseline/trial.json")
        fingerprint = read_json(self.results / "data/fingerprint.json")
        self.encoder = next(iter(self.resources.glob("text_encoders/*")))
        self.weights = next(iter(self.resources.glob("image_encoders/*.safetensors")))
        self.tokenize = load_tokenizer(self.encoder, "right")
        cached = {"image": [self.results / "features/image.safetensors"],
                  "text": [self.results / "features/text-minilm.safetensors"]}  # fmt: skip
        self.precision = choose_precision("auto", torch.device("cpu"))
        source = read_json(self.encoder / "source.json")
        features = frozen_features(cached, self.trial, fingerprint, source, self.precision)
        read = partial(Split, self.results / "data", fingerprint=fingerprint, tokenize=self.tokenize,
                       context_length=self.trial.hyperparameters["context_length"], frozen=features)  # fmt: skip
        self.splits = {name: read(name) for name in ("train", "val")}


def _photographs() -> Path | None:
    return next((Path(place) for place in PLACES if place and Path(place, "labels.csv").is_file()), None)


def _prepare(folder: Path) -> None:
    """The workflow up to the features and the baseline's specification."""
    photographs = _photographs()
    assert photographs is not None
    folder.mkdir(parents=True, exist_ok=True)
    make_manifest(photographs, folder / "manifest.csv")
    weights = write_image_weights(folder / "lite0.pth")
    overlay = {
        "run": "photographs",
        "data": {"source": "manifest", "manifest": str(folder / "manifest.csv"), "image_root": str(photographs),
                 "val_fraction": 0.4, "test_fraction": 0.1},
        "model": {"image_encoder": {"architecture": f"timm/{IMAGE_ARCHITECTURE}", "weights": str(weights)},
                  "text_encoders": {"minilm": {"source": str(TEXT_ENCODER)}, "pubmedbert": None, "bert_base": None,
                                    "biobert": None},
                  "search_encoder": "minilm"},
    }  # fmt: skip
    (folder / "photographs.yaml").write_text(yaml.safe_dump(overlay))
    results = "results/photographs"
    snakemake(folder, "--configfile", REPOSITORY / "config/laptop.yaml", folder / "photographs.yaml", "--",
              f"{results}/features/image.safetensors", f"{results}/features/text-minilm.safetensors",
              f"{results}/phase1/baseline/trial.json", forks=False)  # fmt: skip
