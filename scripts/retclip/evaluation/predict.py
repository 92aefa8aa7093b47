"""New photographs, scored by an exported model exactly as the evaluation scores the test split."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from retclip.core.bounded import read_text
from retclip.core.logs import log, progress
from retclip.core.prompts import TEMPLATES, class_prompts, read_prompts
from retclip.core.spelling import in_words_of
from retclip.data.cases import SIDES, Case
from retclip.data.images import load_fundus
from retclip.data.store import decode, encode
from retclip.evaluation.validation import zero_shot_classifier
from retclip.loading.augmentation import to_model_input
from retclip.loading.device import autocast, choose_precision, prepare_device
from retclip.models.export import load_exported, read_exported
from retclip.models.text_encoder import load_tokenizer

if TYPE_CHECKING:
    import pandas as pd

VIEWS = ("left", "right", "patient")


def read_classes(path: Path, folder: Path) -> dict[str, list[str]]:
    """Class -> prompts. path: YAML (class name: descriptions), or a text file with one class name a line, whose
    prompts are the exported model's where it has them, else templates. Raises ValueError where there is none."""
    if path.suffix.lower() in (".yaml", ".yml"):
        prompts = class_prompts(path, list(read_prompts(path)))
    else:
        prompts = _known_prompts([line.strip() for line in read_text(path).splitlines() if line.strip()], folder)
    if not prompts:
        raise ValueError(f"{path}: names no class.")
    return prompts


def _known_prompts(names: list[str], folder: Path) -> dict[str, list[str]]:
    known = read_exported(folder, "class_prompts.json")
    name_of = in_words_of(known)
    for name in names:
        if name_of(name) not in known:
            log(f"the model has no prompts for the class {name!r}: using a template")
    return {name: known.get(name_of(name)) or [template.format(label=name) for template in TEMPLATES] for name in names}


