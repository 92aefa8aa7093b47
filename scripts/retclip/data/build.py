"""Builds the stores and sample tables of a run from a source, streaming, with bad pictures set aside."""

import hashlib
import multiprocessing
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from retclip.core.files import canonical_json, sha256_of, write_json, write_parquet
from retclip.core.logs import say
from retclip.data.images import load_fundus
from retclip.data.sources import COLUMNS, SPLITS, Problems, fill_texts, read_source
from retclip.data.splits import assign_splits, cut_val_from_train
from retclip.data.store import write_store

if TYPE_CHECKING:
    import pandas as pd

FORMAT_VERSION = 1
SAY_SECONDS = 10.0
PICTURES_PER_TASK = 16
UNITS = {"eye": ("left", "right"), "patient": ("patient",), "none": ()}


def read_samples(
    kind: str,
    manifest: Path,
    test_manifest: Path | None,
    image_root: Path,
    test_fraction: float,
    val_fraction: float,
    seed: int,
) -> tuple["pd.DataFrame", Problems, bool]:
    """All samples with texts and splits; the rows that cannot be used; whether texts come from labels."""
    import pandas as pd

    frame, problems = read_source(kind, manifest, image_root)
    if test_manifest is not None:
        tests, more = read_source(kind, test_manifest, image_root)
        frame = pd.concat([frame.assign(split="train"), tests.assign(split="test")], ignore_index=True)
        problems += [{**problem, "reason": f"{test_manifest.name}: {problem['reason']}"} for problem in more]
        twice = frame["sample_id"][frame["sample_id"].duplicated()]
        if len(twice):
            raise ValueError(f"{test_manifest}: sample {twice.iloc[0]!r} is in {manifest} too; keep it in one.")
    if not len(frame):
        first = f" Line {problems[0]['row']}: {problems[0]['reason']}." if problems else ""
        raise ValueError(f"{manifest}: no row can be used.{first}")
    frame, from_labels = fill_texts(frame)
    if frame["split"].eq("").all():
        frame["split"] = assign_splits(frame, test_fraction, val_fraction, seed)
    elif frame["split"].eq("").any():
        raise ValueError(f"{manifest}: some rows have a split and some have none; fill the column or leave it out.")
    else:
        frame["split"] = cut_val_from_train(frame, val_fraction, seed)
    _refuse_leaks(frame, manifest)
    return frame, problems, from_labels


def build(
    frame: "pd.DataFrame",
    problems: Problems,
    texts_from_labels: bool,
    image_root: Path,
    output_dir: Path,
    image_size: int,
    image_encoding: str,
    threads: int,
    max_bad_fraction: float,
) -> None:
    """Writes {split}.lmdb, samples*.parquet and fingerprint.json.

    Raises ValueError where more than max_bad_fraction of the rows are unusable, where a split is empty or
    where the training split has one class only.
    """
    rows = int(frame[["row_left", "row_right"]].ne("").sum().sum()) + len(problems)
    _refuse_many(problems, rows, max_bad_fraction)
    digests: dict[str, str] = {}
    for split in SPLITS:
        part = frame[frame["split"] == split]
        pictures = _pictures(part, image_root, image_size, threads, problems, digests, split)
        write_store(output_dir / f"{split}.lmdb", pictures, 2 * len(part), image_size, image_encoding)
    _refuse_many(problems, rows, max_bad_fraction)
    frame = _without_bad_eyes(frame, digests)
    fingerprint = _fingerprint(frame, digests, output_dir, image_size, image_encoding, texts_from_labels)
    _refuse_useless(fingerprint)
    table = frame[list(COLUMNS)].sort_values("sample_id").reset_index(drop=True)
    for split in SPLITS:
        write_parquet(output_dir / f"samples_{split}.parquet", table[table["split"] == split])
    write_parquet(output_dir / "samples.parquet", table)
    problems.sort(key=lambda problem: problem["row"])
    write_json(output_dir / "fingerprint.json", {**fingerprint, "quarantined": problems})


def _pictures(
    part: "pd.DataFrame",
    root: Path,
    size: int,
    threads: int,
    problems: Problems,
    digests: dict[str, str],
    split: str,
) -> Iterator[tuple[str, np.ndarray]]:
    """Every readable picture of a split in a fixed order; the others go to `problems`."""
    tasks = [
        (f"{row.sample_id}/{side}", int(getattr(row, f"row_{side}")), str(root / source), size)
        for row in part.sort_values("sample_id").itertuples()
        for side, source in (("left", row.source_left), ("right", row.source_right))
        if source
    ]
    started = said = time.monotonic()
    with multiprocessing.Pool(threads) as pool:
        for done, (key, line, picture, reason) in enumerate(
            pool.imap(_load, tasks, chunksize=PICTURES_PER_TASK), start=1
        ):
            if picture is None:
                problems.append({"row": line, "reason": reason})
                continue
            digests[key] = hashlib.sha256(picture.tobytes()).hexdigest()
            yield key, picture
            if time.monotonic() - said > SAY_SECONDS:
                said = time.monotonic()
                left = (said - started) / done * (len(tasks) - done)
                say(f"{split}: {done} of {len(tasks)} pictures, {left:.0f} s to go")
    say(f"{split}: {len(part)} samples, {len(tasks)} pictures")


