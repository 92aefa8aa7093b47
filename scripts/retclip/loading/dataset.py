"""One split in the form that the model takes: images by key from the LMDB, texts tokenized once, targets per view."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from retclip.data.splits import of_patients_within, stratified_subset
from retclip.data.store import Store
from retclip.loading.device import to_device

Item = TypeVar("Item")
Made = TypeVar("Made")
VIEWS = ("left", "right", "patient")
TEXT_COLUMNS = {"left": "text_left", "right": "text_right", "patient": "text"}

# A batch's texts in so many chunks of similar length save 30 to 40 % of its tokens; smaller chunks cost more in
# calls than they save in padding. A GPU computes BERT-base for 64 texts in less time than its kernels are asked for,
# and in half precision adds up a gradient of each weight for each chunk.
TEXT_CHUNKS, SMALLEST_CHUNK = 4, {"cpu": 8, "cuda": 256}
# Share of a GPU's free memory that the cached images of the training set may take.
CACHED_SHARE = 0.2
READ_AT_ONCE = 1024


class Split:
    """The samples of one split (train, val or test), those of a fraction of its patients, or a stratified subset.

    Images are read on demand; everything else is in memory. N samples:
    present [N, 2] bool (left, right eye seen), targets {view: int[N]} (class index, -1 = not scored),
    label_codes {view: int64[N]} (equal for equal labels, several joined included; -1: none),
    texts {view: str[N]}; equal texts are tokenized once.
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
        frozen: dict[str, torch.Tensor] | None = None,
        fraction: float | None = None,
    ) -> None:
        """text_columns: view -> column, for an encoder that reads other texts than TEXT_COLUMNS. frozen: features
        from retclip.loading.feature_cache.read_features; this split then needs no run of the encoders in it. fraction:
        of the patients, all of whose samples are read.

        Raises ValueError where the table lacks a text column.
        """
        import pandas as pd

        frame = pd.read_parquet(Path(data_dir) / f"samples_{name}.parquet")
        eyes = frame["eyes"].to_numpy()
        keys, eye_rows = _stored_images(frame["sample_id"].tolist(), eyes)
        texts = {view: np.asarray(_texts(frame, view, text_columns), dtype=object) for view in TEXT_COLUMNS}
        self.different_texts, places = np.unique(np.stack(list(texts.values())), return_inverse=True)
        text_rows = dict(zip(texts, places.reshape(len(texts), -1), strict=True))
        chosen = np.arange(len(frame))
        if fraction is not None:
            chosen = np.flatnonzero(of_patients_within(frame, fraction))
        elif samples is not None and samples < len(frame):
            chosen = np.sort(stratified_subset(frame, samples, seed))
        self.frame = frame.iloc[chosen].reset_index(drop=True)
        self.classes: list[str] = fingerprint["classes"]
        self.store = Store(Path(data_dir) / f"{name}.lmdb", fingerprint["splits"][name]["lmdb_bytes"])
        self.present = np.stack([np.isin(eyes, ("left", "both")), np.isin(eyes, ("right", "both"))], axis=1)[chosen]
        self.targets = _targets(self.frame, self.classes, fingerprint["label_level"])
        self.label_codes = {view: _codes(self.frame, view) for view in VIEWS}
        # the negative control: one permutation for all three texts, so that only the pairing is lost
        read = np.random.default_rng(seed).permutation(chosen) if shuffle_texts else chosen
        self.texts = {view: column[read].tolist() for view, column in texts.items()}
        by_eye = fingerprint["text_level"] == "eye" if text_columns is None else len(text_columns) > 1
        text_rows = _read_rows({view: rows[read] for view, rows in text_rows.items()}, self.present, by_eye)

        frozen = frozen or {}
        used, rows = np.unique(eye_rows[chosen], return_inverse=True)
        self.image_keys, self._eye_rows = [keys[i] for i in used], rows.reshape(-1, 2)
        self._eye_features = frozen[f"{name}.eyes"][used] if f"{name}.eyes" in frozen else None
        self._images_on_device: torch.Tensor | None = None
        used, rows = np.unique(np.stack(list(text_rows.values())), return_inverse=True)
        self._text_rows = dict(zip(text_rows, rows.reshape(len(text_rows), -1), strict=True))
        self._tokens = frozen[f"{name}.texts"][used] if f"{name}.texts" in frozen else None
        if self._tokens is None:
            self._ids, mask = tokenize(self.different_texts[used].tolist(), context_length)
            self._lengths = mask.sum(1).numpy()

    def __len__(self) -> int:
        return len(self.frame)

    def cache_on_device(self, device: torch.device) -> None:
        """Keeps on a GPU the cached features of this split, and its images where they take less than CACHED_SHARE
        of the free memory. Does nothing on a CPU: the operating system caches the store there."""
        if device.type != "cuda":
            return
        if self._tokens is not None:
            self._tokens = self._tokens.to(device)
        if self._eye_features is not None:
            self._eye_features = self._eye_features.to(device)
            return
        first = self.store.get_many(self.image_keys[:1])[0]
        if first.nbytes * len(self.image_keys) < CACHED_SHARE * torch.cuda.mem_get_info(device)[0]:
            self._images_on_device = self._all_images(device)

    def batch(self, indices: np.ndarray, device: torch.device) -> dict[str, Any]:
        """The samples at `indices` [B] on `device`; each image and each text occurs once.

        images uint8 [M, S, S, 3] and eyes int64 [2, B], the rows there of the left and the right eye (an absent
        eye shows the other one), or eye_features [2, B, D] of a frozen encoder; texts, chunks of similar length
        [(ids [C, L], mask [C, L])], and text_rows {view: int64 [B]}, the rows in their concatenation, or tokens
        {view: [B, H]} of a frozen encoder. present bool [B, 2] stays on the CPU.
        """
        batch: dict[str, Any] = {"present": torch.from_numpy(self.present[indices])}
        if self._eye_features is not None:
            batch["eye_features"] = _rows_of(self._eye_features, self._eye_rows[indices].T, device)
        else:
            shown, eyes = np.unique(self._eye_rows[indices], return_inverse=True)
            batch["images"] = self.images_at(shown, device)
            batch["eyes"] = to_device(torch.from_numpy(eyes.reshape(-1, 2).T.copy()), device)
        if self._tokens is not None:
            batch["tokens"] = {view: _rows_of(self._tokens, rows[indices], device)
                               for view, rows in self._text_rows.items()}  # fmt: skip
        else:
            texts, text_rows = self._text_batch(indices, SMALLEST_CHUNK[device.type])
            batch["texts"] = [(to_device(ids, device), to_device(mask, device)) for ids, mask in texts]
            batch["text_rows"] = {view: to_device(rows, device) for view, rows in text_rows.items()}
        return batch

    def images_at(self, rows: np.ndarray, device: torch.device) -> torch.Tensor:
        """uint8 [len(rows), S, S, 3]: the images of image_keys at `rows`, on `device`."""
        if self._images_on_device is not None:
            return _rows_of(self._images_on_device, rows, device)
        return to_device(torch.from_numpy(self.store.get_many([self.image_keys[i] for i in rows])), device)

    def _all_images(self, device: torch.device) -> torch.Tensor:
        parts = []
        for start in range(0, len(self.image_keys), READ_AT_ONCE):
            some = self.store.get_many(self.image_keys[start : start + READ_AT_ONCE])
            parts.append(torch.from_numpy(some).to(device))
        return torch.cat(parts)

    def _text_batch(
        self, indices: np.ndarray, smallest: int
    ) -> tuple[list[tuple[torch.Tensor, torch.Tensor]], dict[str, torch.Tensor]]:
        """The texts of samples in chunks of similar length, `smallest` or more, each padded to its own longest."""
        wanted, places = np.unique(np.stack([rows[indices] for rows in self._text_rows.values()]), return_inverse=True)
        order = np.argsort(self._lengths[wanted], kind="stable")
        chunks = []
        for chunk in np.array_split(wanted[order], max(1, min(TEXT_CHUNKS, len(wanted) // smallest))):
            length = int(self._lengths[chunk].max())
            mask = torch.arange(length) < torch.from_numpy(self._lengths[chunk])[:, None]
            chunks.append((self._ids[torch.from_numpy(chunk), :length], mask.long()))
        place_in_chunks = np.empty_like(order)
        place_in_chunks[order] = np.arange(len(order))
        rows = torch.from_numpy(place_in_chunks[places].reshape(len(self._text_rows), -1))
        return chunks, dict(zip(self._text_rows, rows, strict=True))


def prefetch(work: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[Made]:
    """work(item) for each item, in order; a thread works on the next item while the caller uses this one."""
    with ThreadPoolExecutor(1) as pool:
        waiting = None
        for item in items:
            following = pool.submit(work, item)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()


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


def _stored_images(sample_ids: list[str], eyes: np.ndarray) -> tuple[list[str], np.ndarray]:
    """The store's keys of all images, and [N, 2] the index in them of each sample's left and right eye."""
    keys: list[str] = []
    rows = np.empty((len(sample_ids), 2), dtype=np.int64)
    for position, (sample, seen) in enumerate(zip(sample_ids, eyes, strict=True)):
        sides = {"both": ["left", "right"], "right": ["right"]}.get(seen, ["left"])  # unknown is stored as left
        rows[position] = len(keys), len(keys) + len(sides) - 1
        keys += [f"{sample}/{side}" for side in sides]
    return keys, rows


def _read_rows(rows: dict[str, np.ndarray], present: np.ndarray, by_eye: bool) -> dict[str, np.ndarray]:
    """{view: [N]}, which text each view reads; an absent eye reads the patient's, and its loss is masked."""
    patient = rows["patient"]
    if not by_eye:
        return {"patient": patient, "left": patient, "right": patient}
    eyes = {view: np.where(present[:, column], rows[view], patient) for column, view in enumerate(("left", "right"))}
    return {"patient": patient, **eyes}


def _rows_of(table: torch.Tensor, rows: np.ndarray, device: torch.device) -> torch.Tensor:
    return to_device(table[to_device(torch.from_numpy(rows), table.device)], device)


def _codes(frame: Any, view: str) -> np.ndarray:
    """The view's own label, or where it has none the patient's, as a number."""
    import pandas as pd

    own = frame["label" if view == "patient" else f"label_{view}"]
    own = own.where(own.ne(""), frame["label"])
    codes, _ = pd.factorize(own.where(own.ne(""), None))
    return codes.astype(np.int64)


def _texts(frame: Any, view: str, text_columns: dict[str, str] | None) -> list[str]:
    """A view's texts. Where a text in another language is missing, the table's first language stands in."""
    own = frame[TEXT_COLUMNS[view]]
    if text_columns is None:
        return own.tolist()
    column = text_columns.get(view, text_columns["patient"])
    if column not in frame.columns:
        there = ", ".join(name for name in frame.columns if name.startswith("text"))
        raise ValueError(f"model.text_encoders names the text column {column}, but the table has only {there}.")
    return frame[column].where(frame[column].ne(""), own).tolist()


def _targets(frame: Any, classes: list[str], label_level: str) -> dict[str, np.ndarray]:
    index = {label: position for position, label in enumerate(classes)}
    columns = {"eye": {"left": "label_left", "right": "label_right"}, "patient": {"patient": "label"}}
    return {
        view: np.array([index.get(label, -1) for label in frame[column]], dtype=np.int64)
        for view, column in columns.get(label_level, {}).items()
    }
