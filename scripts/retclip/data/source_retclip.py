"""The formats of upstream's RET-CLIP: base64 TSV with JSON lines, and the LMDB folders made of them.

Sizes of values and their types are checked: these files come from strangers, and pickles can run code.
"""

import io
import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retclip.data.samples import Problems, Row

if TYPE_CHECKING:
    from retclip.data.sources import Source

# upstream's names of the splits
SPLITS = {"train": "train", "valid": "val", "val": "val", "test": "test"}


def read_tsv(source: "Source", folder: Path, problems: Problems) -> Iterator[Row]:
    """{split}_imgs.tsv (patient_id, left, right as base64) and {split}_texts.jsonl (text, image_ids) of a folder.

    A picture's location is the byte range of its base64, so that nothing but ids and texts is held in memory.
    """
    found = {name: folder / f"{name}_imgs.tsv" for name in SPLITS if (folder / f"{name}_imgs.tsv").is_file()}
    if not found:
        raise ValueError(f"{folder}: has no train_imgs.tsv; data.manifest must be the folder of upstream's TSV files.")
    for name, path in found.items():
        texts = _texts(folder / f"{name}_texts.jsonl", problems)
        split = SPLITS[name] if len(found) > 1 else ""
        for line, patient, spans in _image_lines(path, problems):
            pictures = {
                eye: f"tsv://{path.name}?{start}+{length}"
                for eye, (start, length) in zip(("left", "right"), spans, strict=True)
                if length
            }
            yield from _pairs(line, patient, pictures, texts.pop(patient, [""]), split, problems)


def read_lmdb(source: "Source", folder: Path, problems: Problems) -> Iterator[Row]:
    """{split}/pairs and {split}/imgs of a folder, or pairs and imgs themselves."""
    found = {name: folder / name for name in SPLITS if (folder / name / "pairs").exists()}
    if (folder / "pairs").exists():
        found = {"": folder}
    if not found:
        raise ValueError(f"{folder}: has no train/pairs; data.manifest must be the folder of upstream's LMDB files.")
    for name, place in found.items():
        texts: dict[str, list[str]] = {}
        for line, (key, value) in enumerate(_entries(place / "pairs"), start=1):
            if key == b"num_samples":
                continue
            try:
                patient, _, text = _tuple_of(value, (object, object, str))
                texts.setdefault(str(patient), []).append(text)
            except ValueError as error:
                problems.append({"row": line, "reason": f"pairs: {error}"})
        split = SPLITS[name] if len(found) > 1 else ""
        for line, (key, _) in enumerate(_entries(place / "imgs"), start=1):
            if key != b"num_images":
                patient = key.decode("utf-8", "replace")
                where = os.path.join(name, "imgs")
                pictures = {eye: f"lmdb://{where}?{eye}+{key.hex()}" for eye in ("left", "right")}
                yield from _pairs(line, patient, pictures, texts.pop(patient, [""]), split, problems)


def read_base64(path: Path, start: int, length: int) -> bytes:
    """The file that is stored as URL-safe base64 in a byte range. Raises ValueError where it is none."""
    with path.open("rb") as stream:
        stream.seek(start)
        return _decoded(stream.read(length))


def read_lmdb_picture(environment: Any, key: bytes, eye: str) -> bytes:
    """The left or right picture file of a patient in an open `imgs` store."""
    with environment.begin() as transaction:
        value = transaction.get(key)
    if value is None:
        raise ValueError("the picture is not in the LMDB")
    return _decoded(_tuple_of(value, (object, object))[eye == "right"])


class _PlainUnpickler(pickle.Unpickler):
    """Knows the constants and containers of the pickle format itself; anything to import is refused."""

    def find_class(self, module: str, name: str) -> Any:
        raise ValueError(f"the pickle wants to import {module}.{name}; only plain tuples are read")


def unpickle(value: bytes) -> Any:
    """A tuple of str, int and bytes. Raises ValueError for anything else, before any code of it could run."""
    try:
        found = _PlainUnpickler(io.BytesIO(value)).load()
    except ValueError:
        raise
    except Exception as error:  # a broken pickle raises nearly anything
        raise ValueError(f"the pickle cannot be read ({type(error).__name__})") from None
    if not isinstance(found, tuple) or not all(type(item) in (str, int, bytes) for item in found):
        raise ValueError("the pickle is not a tuple of texts, numbers and bytes")
    return found


def _tuple_of(value: bytes, kinds: tuple[type, ...]) -> tuple[Any, ...]:
    found = unpickle(value)
    if len(found) != len(kinds) or not all(isinstance(item, kind) for item, kind in zip(found, kinds, strict=True)):
        raise ValueError(f"the pickle is not a tuple of {len(kinds)} fitting values")
    return found


def _pairs(
    line: int, patient: str, pictures: dict[str, str], texts: list[str], split: str, problems: Problems
) -> Iterator[Row]:
    """A sample for each text of a patient, as upstream trains them."""
    if not pictures:
        problems.append({"row": line, "reason": "neither a left nor a right picture is given"})
        return
    for number, text in enumerate(dict.fromkeys(texts), start=1):
        sample = f"{split}-{patient}" if split else patient
        yield Row(line, patient, sample if number == 1 else f"{sample}#text{number}", pictures,
                  {"text": text, "split": split})  # fmt: skip


def _image_lines(path: Path, problems: Problems) -> Iterator[tuple[int, str, list[tuple[int, int]]]]:
    """(line, patient_id, byte ranges of left and right) without holding a picture in memory for long."""
    position = 0
    with path.open("rb") as stream:
        for line, content in enumerate(stream, start=1):
            fields = content.rstrip(b"\r\n").split(b"\t")
            start = position
            position += len(content)
            if len(fields) != 3:
                problems.append({"row": line, "reason": f"{path.name}: {len(fields)} columns instead of 3"})
                continue
            left = start + len(fields[0]) + 1
            spans = [(left, len(fields[1])), (left + len(fields[1]) + 1, len(fields[2]))]
            yield line, fields[0].decode("utf-8", "replace").strip(), spans


def _texts(path: Path, problems: Problems) -> dict[str, list[str]]:
    """patient_id -> texts of a JSON-lines file."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file; every _imgs.tsv needs its _texts.jsonl.")
    texts: dict[str, list[str]] = {}
    with path.open(encoding="utf-8", errors="replace") as stream:
        for line, content in enumerate(stream, start=1):
            if not content.strip():
                continue
            try:
                entry = json.loads(content)
                text, patients = entry["text"], entry["image_ids"]
                if not isinstance(text, str) or not isinstance(patients, list):
                    raise TypeError
            except (json.JSONDecodeError, KeyError, TypeError, RecursionError):
                problems.append({"row": line, "reason": f"{path.name}: not a JSON object with text and image_ids"})
                continue
            for patient in patients:
                texts.setdefault(str(patient), []).append(text)
    return texts


def _entries(path: Path) -> Iterator[tuple[bytes, bytes]]:
    import lmdb

    try:
        environment = lmdb.open(str(path), subdir=path.is_dir(), readonly=True, lock=False, readahead=False)
    except lmdb.Error as error:
        raise ValueError(f"{path}: cannot be opened as LMDB ({str(error).split(':')[-1].strip()}).") from None
    try:
        with environment.begin() as transaction:
            yield from transaction.cursor()
    finally:
        environment.close()


def _decoded(value: Any) -> bytes:
    import base64
    import binascii

    raw = value.encode() if isinstance(value, str) else value
    if not isinstance(raw, bytes):
        raise ValueError("the picture is neither text nor bytes")
    try:
        return base64.b64decode(raw, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("the picture is not URL-safe base64") from None