def _load(task: tuple[str, int, str, int]) -> tuple[str, int, np.ndarray | None, str]:
    key, line, path, size = task
    try:
        return key, line, load_fundus(path, size), ""
    except ValueError as error:
        return key, line, None, str(error)


def _without_bad_eyes(frame: "pd.DataFrame", digests: dict[str, str]) -> "pd.DataFrame":
    """A sample keeps the eye that can be read; without any it goes."""
    frame = frame.copy()
    has = {side: (frame["sample_id"] + f"/{side}").isin(digests.keys()).to_numpy() for side in ("left", "right")}
    unknown = frame["eyes"].eq("unknown").to_numpy()
    eyes = np.select(
        [unknown & has["left"], has["left"] & has["right"], has["left"], has["right"]],
        ["unknown", "both", "left", "right"],
        "none",
    )
    for side in ("left", "right"):
        frame[f"source_{side}"] = frame[f"source_{side}"].where(has[side], "")
        if not unknown.all():
            frame[f"label_{side}"] = frame[f"label_{side}"].where(has[side], "")
    frame["eyes"] = eyes
    return frame[eyes != "none"]


def _fingerprint(
    frame: "pd.DataFrame",
    digests: dict[str, str],
    output_dir: Path,
    image_size: int,
    image_encoding: str,
    texts_from_labels: bool,
) -> dict[str, Any]:
    by_eye = frame[["label_left", "label_right"]].ne("").to_numpy().any()
    label_level = "eye" if by_eye else "patient" if frame["label"].ne("").any() else "none"
    columns = [f"label_{unit}" if unit != "patient" else "label" for unit in UNITS[label_level]]
    single = {label for column in columns for label in frame[column] if label and "|" not in label}
    different = frame["text_left"].ne(frame["text"]) | frame["text_right"].ne(frame["text"])
    splits = {}
    for split in SPLITS:
        part = frame[frame["split"] == split].sort_values("sample_id")
        units = [label for column in columns for label in part[column] if label in single]
        splits[split] = {
            "patients": int(part["patient_id"].nunique()),
            "samples": len(part),
            "images": int(part[["source_left", "source_right"]].ne("").sum().sum()),
            "lmdb_bytes": (output_dir / f"{split}.lmdb").stat().st_size,
            "sha256": _content_hash(part, digests),
            "per_class": {label: units.count(label) for label in sorted(single)},
        }
    fingerprint: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "image_size": image_size,
        "image_encoding": image_encoding,
        "classes": sorted(single),
        "label_level": label_level,
        "text_level": "eye" if different.any() else "patient",
        "texts_from_labels": texts_from_labels,
        "splits": splits,
    }
    return {**fingerprint, "sha256": sha256_of({k: splits[k]["sha256"] for k in SPLITS})}


def _content_hash(part: "pd.DataFrame", digests: dict[str, str]) -> str:
    """Of what a training can see of a split: ids, labels, texts and pixels, in the order of the ids."""
    digest = hashlib.sha256()
    for row in part.to_dict("records"):
        keys = [f"{row['sample_id']}/{side}" for side in ("left", "right")]
        seen = [row[name] for name in COLUMNS if not name.startswith("source_")]
        digest.update(canonical_json([*seen, *(digests.get(key, "") for key in keys)]).encode())
    return digest.hexdigest()


def _refuse_leaks(frame: "pd.DataFrame", manifest: Path) -> None:
    splits = frame.groupby("patient_id")["split"].nunique()
    leaking = splits[splits > 1]
    if len(leaking):
        raise ValueError(
            f"{manifest}: {len(leaking)} patients are in more than one split (the first: {leaking.index[0]}); "
            "correct the split column, since a test on known patients proves nothing."
        )


def _refuse_many(problems: Problems, rows: int, max_bad_fraction: float) -> None:
    if len(problems) > max_bad_fraction * rows:
        shown = "; ".join(f"line {p['row']}: {p['reason']}" for p in problems[:5])
        raise ValueError(
            f"{len(problems)} of {rows} rows cannot be used, more than data.max_bad_fraction = {max_bad_fraction:g} "
            f"allows ({shown}{'; ...' if len(problems) > 5 else ''}); correct them, or raise the limit."
        )


def _refuse_useless(fingerprint: dict[str, Any]) -> None:
    for split, entry in fingerprint["splits"].items():
        if entry["samples"] == 0:
            raise ValueError(f"the {split} split is empty; raise data.test_fraction or data.val_fraction, or add data.")
    if fingerprint["splits"]["train"]["samples"] < 2:
        raise ValueError("the train split has one sample; a contrastive loss needs at least two.")
    if fingerprint["label_level"] != "none" and len(fingerprint["classes"]) < 2:
        raise ValueError(
            f"all labels are {fingerprint['classes']}: with one class there is nothing to tell apart; "
            "leave the label columns out to train on texts alone."
        )
