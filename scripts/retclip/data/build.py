"""Builds the stores and sample tables of a run from a source, streaming, with bad images set aside."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from retclip.core.io import canonical_json, sha256_of, write_json, write_parquet
from retclip.core.logs import log
from retclip.data.image_quality import ImageQuality
from retclip.data.labels import class_counts, classes_of, label_level_of
from retclip.data.near_duplicates import groups_of
from retclip.data.reconciliation import Ledger, say_counts
from retclip.data.refusals import refuse_leaks, refuse_many, refuse_nothing_left, refuse_useless
from retclip.data.samples import (
    COLUMNS,
    EXTRAS,
    ORIGINS,
    SPLITS,
    eye_columns,
    fill_texts,
    of_present_eyes,
    patient_columns,
    patient_labels,
    text_columns,
)
from retclip.data.source import Source
from retclip.data.sources.registry import sentence_of
from retclip.data.splits import assign_splits, cut_val_from_train
from retclip.data.store import write_store
from retclip.data.usable import usable_rows
from retclip.data.working_store import Wanted, WorkingStore, prepare

if TYPE_CHECKING:
    import pandas as pd

FORMAT_VERSION = 2
SIDES = ("left", "right")
UNITS = {"eye": ("left", "right"), "patient": ("patient",), "none": ()}
NO_PATIENTS = "none"


class Thumbnails(Sequence[bytes]):
    """The thumbnails of some images, each read from the store when it is asked for."""

    def __init__(self, store: WorkingStore, names: list[str]) -> None:
        self._store, self._names = store, names

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: Any) -> Any:
        return self._store.thumbnail(self._names[index])


class Settings(NamedTuple):
    """How a source becomes stores; the keys bear the same names in the config's `data`."""

    image_size: int
    image_encoding: str
    test_fraction: float
    val_fraction: float
    max_bad_fraction: float
    near_duplicates: str
    report_section: str | None
    seed: int
    threads: int
    only_test: bool = False
    interpolation: str = "bicubic"

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that are written; only_test: data that is only evaluated, everybody in test."""
        return ("test",) if self.only_test else SPLITS


def build(source: Source, settings: Settings, output_dir: Path, work_dir: Path) -> None:
    """Writes {split}.lmdb, samples*.parquet, pictures.parquet and fingerprint.json to output_dir.

    work_dir holds what a killed or repeated build resumes from. Raises ValueError where more than
    max_bad_fraction of the rows are unusable, where a split is empty, where a patient is in two splits, where
    all labels are one class, or where nothing is said of any image.
    """
    ledger = Ledger()
    frame, problems = usable_rows(source, settings.max_bad_fraction, ledger)
    rows = ledger.received["rows"]
    wanted, stored = _wanted(frame), (settings.image_size, settings.image_encoding)
    store = WorkingStore(work_dir / "pictures.lmdb", *stored, len(wanted), settings.interpolation)
    try:
        images, unreadable = prepare(wanted, source.image_root, store, settings.threads)
        problems += unreadable
        refuse_many(problems, rows, settings.max_bad_fraction)
        whole, frame = frame, _without_bad_eyes(frame, images)
        refuse_nothing_left(frame, problems)
        ledger.book_difference("quarantined", "an image that cannot be read", whole, frame)
        if source.eye_images == "best":
            whole, frame = frame, _sharpest(frame, images, store)
            ledger.book_difference("merged", "a further image of an eye (data.eye_images: best)", whole, frame)
        groups = _groups(frame, images, store, settings)
        if settings.near_duplicates == "drop":
            whole, frame = frame, _first_of_each_group(frame, groups)
            ledger.book_difference("merged", "a near-duplicate (data.near_duplicates: drop)", whole, frame)
        reconciliation = ledger.close(frame)
        say_counts(reconciliation)
        frame, from_labels = fill_texts(patient_labels(frame), settings.report_section)
        named = frame["split"].ne("").any()
        frame["split"] = splits_of(frame, groups, source, settings)
        _write(frame, images, groups, store, output_dir, settings)
        fingerprint = _fingerprint(frame, images, store, output_dir, source, settings, from_labels)
        silent = set(frame["split"]) - set(frame.loc[frame["text"].ne(""), "split"])
        refuse_useless(fingerprint, silent, named)
        store.keep_only(set(images.values()))
    finally:
        store.close()
    quarantined = [{"row": p["row"], "reason": sentence_of(p)} for p in sorted(problems, key=lambda p: p["row"])]
    rest = {"quarantined": quarantined, "reconciliation": reconciliation}
    write_json(output_dir / "fingerprint.json", fingerprint | rest, private=True)  # which names rows


def _wanted(frame: "pd.DataFrame") -> list[Wanted]:
    return [
        Wanted(f"{row.sample_id}/{side}", int(getattr(row, f"row_{side}")), location, row.table)
        for row in frame.sort_values("sample_id").itertuples()
        for side, location in (("left", row.source_left), ("right", row.source_right))
        if location
    ]


def _without_bad_eyes(frame: "pd.DataFrame", images: dict[str, str]) -> "pd.DataFrame":
    """A sample keeps the eye that can be read; without any it goes."""
    frame = frame.copy()
    has = {side: np.array([f"{name}/{side}" in images for name in frame["sample_id"]], dtype=bool) for side in SIDES}
    unknown = frame["eyes"].eq("unknown").to_numpy()
    eyes = np.select(
        [unknown & has["left"], has["left"] & has["right"], has["left"], has["right"]],
        ["unknown", "both", "left", "right"],
        "none",
    )
    for side in SIDES:
        frame[f"source_{side}"] = frame[f"source_{side}"].where(has[side], "")
    frame["eyes"] = eyes
    return of_present_eyes(frame[eyes != "none"].reset_index(drop=True))


def _sharpest(frame: "pd.DataFrame", images: dict[str, str], store: WorkingStore) -> "pd.DataFrame":
    """Of several samples that repeat an eye (NAME, NAME#2, ...), one with the sharpest image of each eye.

    The images dictionary follows: the best image is filed under the first sample's key.
    """
    frame = frame.copy()
    kept = []
    for name, members in frame.groupby("base", sort=False):
        first = members.index[0]
        kept.append(first)
        names = frame.loc[members.index, "sample_id"].tolist()
        for side in SIDES:
            keys = [f"{sample}/{side}" for sample in names]
            there = [place for place, key in enumerate(keys) if key in images]
            if not there:
                continue
            best = max(there, key=lambda place: (store.note(images[keys[place]]).quality.sharpness, -place))
            columns = [f"source_{side}", f"row_{side}", *eye_columns(frame, side)]
            # what is said of a photograph of unknown side is said of the patient
            columns += patient_columns(frame) if members["eyes"].eq("unknown").all() else []
            frame.loc[first, columns] = members.loc[members.index[best], columns]
            chosen = images[keys[best]]
            for key in keys:
                images.pop(key, None)
            images[f"{name}/{side}"] = chosen
        if members["eyes"].ne("unknown").any():
            # what is said of the patient may stand in any of them
            for column in patient_columns(frame):
                frame.loc[first, column] = next((value for value in members[column] if value), "")
        frame.loc[first, "sample_id"] = name
        seen = [side for side in SIDES if f"{name}/{side}" in images]
        if frame.loc[first, "eyes"] != "unknown":
            frame.loc[first, "eyes"] = "both" if len(seen) == 2 else seen[0]
    return frame.loc[kept].reset_index(drop=True)


def _groups(frame: "pd.DataFrame", images: dict[str, str], store: WorkingStore, settings: Settings) -> dict[str, int]:
    """Image key -> number of the group of images of one eye; keys without a fellow are left out."""
    if settings.near_duplicates == "ignore":
        return {}
    keys = [key for key in _keys(frame) if key in images]
    leaders = groups_of(Thumbnails(store, [images[key] for key in keys]), settings.threads)
    sizes = np.bincount(leaders, minlength=len(keys))
    return {key: int(leader) for key, leader in zip(keys, leaders, strict=True) if sizes[leader] > 1}


def _keys(frame: "pd.DataFrame") -> list[str]:
    return sorted(f"{name}/{side}" for name in frame["sample_id"] for side in SIDES)


def _first_of_each_group(frame: "pd.DataFrame", groups: dict[str, int]) -> "pd.DataFrame":
    """Of the samples that share an eye, the first; one of the test split stays before one of train."""
    order = frame["split"].map({"test": 0, "val": 1}).fillna(2)
    seen: set[int] = set()
    kept = []
    for index in order.sort_values(kind="stable").index:
        keys = [f"{frame.loc[index, 'sample_id']}/{side}" for side in SIDES]
        own = {groups[key] for key in keys if key in groups}
        if not own & seen:
            kept.append(index)
        seen |= own
    log(f"{len(frame) - len(kept)} samples dropped as near-duplicates")
    return frame.loc[sorted(kept)].reset_index(drop=True)


def splits_of(frame: "pd.DataFrame", groups: dict[str, int], source: Source, settings: Settings) -> "pd.Series":
    """train, val or test of every sample. groups: image key -> its near-duplicates. Raises ValueError for leaks."""
    if settings.only_test:
        return frame["split"].map(lambda _: "test")
    if frame["split"].eq("").all():
        people = _people(frame, groups, source, settings)
        return assign_splits(frame, settings.test_fraction, settings.val_fraction, settings.seed, people)
    if frame["split"].eq("").any():
        lines = frame.loc[frame["split"].eq(""), ["row_left", "row_right"]].iloc[0]
        raise ValueError(
            f"{source.table}: some rows have a split and some have none (the first in line "
            f"{lines['row_left'] or lines['row_right']}); fill the column or leave it out."
        )
    split = cut_val_from_train(frame, settings.val_fraction, settings.seed)
    refuse_leaks(frame.assign(split=split), source.table)
    return split


def _people(frame: "pd.DataFrame", groups: dict[str, int], source: Source, settings: Settings) -> "pd.Series":
    """Who must not be parted: a patient, and all patients that share an eye with it where that is asked."""
    patients = frame["patient_id"]
    if settings.near_duplicates != "group" and source.patient_id != NO_PATIENTS:
        return patients
    leader = {patient: patient for patient in patients}

    def root(patient: str) -> str:
        while leader[patient] != patient:
            patient = leader[patient]
        return patient

    of_group: dict[int, str] = {}
    for name, patient in zip(frame["sample_id"], patients, strict=True):
        for group in (groups.get(f"{name}/{side}") for side in SIDES):
            if group is not None:
                low, high = sorted((root(of_group.setdefault(group, patient)), root(patient)))
                leader[high] = low
    return patients.map(root)


def _write(
    frame: "pd.DataFrame",
    images: dict[str, str],
    groups: dict[str, int],
    store: WorkingStore,
    output_dir: Path,
    settings: Settings,
) -> None:
    output_dir.mkdir(parents=True, exist_ok=True)
    languages = [name for name in text_columns(frame) if name not in COLUMNS]
    table = frame[[*COLUMNS, *languages, *EXTRAS]].sort_values("sample_id").reset_index(drop=True)
    for split in settings.splits:
        part = table[table["split"] == split]
        keys = [key for key in _keys(part) if key in images]
        contents = store.contents(images[key] for key in keys)
        path = output_dir / f"{split}.lmdb"
        write_store(path, zip(keys, contents, strict=True), len(keys), settings.image_size, settings.image_encoding)
        write_parquet(output_dir / f"samples_{split}.parquet", part)
        log(f"{split}: {len(part)} samples, {len(keys)} images")
    write_parquet(output_dir / "samples.parquet", table)
    write_parquet(output_dir / "pictures.parquet", _image_table(table, images, groups, store))


def _image_table(
    table: "pd.DataFrame", images: dict[str, str], groups: dict[str, int], store: WorkingStore
) -> "pd.DataFrame":
    """One row an image: sample_id, eye, its image quality, digest, and near_duplicates (-1: of no group)."""
    import pandas as pd

    eyes = dict(zip(table["sample_id"], table["eyes"], strict=True))
    keys = [key for key in _keys(table) if key in images]
    quality = np.empty((len(keys), len(ImageQuality._fields)))
    digests = []
    for row, key in enumerate(keys):
        note = store.note(images[key])
        quality[row] = note.quality
        digests.append(note.digest)
    names = [key.rsplit("/", 1) for key in keys]
    frame = pd.DataFrame(quality, columns=list(ImageQuality._fields))
    frame = frame.astype(dict.fromkeys(("width", "height", "file_bytes"), np.int64))
    frame.insert(0, "sample_id", [name for name, _ in names])
    frame.insert(1, "eye", ["unknown" if eyes[name] == "unknown" else side for name, side in names])
    return frame.assign(digest=digests, near_duplicates=[groups.get(key, -1) for key in keys])


def _fingerprint(
    frame: "pd.DataFrame",
    images: dict[str, str],
    store: WorkingStore,
    output_dir: Path,
    source: Source,
    settings: Settings,
    texts_from_labels: bool,
) -> dict[str, Any]:
    label_level = label_level_of(frame)
    columns = [f"label_{unit}" if unit != "patient" else "label" for unit in UNITS[label_level]]
    cells = [label for column in columns for label in frame[column]]
    classes = classes_of(cells)
    different = frame["text_left"].ne(frame["text"]) | frame["text_right"].ne(frame["text"])
    splits = {}
    for split in settings.splits:
        part = frame[frame["split"] == split].sort_values("sample_id")
        labels = [label for name in columns for label in part[name]]
        splits[split] = {
            "patients": int(part["patient_id"].nunique()),
            "samples": len(part),
            "images": int(part[["source_left", "source_right"]].ne("").sum().sum()),
            "eyes": {side: int(part["eyes"].isin([side, "both"]).sum()) for side in SIDES},
            "lmdb_bytes": (output_dir / f"{split}.lmdb").stat().st_size,
            "sha256": _content_hash(part, images, store),
            "per_class": class_counts(labels, classes),
            "per_class_alone": class_counts(labels, classes, alone=True),
        }
    fingerprint: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "image_size": settings.image_size,
        "image_encoding": settings.image_encoding,
        "classes": classes,
        "label_level": label_level,
        "text_level": "eye" if different.any() else "patient",
        "texts_from_labels": bool(texts_from_labels),
        "patients_known": source.patient_id != NO_PATIENTS,
        "near_duplicates": settings.near_duplicates,
        "splits": splits,
    }
    return {**fingerprint, "sha256": sha256_of({k: splits[k]["sha256"] for k in splits})}


def _content_hash(part: "pd.DataFrame", images: dict[str, str], store: WorkingStore) -> str:
    """Of what a training run can see of a split: ids, labels, texts and pixels, in the order of the ids."""
    unseen = ("source_left", "source_right", *ORIGINS, *EXTRAS)
    digest = hashlib.sha256()
    seen = part.drop(columns=list(unseen))
    for name, row in zip(part["sample_id"], seen.itertuples(index=False, name=None), strict=True):
        names = [images.get(f"{name}/{side}") for side in SIDES]
        pixels = [store.note(name).digest if name else "" for name in names]
        digest.update(canonical_json([*row, *pixels]).encode())
    return digest.hexdigest()
