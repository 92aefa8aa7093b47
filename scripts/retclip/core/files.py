"""Files that are whole or absent: everything is written beside its place and renamed into it."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retclip.core.logs import DISK_ERRORS, cannot_be_written, say

if TYPE_CHECKING:
    import pandas as pd


# A write that failed with less than this free has found the disk full, whatever its library calls that.
FULL_BYTES = 1 << 20


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; renames it onto `path` on success, removes it on any error.

    What a killed process left half-written is written over by the next one that makes the same file. Raises
    ValueError where the disk is full or read-only.
    """
    target = Path(path)
    with _said_of_disks(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary, lock = _temporary(target)
    try:
        # inside, while what filled the disk is still there
        with _said_of_disks(target):
            yield temporary
            _flush(temporary)
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
        os.close(lock)


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """Yields an empty folder beside `path`; on success it takes the place of `path` and all that was there.

    Raises ValueError where the disk is full or read-only.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.partial")
    with _said_of_disks(target):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    try:
        with _said_of_disks(target):
            yield temporary
            if target.exists():
                shutil.rmtree(target)
            temporary.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def held(path: str | Path, waiting: str) -> Iterator[None]:
    """Holds a lock file alone, on all machines of its file system; says `waiting` where another has it."""
    path = Path(path)
    with _said_of_disks(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a")
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(waiting)
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def read_json(path: str | Path) -> Any:
    """The parsed file. Raises ValueError with one sentence if it is missing or not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path}: this file does not exist.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: this is not valid JSON ({error}); delete the file and run again to remake it."
        ) from None


def write_json(path: str | Path, value: Any) -> None:
    """Writes indented JSON; NaN is refused, since no JSON reader has to accept it."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def is_file(path: str | Path) -> bool:
    """Whether a file is there; a name that no file system can hold is none (Path.is_file raises for it)."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def write_csv(path: str | Path, frame: "pd.DataFrame") -> None:
    """Writes the frame without its index, floats in full precision."""
    with atomic(path) as temporary:
        frame.to_csv(temporary, index=False)


def write_parquet(path: str | Path, frame: "pd.DataFrame") -> None:
    """Writes the frame without its index."""
    with atomic(path) as temporary:
        frame.to_parquet(temporary, index=False)


def canonical_json(value: Any) -> str:
    """One text per value: sorted keys, no spaces. 1 and 1.0 differ, as they do in a config file."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def sha256_of(value: Any) -> str:
    """Hex digest of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def file_sha256(path: str | Path) -> str:
    """Hex digest of a file's bytes."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_digest(root: str | Path) -> str:
    """Hex digest over (relative path, size, mtime) of every file below `root`: changes when a picture does.

    Reading 16,000 pictures would take minutes; looking at their directory entries takes a tenth of a second.
    """
    digest = hashlib.sha256()
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            status = os.stat(path, follow_symlinks=False)
            digest.update(f"{os.path.relpath(path, root)}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _temporary(target: Path) -> tuple[Path, int]:
    """Where to write first, and the descriptor that claims it: the same path each time, so that killed processes
    leave one at most; and one of its own for a process that finds another at work on the same file."""
    path = target.with_name(f".{target.name}.partial{target.suffix}")
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    if _claims(lock, path):
        os.ftruncate(lock, 0)
        return path, lock
    os.close(lock)
    path = target.with_name(f".{target.name}.{os.getpid()}.partial{target.suffix}")
    return path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)


def _claims(descriptor: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # its owner may have renamed it between our opening and our locking: then this is a finished file
        return os.fstat(descriptor).st_ino == path.stat().st_ino
    except OSError:
        return False


def _flush(path: Path) -> None:
    """To the disk before the rename: after a power cut a file is the old one or the new one, never an empty one."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _said_of_disks(target: Path) -> Iterator[None]:
    """Makes one sentence of what a full or read-only disk does to the many libraries that write files."""
    try:
        yield
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else None
        if number not in DISK_ERRORS:
            # safetensors has an error of its own, and takes back what it wrote
            said = os.strerror(errno.ENOSPC) in str(error)
            if isinstance(error, ValueError) or not (said or _is_full(target)):
                raise
            number = errno.ENOSPC
        raise ValueError(cannot_be_written(target, number)) from None


def _is_full(target: Path) -> bool:
    place = next(path for path in (target.parent, *target.absolute().parents) if path.exists())
    system = os.statvfs(place)
    return system.f_bavail * system.f_frsize < FULL_BYTES
