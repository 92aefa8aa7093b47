"""New photographs, scored by an exported model exactly as the evaluation scores the test split."""

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from retclip.core.files import read_json
from retclip.core.logs import say
from retclip.core.prompts import TEMPLATES, class_prompts
from retclip.data.images import load_fundus
from retclip.data.store import decode, encode
from retclip.data.tables import need, read_table, rows_of
from retclip.ml.augment import to_model_input
from retclip.ml.device import autocast, choose_precision, prepare_device
from retclip.ml.evaluate import class_features
from retclip.ml.export import load_exported
from retclip.ml.text import load_tokenizer

if TYPE_CHECKING:
    import pandas as pd

PICTURES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".dcm", ".dicom", ".jp2", ".gif"}
UNITS = ("left", "right", "patient")
SAY_SECONDS = 10.0


class Case(NamedTuple):
    """A patient: the pictures of the left and the right eye, or one picture of whichever eye."""

    name: str
    left: Path | None = None
    right: Path | None = None
    single: Path | None = None


def cases_of_paths(paths: list[Path]) -> list[Case]:
    """One case a picture, of unknown side; a folder stands for the pictures below it, by name.

    Raises ValueError for what is neither a file nor a folder, and where a folder has no picture.
    """
    cases = []
    for path in paths:
        if path.is_dir():
            found = sorted(inner for inner in path.rglob("*") if inner.suffix.lower() in PICTURES)
            if not found:
                raise ValueError(f"{path}: this folder has no picture ({', '.join(sorted(PICTURES))}).")
            cases += [Case(str(inner.relative_to(path)), single=inner) for inner in found]
        elif path.is_file():
            cases.append(Case(path.name, single=path))
        else:
            raise ValueError(f"{path}: no such file or folder.")
    return cases


def cases_of_table(table: Path, image_root: Path) -> list[Case]:
    """One case a row of a CSV with image_left and image_right (or left and right), or image; named by sample_id,
    name or patient_id, or by its line. Raises ValueError naming a column that is missing."""
    frame = read_table(table)
    need(table, frame, "image_left", "image_right", "left", "right", "image")
    names = next((column for column in ("sample_id", "name", "patient_id") if column in frame.columns), None)
    cases = []
    for cells in rows_of(frame):
        places = {
            "left": cells.get("image_left") or cells.get("left"),
            "right": cells.get("image_right") or cells.get("right"),
            "single": cells.get("image"),
        }
        found = {eye: image_root / place for eye, place in places.items() if place}
        if "left" in found or "right" in found:
            found.pop("single", None)
        name = cells[names] if names else f"line {cells['__line__']}"
        cases.append(Case(str(name), **found))
    return cases


def read_classes(path: Path, folder: Path) -> dict[str, list[str]]:
    """Class -> prompts. path: YAML (class name: descriptions), or a text file with one class name a line, whose
    prompts are the exported model's where it has them, and templates otherwise."""
    import yaml

    if path.suffix.lower() in (".yaml", ".yml"):
        known = yaml.safe_load(path.read_text(encoding="utf-8"))
        return class_prompts(path, [str(name) for name in known or {}])
    names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not names:
        raise ValueError(f"{path}: names no class; write one a line.")
    known = read_json(folder / "class_prompts.json")
    for name in names:
        if name not in known:
            say(f"the model has no prompts for the class {name!r}: using a template")
    return {name: known.get(name) or [template.format(label=name) for template in TEMPLATES] for name in names}


