"""Images by key in one LMDB file per split: written once, then only read."""

import io
import json
import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import lmdb
import numpy as np

from retclip.core.io import atomic

FORMAT_VERSION = 1
META = b"__meta__"
JPEG_QUALITY = 95
# LMDB adds a page and a key to each value; the map is cut to what was used afterwards.
OVERHEAD_BYTES = 16_384
IMAGES_PER_TRANSACTION = 256


def write_store(path: str | Path, images: Iterable[tuple[str, bytes]], count: int, size: int, encoding: str) -> None:
    """Writes at most `count` images (key, encoded pixels) in the order given, whole or not at all.

    encoding: raw or jpeg. The file holds `__meta__` with the format version, size, encoding and count.
    Raises ValueError where the disk is full.
    """
    capacity = (count + 1) * (size * size * 3 + OVERHEAD_BYTES) + 1_048_576
    meta: dict[str, Any] = {"format_version": FORMAT_VERSION, "size": size, "encoding": encoding, "count": 0}
    with atomic(path, private=True) as temporary:
        temporary.unlink()  # lmdb makes its own file, and refuses an empty one
        environment = lmdb.open(str(temporary), map_size=capacity, subdir=False, lock=False, sync=False, writemap=False)
        waiting = iter(images)
        try:
            # a transaction holds its pages in memory: many small ones keep that flat
            while some := list(islice(waiting, IMAGES_PER_TRANSACTION)):
                with environment.begin(write=True) as transaction:
                    for key, content in some:
                        transaction.put(key.encode(), content)
                meta["count"] += len(some)
            with environment.begin(write=True) as transaction:
                transaction.put(META, json.dumps(meta).encode())
            environment.sync(True)
        except lmdb.Error as error:
            raise ValueError(f"{path}: cannot be written ({error}); is the disk full?") from None
        finally:
            environment.close()


class Store:
    """Reads one file; opened on first use, so that a forked worker opens its own."""

    def __init__(self, path: str | Path, expected_bytes: int) -> None:
        """expected_bytes: the file's size in fingerprint.json. A truncated LMDB would end this process with
        a bus error that no code can catch, so a different size is a ValueError before it is opened."""
        self.path = Path(path)
        found = self.path.stat().st_size if self.path.is_file() else 0
        if found != expected_bytes:
            raise ValueError(
                f"{path}: has {found} bytes, but fingerprint.json says {expected_bytes}; "
                "delete the file and run again to rebuild it."
            )
        self._environment: lmdb.Environment | None = None
        self._process = 0
        self._meta: dict[str, Any] = {}

    def get(self, key: str) -> np.ndarray:
        """uint8 [S, S, 3]. Raises KeyError for an absent eye."""
        return self.get_many([key])[0]

    def get_many(self, keys: list[str]) -> np.ndarray:
        """uint8 [len(keys), S, S, 3], decoded into one buffer. Raises ValueError, naming no key, if one is damaged."""
        self._open()
        size = self._meta["size"]
        batch = np.empty((len(keys), size, size, 3), dtype=np.uint8)
        raw = self._meta["encoding"] == "raw"
        assert self._environment is not None
        with self._environment.begin(buffers=True) as transaction:
            for position, (row, key) in enumerate(zip(batch, keys, strict=True)):
                try:
                    value = transaction.get(key.encode())
                except lmdb.Error as error:
                    raise ValueError(f"{self.path}: is damaged ({error}); delete it and run again.") from None
                if value is None:
                    raise KeyError(f"{self.path}: no image {key}")
                try:
                    row[:] = np.frombuffer(value, dtype=np.uint8).reshape(row.shape) if raw else decode(value, row)
                except ValueError:
                    # its key is a patient's, whom no log may name
                    place = f"image {position + 1} of the {len(keys)} asked for"
                    raise ValueError(f"{self.path}: {place} is damaged; delete the file and run again.") from None
        return batch

    def _open(self) -> None:
        if self._environment is None or self._process != os.getpid():
            try:
                self._environment = _opened(self.path)
                self._process = os.getpid()
                with self._environment.begin() as transaction:
                    meta = transaction.get(META)
                self._meta = json.loads(meta or "")
            except (lmdb.Error, ValueError):
                raise ValueError(f"{self.path}: is damaged; delete the file and run again to rebuild it.") from None


# lmdb opens a file once in a process, so that all its readers share it; a child process has to open it again
_OPEN: WeakValueDictionary[tuple[int, int, int], lmdb.Environment] = WeakValueDictionary()


def _opened(path: Path) -> lmdb.Environment:
    status = path.stat()
    key = os.getpid(), status.st_dev, status.st_ino
    environment = _OPEN.get(key)
    if environment is None:
        environment = lmdb.open(str(path), subdir=False, readonly=True, lock=False, readahead=False, max_readers=1)
        _OPEN[key] = environment
    return environment


def is_whole(path: Path) -> bool:
    """Whether an LMDB file can be opened and has all the pages that it says it uses: a page that is missing would end
    this process with a bus error."""
    try:
        with lmdb.open(str(path), subdir=False, readonly=True, lock=False) as environment:
            pages = environment.info()["last_pgno"] + 1
            return path.stat().st_size >= pages * environment.stat()["psize"]
    except lmdb.Error:
        return False


def encode(image: np.ndarray, encoding: str) -> bytes:
    """uint8 [S, S, 3] as it lies in a store: raw bytes, or JPEG."""
    if encoding == "raw":
        return np.ascontiguousarray(image).tobytes()
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return stream.getvalue()


def decode(value: bytes | memoryview, pixels: np.ndarray | None = None) -> np.ndarray:
    """uint8 [S, S, 3] of a JPEG that `encode` made, in `pixels` where that is given. Raises ValueError if damaged."""
    import simplejpeg

    return simplejpeg.decode_jpeg(value, "RGB", buffer=pixels)
