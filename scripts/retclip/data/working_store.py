"""From image files to prepared pixels in one working store, which a killed or repeated build resumes from.

Each image is filed under what it was made of: its place, size and time of change, and how it is prepared. A second
build therefore prepares only what is new, and one that was killed loses the last few images.
"""

import hashlib
import json
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import lmdb
import numpy as np

from retclip.core.io import sha256_of
from retclip.core.logs import log
from retclip.core.memory_bound import bound_memory
from retclip.core.modes import private_mode
from retclip.data.image_quality import ImageQuality
from retclip.data.images import Fundus, read_fundus, read_image_file
from retclip.data.in_order import in_order
from retclip.data.sources.registry import CONTAINERS
from retclip.data.store import OVERHEAD_BYTES, encode, is_whole

# Raised whenever the same file would give other pixels or quality: a repeated build then prepares all again.
PREPARATION = 2
LOG_SECONDS = 10.0
IMAGES_PER_TASK = 16
EMPTY = np.empty(0, np.uint8)
TASKS_AHEAD = 4  # per process: enough to keep all busy, few enough that prepared images do not pile up
# What a process may take to read images, beyond what it begins with; the largest that is let through takes 0.9 GB.
MOST_BYTES = 1_100 << 20
KILLED = "reading the image ended the process; open it in another program and save it again"


class Wanted(NamedTuple):
    """key: {sample_id}/{side}; line: its row in the table; location, table: see samples."""

    key: str
    line: int
    location: str
    table: str = ""


class Note(NamedTuple):
    """What is known of a prepared image: the SHA-256 of its pixels, and its quality."""

    digest: str
    quality: ImageQuality


class WorkingStore:
    """The prepared images of all splits, by what they were made of."""

    def __init__(self, path: Path, size: int, encoding: str, most: int, interpolation: str = "bicubic") -> None:
        """most: images it has to have room for. A damaged file is made again."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.size, self.encoding, self.interpolation = path, size, encoding, interpolation
        if path.is_symlink():
            raise ValueError(f"{path}: is a symbolic link, and would be written through it; delete the link.")
        if path.is_file() and not is_whole(path):
            log(f"{path.name} is damaged; preparing all images again")
            path.unlink()
        capacity = 2 * (most + 1) * (size * size * 3 + OVERHEAD_BYTES) + (1 << 24)
        try:
            self._environment = lmdb.open(
                str(path),
                subdir=False,
                lock=False,
                map_size=capacity,
                max_dbs=3,
                sync=False,
                meminit=False,
                mode=private_mode(),
            )
            names = (b"pixels", b"notes", b"thumbnails")
            self._pixels, self._notes, self._thumbnails = (self._environment.open_db(name) for name in names)
        except lmdb.Error as error:
            raise ValueError(f"{path}: cannot be opened ({error}); delete it and run again.") from None

    def put(self, entries: Iterable[tuple[str, bytes, str, Fundus]]) -> None:
        """Adds (name, encoded pixels, digest, fundus), all or none, on disk when it returns.

        Raises ValueError where they cannot be written.
        """
        try:
            with self._environment.begin(write=True) as transaction:
                for name, content, digest, fundus in entries:
                    note = json.dumps([digest, *fundus.quality]).encode()
                    transaction.put(name.encode(), content, db=self._pixels)
                    transaction.put(name.encode(), fundus.thumbnail, db=self._thumbnails)
                    transaction.put(name.encode(), note, db=self._notes)
            self._environment.sync(True)
        except lmdb.Error as error:
            raise ValueError(f"{self.path}: cannot be written ({error}); is the disk full?") from None

    def __contains__(self, name: str) -> bool:
        with self._environment.begin() as transaction:
            return transaction.get(name.encode(), db=self._notes) is not None

    def note(self, name: str) -> Note:
        """What is known of an image that is here."""
        with self._environment.begin() as transaction:
            value = transaction.get(name.encode(), db=self._notes)
        assert value is not None, name
        digest, *quality = json.loads(value)
        return Note(digest, ImageQuality(*quality))

    def thumbnail(self, name: str) -> bytes:
        """JPEG of an image that is here; see near_duplicates."""
        with self._environment.begin() as transaction:
            value = transaction.get(name.encode(), db=self._thumbnails)
        assert value is not None, name
        return value

    def contents(self, names: Iterable[str]) -> Iterator[bytes]:
        """The encoded pixels of the names, in their order."""
        with self._environment.begin() as transaction:
            for name in names:
                content = transaction.get(name.encode(), db=self._pixels)
                assert content is not None, name
                yield content

    def keep_only(self, names: set[str]) -> None:
        """Drops what no sample uses any more, so that the file does not grow with every change."""
        wanted = {name.encode() for name in names}
        with self._environment.begin(write=True) as transaction:
            stale = [key for key in transaction.cursor(db=self._notes).iternext(values=False) if key not in wanted]
            for key in stale:
                for database in (self._pixels, self._thumbnails, self._notes):
                    transaction.delete(key, db=database)

    def close(self) -> None:
        """Writes everything to disk; the store cannot be used afterwards."""
        self._environment.sync(True)
        self._environment.close()


def prepare(
    wanted: list[Wanted], root: Path, store: WorkingStore, threads: int
) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """key -> name of its image in the store, and {"row", "reason", "table"} of those that cannot be read.

    Streams: at any time a few images per process are in memory.
    """
    found: dict[str, str] = {}
    missing: dict[str, list[Wanted]] = {}
    for item in wanted:
        name = _name(root, item.location, store.size, store.encoding, store.interpolation)
        if name in store:
            found[item.key] = name
        else:
            missing.setdefault(name, []).append(item)
    if found and missing:
        log(f"{len(found)} images are ready from before, {len(missing)} to prepare")
    how = (store.size, store.encoding, store.interpolation)
    tasks = ((name, str(root), items[0].location, *how) for name, items in missing.items())
    problems = []
    started = logged = time.monotonic()
    done = 0
    for results in _in_processes(_prepare, tasks, threads):
        store.put((name, content, digest, fundus) for name, content, digest, fundus, _ in results if fundus is not None)
        for name, _, _, fundus, reason in results:
            for item in missing[name]:
                if fundus is None:
                    problems.append({"row": item.line, "reason": reason, "table": item.table})
                else:
                    found[item.key] = name
        done += len(results)
        if time.monotonic() - logged > LOG_SECONDS:
            logged = time.monotonic()
            left = (logged - started) / done * (len(missing) - done)
            log(f"{done} of {len(missing)} images, {done / (logged - started):.0f} a second, {left:.0f} s to go")
    return found, problems


def open_image(root: Path, location: str) -> bytes:
    """The bytes of the image file at a location: a path below the root, or a place in another file below it.

    Raises ValueError where it cannot be read.
    """
    if place := _in_container(location):
        scheme, container, rest = place
        return CONTAINERS[scheme](root / container, rest)
    return read_image_file(root / location)


def _in_container(location: str) -> tuple[str, str, str] | None:
    """scheme, path and place in it of SCHEME://PATH?PLACE; None where the location is a path."""
    scheme, separator, rest = location.partition("://")
    if not separator or scheme not in CONTAINERS:
        return None
    path, _, place = rest.rpartition("?")
    return scheme, path, place


