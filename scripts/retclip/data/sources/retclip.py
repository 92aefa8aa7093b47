"""The formats of upstream's RET-CLIP: base64 TSV with JSON lines, and the LMDB folders made of them.

Sizes of values and their types are checked: these files come from strangers, and pickles can run code.
"""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from pathlib import Path
from typing import Any

from retclip.core.bounded import lines_of
from retclip.core.csv_tables import cell_of, is_missing, refuse_encoding
from retclip.data.plain_pickles import unpickle
from retclip.data.reconciliation import Ledger, row_name
from retclip.data.samples import Problems, Row
from retclip.data.source import Source, SourceForm
from retclip.data.store import is_whole

# Bytes of a line with two image files as base64, and letters of one with a report.
LONGEST_LINE, LONGEST_TEXT = 150 << 20, 16_000_000
WALK_SECONDS = 3600  # through a store on a slow disk
# upstream's names of the splits
SPLITS = {"train": "train", "valid": "val", "val": "val", "test": "test"}


class _Texts:
    """The texts of one split by patient, and which of them found their images.

    Upstream's writers give one id as 0001 in one file and as 1 in the other: where no id is written alike, and only
    one could be meant, the two are one.
    """

    def __init__(self, name: str, ledger: Ledger) -> None:
        self.name, self.ledger = name, ledger
        self.of_patient: dict[str, list[str]] = {}
        self.given: set[str] = set()

    def add(self, patients: list[Any], text: str) -> None:
        """A text of these patients; of several, it counts once for each."""
        text = cell_of(text)
        if is_missing(text):
            return
        self.ledger.receive(texts=max(len(patients), 1))
        if not patients:
            self.ledger.book("quarantined", f"{self.name}: a text that names no patient", {"texts": 1})
        for patient in patients:
            texts = self.of_patient.setdefault(cell_of(str(patient)), [])
            if text in texts:
                self.ledger.book("merged", f"{self.name}: the same text of a patient again", {"texts": 1})
            else:
                texts.append(text)

    def of(self, own: dict[str, str], patient: str) -> list[str]:
        """The texts of a patient of the images; each of its lines has them all. own: see match."""
        texts = self.of_patient[own[patient]] if patient in own else []
        if patient in self.given:
            self.ledger.receive(texts=len(texts))
        self.given.add(patient)
        return texts

    def unreadable(self) -> None:
        """An entry that holds no text as it should."""
        self.ledger.receive(texts=1)
        self.ledger.book("quarantined", f"{self.name}: an entry that cannot be read", {"texts": 1})

    def match(self, patients: list[str]) -> dict[str, str]:
        """Patient of the images -> its id here. Raises ValueError where an id could be that of two patients."""
        numbers: dict[str, list[str]] = {}
        for own in self.of_patient:
            numbers.setdefault(_number(own), []).append(own)
        wanted: dict[str, list[str]] = {}
        for patient in dict.fromkeys(patients):
            wanted.setdefault(_number(patient), []).append(patient)
        found = {patient: patient for patient in patients if patient in self.of_patient}
        other = 0
        for number, alike in wanted.items():
            missing = [patient for patient in alike if patient not in found]
            free = [own for own in numbers.get(number, []) if own not in found]
            if missing and free and (len(alike) > 1 or len(numbers[number]) > 1):
                raise ValueError(
                    f"{self.name}: several ids differ only in leading zeros, in it and among the images, so no one "
                    "can tell whose text is whose; write each id one way."
                )
            if missing and free:
                found[missing[0]] = free[0]
                other += 1
        if other:
            self.ledger.note(f"{self.name}: {other} ids differ from those of the images in leading zeros alone.")
        return found

    def close(self, used: set[str]) -> None:
        """Books the texts of patients without images. used: ids here that found theirs."""
        left = sum(len(texts) for own, texts in self.of_patient.items() if own not in used)
        if left:
            self.ledger.book("quarantined", f"{self.name}: a text of nobody who has images", {"texts": left})
            self.ledger.note(f"{self.name}: {left} texts are of nobody who has images.")


