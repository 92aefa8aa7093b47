"""One split as the model wants it: pictures by key from the LMDB, texts tokenised once, targets per eye."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from retclip.data.splits import stratified_subset
from retclip.data.store import Store

UNITS = ("left", "right", "patient")
TEXT_COLUMNS = {"left": "text_left", "right": "text_right", "patient": "text"}


class Split:
    """The samples of one split (train, val or test), or a stratified subset of them.

    pictures come on demand; everything else is held in memory. N samples:
    present [N, 2] bool (left, right eye seen), targets {unit: int[N]} (class index, -1 = not scored),
    label_codes {unit: int64[N]} (equal for equal labels, several joined included; -1: none),
    tokens {unit: (ids int64 [N, L], mask int64 [N, L])} for the patient and, where texts are per eye, for
    each eye.
    """

    def __init__(
        self,
        data_dir: str | Path,
        name: str,
        fingerprint: dict[str, Any],
        tokenize: Any,
        context_length: int,
        samples: int | None = None,
        seed: int = 0,
        shuffle_texts: bool = False,
        text_columns: dict[str, str] | None = None,
    ) -> None:
        """text_columns: unit -> column, for an encoder that reads other texts than TEXT_COLUMNS."""
        import pandas as pd

        frame = pd.read_parquet(Path(data_dir) / f"samples_{name}.parquet")
        if samples is not None and samples < len(frame):
            frame = frame.iloc[np.sort(stratified_subset(frame, samples, seed))]
        self.frame = frame.reset_index(drop=True)
        self.classes: list[str] = fingerprint["classes"]
        self.store = Store(Path(data_dir) / f"{name}.lmdb", fingerprint["splits"][name]["lmdb_bytes"])
        eyes = self.frame["eyes"].to_numpy()
        self.present = np.stack([np.isin(eyes, ("left", "both")), np.isin(eyes, ("right", "both"))], axis=1)
        self.keys = _keys(self.frame["sample_id"].tolist(), eyes)
        self.targets = _targets(self.frame, self.classes, fingerprint["label_level"])
        self.label_codes = {unit: _codes(self.frame, unit) for unit in UNITS}
        self.texts = {unit: _texts(self.frame, unit, text_columns) for unit in TEXT_COLUMNS}
        if shuffle_texts:
            # the negative control: one permutation for all three texts, so that only the pairing is lost
            order = np.random.default_rng(seed).permutation(len(self.frame))
            self.texts = {unit: [texts[i] for i in order] for unit, texts in self.texts.items()}
        by_eye = fingerprint["text_level"] == "eye" if text_columns is None else len(text_columns) > 1
        units = UNITS if by_eye else ("patient",)
        self.tokens = {unit: tokenize(self.texts[unit], context_length) for unit in units}

    def __len__(self) -> int:
        return len(self.frame)

    def batch(self, indices: np.ndarray, device: torch.device) -> dict[str, Any]:
        """The samples at `indices` [B] on `device`.

        pictures uint8 [2, B, S, S, 3] (an absent eye shows the other one), present bool [B, 2], texts as the
        keyword arguments of RetClip.forward.
        """
        keys = [self.keys[i] for i in indices]
        pictures = self.store.get_many([left for left, _ in keys] + [right for _, right in keys])
        stacked = torch.from_numpy(pictures).view(2, len(indices), *pictures.shape[1:])
        return {
            "pictures": stacked.to(device, non_blocking=True),
            "present": torch.from_numpy(self.present[indices]).to(device),
            "texts": self._text_batch(torch.from_numpy(np.asarray(indices)), device),
        }

    def _text_batch(self, rows: torch.Tensor, device: torch.device) -> dict[str, torch.Tensor]:
        arguments = {}
        for unit, (ids, mask) in self.tokens.items():
            suffix = "" if unit == "patient" else f"_{unit}"
            mask_rows = mask[rows]
            length = int(mask_rows.sum(1).max())
            arguments[f"text_ids{suffix}"] = ids[rows][:, :length].to(device)
            arguments[f"attention_mask{suffix}"] = mask_rows[:, :length].to(device)
        return arguments


def epoch_batches(samples: int, batch_size: int, seed: int, epoch: int) -> Iterator[np.ndarray]:
    """Index arrays [batch_size] of one epoch in an order that depends on (seed, epoch) alone.

    The last batch is filled up from the epoch's beginning, so every step has the same number of negatives
    and ceil(samples / batch_size) steps make an epoch.
    """
    order = np.random.default_rng((seed, epoch)).permutation(samples)
    for start in range(0, samples, batch_size):
        chosen = order[start : start + batch_size]
        if len(chosen) < batch_size:
            chosen = np.concatenate([chosen, order[: batch_size - len(chosen)]])
        yield chosen


def _keys(sample_ids: list[str], eyes: np.ndarray) -> list[tuple[str, str]]:
    keys = []
    for sample, seen in zip(sample_ids, eyes, strict=True):
        left, right = f"{sample}/left", f"{sample}/right"
        if seen == "both":
            keys.append((left, right))
        else:  # a picture of unknown side is stored as left
            only = right if seen == "right" else left
            keys.append((only, only))
    return keys


def _codes(frame: Any, unit: str) -> np.ndarray:
    """The unit's own label, or where it has none the patient's, as a number."""
    import pandas as pd

    own = frame["label" if unit == "patient" else f"label_{unit}"]
    own = own.where(own.ne(""), frame["label"])
    codes, _ = pd.factorize(own.where(own.ne(""), None))
    return codes.astype(np.int64)


def _texts(frame: Any, unit: str, text_columns: dict[str, str] | None) -> list[str]:
    """A unit's texts. Where a text in another language is missing, the table's first language stands in."""
    own = frame[TEXT_COLUMNS[unit]]
    if text_columns is None:
        return own.tolist()
    column = text_columns.get(unit, text_columns["patient"])
    if column not in frame.columns:
        there = ", ".join(name for name in frame.columns if name.startswith("text"))
        raise ValueError(f"model.text_encoders names the text column {column}, but the table has only {there}.")
    return frame[column].where(frame[column].ne(""), own).tolist()


def _targets(frame: Any, classes: list[str], label_level: str) -> dict[str, np.ndarray]:
    index = {label: position for position, label in enumerate(classes)}
    columns = {"eye": {"left": "label_left", "right": "label_right"}, "patient": {"patient": "label"}}
    return {
        unit: np.array([index.get(label, -1) for label in frame[column]], dtype=np.int64)
        for unit, column in columns.get(label_level, {}).items()
    }