class Predictor:
    """An exported model with its crop, size, single-eye handling and class texts."""

    def __init__(self, folder: Path, device: torch.device, precision: str, classes: Path | None = None) -> None:
        """precision: fp32, bf16, or auto: that of the model's training. classes: see read_classes; None takes the
        model's own. Raises ValueError where the folder is no model."""
        self.reading = read_exported(folder, "preprocessing.json")
        prompts = read_exported(folder, "class_prompts.json") if classes is None else read_classes(classes, folder)
        if not prompts:
            raise ValueError(f"{folder}: the model was trained without classes; name some with --classes.")
        self.model = load_exported(folder).to(device)
        self.device = device
        self.precision = choose_precision(self.reading["precision"] if precision == "auto" else precision, device)
        prepare_device(device, self.precision)
        # heads that no known eye has trained are random; exports of version 0.1 do not say
        self.heads = self.reading.get("heads", VIEWS)
        self.classes = list(prompts)
        tokenize = load_tokenizer(folder / "text", self.reading["truncation_side"])
        length = self.reading["context_length"]
        self.texts = zero_shot_classifier(self.model, self.classes, prompts, tokenize, length, device)
        scales = (self.model.logit_scale_left, self.model.logit_scale_right, self.model.logit_scale)
        self.scales = dict(zip(VIEWS, (float(scale.detach().exp()) for scale in scales), strict=True))

    def predict(self, cases: list[Case], batch_size: int, threads: int) -> "pd.DataFrame":
        """One row per eye and one per patient: name, eye, head, class, probability, problem, score_{class}.

        eye: left, right, unknown, or patient (all of its eyes); head: left, right or patient, which scored it, as `eye`
        of predictions.parquet. score: cosine similarity, as there; probability: of the likeliest class among these
        classes. An image that cannot be read has a row with its problem. threads: that read images.
        """
        import pandas as pd

        if any(self._untrained(case.images) for case in cases):
            log("warning: this model was trained without known eyes: the patient's head sees each image as both eyes")
            cases = [alone for case in cases for alone in (_apart(case) if self._untrained(case.images) else [case])]
        _warn_of_unknown_eyes(cases)
        rows: list[dict[str, Any]] = []
        with ThreadPoolExecutor(threads) as pool, progress(len(cases), "cases") as done:
            for batch in _pieces(cases, batch_size):
                rows += self._rows(list(batch), list(pool.map(self._read, batch)))
                done(len(batch))
        columns = [
            "name",
            "eye",
            "head",
            "class",
            "probability",
            "problem",
            *(f"score_{name}" for name in self.classes),
        ]
        return pd.DataFrame(rows, columns=columns)

    def _untrained(self, eyes: Iterable[str]) -> bool:
        """Whether one of these eyes has a head that no training run has reached."""
        return any(eye in SIDES and eye not in self.heads for eye in eyes)

    def _read(self, case: Case) -> tuple[dict[str, np.ndarray], dict[str, str]]:
        """eye -> pixels, and eye -> the reason why its image cannot be used."""
        found: dict[str, np.ndarray] = {}
        problems: dict[str, str] = {}
        if case.problem:
            return found, dict.fromkeys(case.images or [""], case.problem)
        for eye, path in case.images.items():
            try:
                pixels = load_fundus(path, self.reading["image_size"], self.model.preprocessing.interpolation)
            except ValueError as error:
                problems[eye] = f"{eye} image: {error}" if eye in SIDES else str(error)
                continue
            # training saw what JPEG had left of each image
            jpeg = self.reading["image_encoding"] == "jpeg"
            found[eye] = decode(encode(pixels, "jpeg")) if jpeg else pixels
        return found, problems

    @torch.inference_mode()
    def _rows(
        self, cases: list[Case], read: list[tuple[dict[str, np.ndarray], dict[str, str]]]
    ) -> Iterable[dict[str, Any]]:
        pairs = []
        for images, _ in read:
            if images:
                # a missing eye shows the other one
                one = next(iter(images.values()))
                pairs.append((images.get("left", one), images.get("right", one)))
        features: dict[str, np.ndarray] = {}
        if pairs:
            stacked = torch.from_numpy(np.stack([image for side in zip(*pairs, strict=True) for image in side]))
            left, right = to_model_input(stacked.to(self.device), False, self.model.preprocessing).chunk(2)
            with autocast(self.device, self.precision):
                patient, left, right = self.model.encode_eyes(left, right)
            for view, feature in (("left", left), ("right", right), ("patient", patient)):
                features[view] = (feature.float().cpu() @ self.texts[view].T).numpy()
        at = 0
        for case, (images, problems) in zip(cases, read, strict=True):
            for eye, problem in problems.items():
                yield {"name": case.names.get(eye, case.name), "eye": eye, "head": "", "class": "", "problem": problem}
            if not images:
                continue
            alone = "unknown" in images or self._untrained(images)
            for eye in (side for side in SIDES if side in images and not alone):
                yield self._row(case.names.get(eye, case.name), eye, eye, features[eye][at])
            eye = next(iter(images)) if alone else "patient"
            yield self._row(case.name, eye, "patient", features["patient"][at])
            at += 1

    def _row(self, name: str, eye: str, head: str, scores: np.ndarray) -> dict[str, Any]:
        best = int(scores.argmax())
        odds = np.exp(self.scales[head] * (scores.astype(np.float64) - scores[best]))
        row = {"name": name, "eye": eye, "head": head, "class": self.classes[best]}
        row |= {"probability": 1 / odds.sum(), "problem": ""}
        return row | {f"score_{label}": score for label, score in zip(self.classes, scores, strict=True)}


def _apart(case: Case) -> list[Case]:
    """Each image of a case as a case of its own."""
    alone = [Case(case.names.get(eye, case.name), {eye: path}, {}, case.problem) for eye, path in case.images.items()]
    return alone or [case]


def _warn_of_unknown_eyes(cases: list[Case]) -> None:
    unknown = sum("unknown" in case.images for case in cases)
    if unknown:
        images = sum(len(case.images) for case in cases)
        log(
            f"warning: {unknown} of {images} images: the eye is not known by table, DICOM header or file name; the "
            "patient's head scores them, each as both eyes, and their rows say so (eye: unknown)"
        )


def _pieces(cases: list[Case], size: int) -> Iterator[list[Case]]:
    waiting = iter(cases)
    return iter(lambda: list(islice(waiting, size)), [])