def read_tsv(source: Source, folder: Path, problems: Problems, ledger: Ledger) -> Iterator[Row]:
    """{split}_imgs.tsv (patient_id, left, right as base64) and {split}_texts.jsonl (text, image_ids) of a folder.

    An image's location is the byte range of its base64, so that nothing but ids and texts is held in memory.
    Raises ValueError where the folder has no such files.
    """
    found = {name: folder / f"{name}_imgs.tsv" for name in SPLITS if (folder / f"{name}_imgs.tsv").is_file()}
    if not found:
        raise ValueError(f"{folder}: has no train_imgs.tsv; data.manifest must be the folder of upstream's TSV files.")
    for name, path in found.items():
        texts = _texts(folder / f"{name}_texts.jsonl", problems, ledger)
        lines = list(_image_lines(path, problems, ledger))
        split = SPLITS[name] if len(found) > 1 else ""
        own = texts.match([patient for _, patient, _ in lines])
        texts.close(set(own.values()))
        for line, patient, spans in lines:
            images = {
                eye: f"tsv://{path.name}?{start}+{length}"
                for eye, (start, length) in zip(("left", "right"), spans, strict=True)
                if length
            }
            yield from _pairs(path.name, line, patient, images, texts.of(own, patient), split)


def read_lmdb(source: Source, folder: Path, problems: Problems, ledger: Ledger) -> Iterator[Row]:
    """{split}/pairs and {split}/imgs of a folder, or pairs and imgs themselves.

    Raises ValueError where the folder has neither.
    """
    found = {name: folder / name for name in SPLITS if (folder / name / "pairs").exists()}
    if (folder / "pairs").exists():
        found = {"": folder}
    if not found:
        raise ValueError(f"{folder}: has no train/pairs; data.manifest must be the folder of upstream's LMDB files.")
    for name, place in found.items():
        table = os.path.join(name, "imgs")
        texts = _Texts(os.path.join(name, "pairs"), ledger)
        for line, (key, value) in enumerate(_entries(place / "pairs"), start=1):
            if key == b"num_samples":
                continue
            try:
                patient, _, text = _tuple_of(value, (object, object, str))
                texts.add([patient], text)
            except ValueError as error:
                problems.append({"row": line, "reason": f"pairs: {error}", "table": name})
                texts.unreadable()
        split = SPLITS[name] if len(found) > 1 else ""
        keys = [(line, key) for line, (key, _) in enumerate(_entries(place / "imgs"), start=1) if key != b"num_images"]
        ledger.receive(rows=len(keys), images=2 * len(keys))
        patients = {key: cell_of(key.decode("utf-8", "replace")) for _, key in keys}
        own = texts.match(list(patients.values()))
        texts.close(set(own.values()))
        for line, key in keys:
            images = {eye: f"lmdb://{table}?{eye}+{key.hex()}" for eye in ("left", "right")}
            yield from _pairs(table, line, patients[key], images, texts.of(own, patients[key]), split)


def _open_tsv(path: Path, place: str) -> bytes:
    """The image file that is stored as URL-safe base64 in a byte range, START+LENGTH. Raises ValueError where it is
    none."""
    start, length = map(int, place.split("+"))
    with path.open("rb") as stream:
        stream.seek(start)
        return _decoded(stream.read(length))


def _open_lmdb(path: Path, place: str) -> bytes:
    """The image file of an eye in an `imgs` store, EYE+KEY with the key in hex. Raises ValueError where it is none."""
    eye, key = place.split("+")
    with _environment(str(path)).begin() as transaction:
        value = transaction.get(bytes.fromhex(key))
    if value is None:
        raise ValueError("the image is not in the LMDB")
    return _decoded(_tuple_of(value, (object, object))[eye == "right"])


@lru_cache(maxsize=4)
def _environment(path: str) -> Any:
    import lmdb

    return lmdb.open(path, subdir=Path(path).is_dir(), readonly=True, lock=False, readahead=False)


def _tuple_of(value: bytes, kinds: tuple[type, ...]) -> tuple[Any, ...]:
    found = unpickle(value)
    if len(found) != len(kinds) or not all(isinstance(item, kind) for item, kind in zip(found, kinds, strict=True)):
        raise ValueError(f"the pickle is not a tuple of {len(kinds)} fitting values")
    return found


def _pairs(table: str, line: int, patient: str, images: dict[str, str], texts: list[str], split: str) -> Iterator[Row]:
    """A sample for each text of a patient, as upstream trains them."""
    problem = "" if images else "neither a left nor a right image is given"
    for number, text in enumerate(texts or [""], start=1):
        sample = f"{split}-{patient}" if split else patient
        yield Row(line, patient, sample if number == 1 else f"{sample}#text{number}", images,
                  {"text": text, "split": split}, problem, table)  # fmt: skip