def _prepare(tasks: list[tuple[str, str, str, int, str, str]]) -> list[tuple[str, bytes, str, Fundus | None, str]]:
    results: list[tuple[str, bytes, str, Fundus | None, str]] = []
    for name, root, location, size, encoding, interpolation in tasks:
        try:
            fundus = read_fundus(open_image(Path(root), location), size, interpolation)
        except ValueError as error:
            results.append((name, b"", "", None, str(error)))
            continue
        digest = hashlib.sha256(fundus.pixels.tobytes()).hexdigest()
        content = encode(fundus.pixels, encoding)
        results.append((name, content, digest, fundus._replace(pixels=EMPTY), ""))
    return results


def _in_processes(work: Any, tasks: Iterator[Any], threads: int) -> Iterator[Any]:
    """work(some tasks) with few results waiting: a plain map would fill the memory with them.

    Where an image ends the process that reads it, those at hand are read again, each in a process of its own.
    """
    pieces = iter(lambda: list(islice(tasks, IMAGES_PER_TASK)), [])
    at_hand: deque[Any] = deque()  # the pieces that were taken, but for those with a result

    def taken() -> Iterator[tuple[Any]]:
        for piece in pieces:
            at_hand.append(piece)
            yield (piece,)

    while True:
        with ProcessPoolExecutor(threads, initializer=_bound_memory) as pool:
            try:
                for result in in_order(pool, work, taken(), threads * TASKS_AHEAD):
                    yield result
                    at_hand.popleft()
                return
            except BrokenProcessPool:
                log("an image has ended the process that read it; reading those at hand one by one")
        for piece in at_hand:
            for task in piece:
                yield _alone(work, task)
        at_hand.clear()


def _alone(work: Any, task: Any) -> Any:
    """work([task]) in a process of its own; a problem of the image where that process ends."""
    with ProcessPoolExecutor(1, initializer=_bound_memory) as pool:
        try:
            return pool.submit(work, [task]).result()
        except BrokenProcessPool:
            return [(task[0], b"", "", None, KILLED)]


def _bound_memory() -> None:
    """Makes a decoder that would take the machine's memory fail instead."""
    bound_memory(MOST_BYTES)


def _name(root: Path, location: str, size: int, encoding: str, interpolation: str) -> str:
    """What a prepared image was made of, as a hash. A missing file has a name, too; reading it will say so."""
    path = root / location
    if place := _in_container(location):
        path = root / place[1]
        path = path / "data.mdb" if path.is_dir() else path
    try:
        status = os.stat(path)
        made_of = [location, status.st_size, status.st_mtime_ns]
    except OSError:
        made_of = [location, None, None]
    return sha256_of([*made_of, size, encoding, interpolation, PREPARATION])[:32]