class Predictor:
    """An exported model with its crop, size, single-eye handling and class texts."""

    def __init__(self, folder: Path, device: torch.device, precision: str, classes: Path | None = None) -> None:
        """precision: fp32, bf16, or auto: that of the model's training. classes: see read_classes; None takes the
        model's own. Raises ValueError where the folder is no model."""
        self.reading = read_json(folder / "preprocessing.json")
        prompts = read_json(folder / "class_prompts.json") if classes is None else read_classes(classes, folder)
        if not prompts:
            raise ValueError(f"{folder}: the model was trained without classes; name some with --classes.")
        self.model = load_exported(folder).to(device)
        self.device = device
        self.precision = choose_precision(self.reading["precision"] if precision == "auto" else precision, device)
        prepare_device(device, self.precision)
        self.classes = list(prompts)
        tokenize = load_tokenizer(folder / "text", self.reading["long_texts"])
        length = self.reading["context_length"]
        self.texts = class_features(self.model, self.classes, prompts, tokenize, length, device)
        scales = (self.model.logit_scale_left, self.model.logit_scale_right, self.model.logit_scale)
        self.scales = dict(zip(UNITS, (float(scale.detach().exp()) for scale in scales), strict=True))

    def predict(self, cases: list[Case], batch_size: int, threads: int) -> "pd.DataFrame":
        """One row per eye of known side and one per patient: name, eye, class, probability, problem, score_{class}.

        score: cosine similarity, as in predictions.parquet; probability: of the likeliest class among these classes.
        A case that cannot be read has one row, with its problem.
        """
        import pandas as pd

        rows: list[dict[str, Any]] = []
        started = said = time.monotonic()
        done = 0
        with ThreadPoolExecutor(threads) as pool:
            for batch in _pieces(cases, batch_size):
                rows += self._rows(list(batch), list(pool.map(self._read, batch)))
                done += len(batch)
                if time.monotonic() - said > SAY_SECONDS:
                    said = time.monotonic()
                    left = (said - started) / done * (len(cases) - done)
                    say(f"{done} of {len(cases)} cases, {left:.0f} s to go")
        columns = ["name", "eye", "class", "probability", "problem", *(f"score_{name}" for name in self.classes)]
        return pd.DataFrame(rows, columns=columns)

    def _read(self, case: Case) -> "dict[str, np.ndarray] | str":
        """eye (left, right or single) -> pixels, or the reason why a picture cannot be read."""
        found = {}
        for eye in ("left", "right", "single"):
            path = getattr(case, eye)
            if path is None:
                continue
            try:
                pixels = load_fundus(path, self.reading["image_size"])
            except ValueError as error:
                return f"{eye} picture: {error}" if eye != "single" else str(error)
            # a store of JPEG pictures has lost a little of each
            jpeg = self.reading["image_encoding"] == "jpeg"
            found[eye] = decode(encode(pixels, "jpeg")) if jpeg else pixels
        return found or "no picture is named"

    @torch.inference_mode()
    def _rows(self, cases: list[Case], read: "list[dict[str, np.ndarray] | str]") -> Iterable[dict[str, Any]]:
        pairs = []
        for pictures in read:
            if isinstance(pictures, dict):
                # a missing eye shows the other one
                one = next(iter(pictures.values()))
                pairs.append((pictures.get("left", one), pictures.get("right", one)))
        features: dict[str, np.ndarray] = {}
        if pairs:
            stacked = torch.from_numpy(np.stack([picture for side in zip(*pairs, strict=True) for picture in side]))
            left, right = to_model_input(stacked.to(self.device), augment=False).chunk(2)
            with autocast(self.device, self.precision):
                patient, left, right = self.model.encode_eyes(left, right)
            for unit, feature in (("left", left), ("right", right), ("patient", patient)):
                features[unit] = (feature.float().cpu() @ self.texts[unit].T).numpy()
        at = 0
        for case, pictures in zip(cases, read, strict=True):
            if isinstance(pictures, str):
                yield {"name": case.name, "eye": "", "class": "", "problem": pictures}
                continue
            for unit in (*(side for side in ("left", "right") if side in pictures), "patient"):
                yield self._row(case.name, unit, features[unit][at])
            at += 1

    def _row(self, name: str, unit: str, scores: np.ndarray) -> dict[str, Any]:
        best = int(scores.argmax())
        odds = np.exp(self.scales[unit] * (scores.astype(np.float64) - scores[best]))
        row = {"name": name, "eye": unit, "class": self.classes[best], "probability": 1 / odds.sum(), "problem": ""}
        return row | {f"score_{label}": score for label, score in zip(self.classes, scores, strict=True)}


def _pieces(cases: list[Case], size: int) -> Iterator[list[Case]]:
    waiting = iter(cases)
    return iter(lambda: list(islice(waiting, size)), [])