def _image_lines(path: Path, problems: Problems, ledger: Ledger) -> Iterator[tuple[int, str, list[tuple[int, int]]]]:
    """(line, patient_id, byte ranges of left and right) without holding an image in memory for long."""
    position = 0
    with path.open("rb") as stream:
        for line, content in enumerate(iter(lambda: stream.readline(LONGEST_LINE + 1), b""), start=1):
            if len(content) > LONGEST_LINE:
                raise ValueError(f"{path}: line {line} has more than {LONGEST_LINE >> 20} MB, so it holds no images.")
            fields = content.rstrip(b"\r\n").split(b"\t")
            start = position
            position += len(content)
            if not content.strip():
                continue
            ledger.receive(rows=1)
            if len(fields) != 3:
                reason = f"{len(fields)} columns instead of 3"
                problems.append({"row": line, "reason": reason, "table": path.name})
                ledger.book("quarantined", reason, {"rows": {row_name(path.name, line)}})
                continue
            ledger.receive(images=sum(map(bool, fields[1:])))
            left = start + len(fields[0]) + 1
            spans = [(left, len(fields[1])), (left + len(fields[1]) + 1, len(fields[2]))]
            yield line, cell_of(fields[0].decode("utf-8", "replace")), spans


def _texts(path: Path, problems: Problems, ledger: Ledger) -> _Texts:
    """The texts of a JSON-lines file."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file; every _imgs.tsv needs its _texts.jsonl.")
    texts = _Texts(path.name, ledger)
    try:
        with path.open(encoding="utf-8-sig") as stream:
            for line, content in enumerate(lines_of(stream, path, LONGEST_TEXT), start=1):
                if content.strip():
                    _add_entry(texts, path, line, content, problems)
    except UnicodeDecodeError:
        refuse_encoding(path)
    return texts


def _add_entry(texts: _Texts, path: Path, line: int, content: str, problems: Problems) -> None:
    try:
        entry = json.loads(content)
        text, patients = entry["text"], entry["image_ids"]
        if not isinstance(text, str) or not isinstance(patients, list):
            raise TypeError
    except (json.JSONDecodeError, KeyError, TypeError, RecursionError):
        reason = "not a JSON object with text and image_ids"
        problems.append({"row": line, "reason": reason, "table": path.name})
        texts.unreadable()
        return
    texts.add(patients, text)


def _number(patient: str) -> str:
    """An id without leading zeros, where it is a number."""
    return patient.lstrip("0") or "0" if patient.isdecimal() else patient


def _entries(path: Path) -> Iterator[tuple[bytes, bytes]]:
    import lmdb

    try:
        with _refused_if_damaged(path).begin() as transaction:
            yield from transaction.cursor()
    except lmdb.Error as error:
        raise ValueError(f"{path}: cannot be read as LMDB ({str(error).split(':')[-1].strip()}).") from None


def _refused_if_damaged(path: Path) -> Any:
    """The environment. Raises ValueError where pages are missing or point nowhere, which would end this process:
    another one walks through them first."""

    file = path / "data.mdb" if path.is_dir() else path
    if not file.is_file() or not is_whole(file):
        raise ValueError(f"{path}: is no LMDB, or damaged: pages are missing; copy it again.")
    with ProcessPoolExecutor(1) as pool:
        try:
            reason = pool.submit(_walk, str(path)).result(timeout=WALK_SECONDS)
        except BrokenProcessPool:
            reason = "a page points outside of the file"
    if reason:
        raise ValueError(f"{path}: this LMDB is damaged ({reason}); copy it again.")
    return _environment(str(path))


def _walk(path: str) -> str:
    """Reads every key and the first and last byte of every value; returns what is wrong, "" where nothing is."""
    import lmdb

    try:
        with _environment(path).begin(buffers=True) as transaction:
            for key, value in transaction.cursor():
                _ = bytes(key), bytes(value[:1]), bytes(value[-1:])
    except lmdb.Error as error:
        return str(error).split(":")[-1].strip()
    return ""


def _decoded(value: Any) -> bytes:
    import base64
    import binascii

    raw = value.encode() if isinstance(value, str) else value
    if not isinstance(raw, bytes):
        raise ValueError("the image is neither text nor bytes")
    try:
        return base64.b64decode(raw, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("the image is not URL-safe base64") from None


SOURCES = {
    "retclip_tsv": SourceForm(
        read=read_tsv,
        holds_images=True,
        containers={"tsv": _open_tsv},
        about_table="the folder of `{split}_imgs.tsv` and `{split}_texts.jsonl`",
        about_images="in the TSV",
    ),
    "retclip_lmdb": SourceForm(
        read=read_lmdb,
        holds_images=True,
        containers={"lmdb": _open_lmdb},
        about_table="the folder of `{split}/pairs` and `{split}/imgs`",
        about_images="in the LMDB; pickles are read without running code",
    ),
}
