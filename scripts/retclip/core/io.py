"""Files that are whole or absent: everything is written beside its place and renamed into it."""

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retclip.core.bounded import read_text
from retclip.core.locks import has_ended, this_process
from retclip.core.logs import DISK_ERRORS, cannot_be_written
from retclip.core.modes import close_folder, private_mode, shared_mode
from retclip.core.plain_text import as_cell

if TYPE_CHECKING:
    import pandas as pd


MOST_JSON_BYTES = 512 << 20
# A write that failed with less than this free has found the disk full, whatever its library calls that.
FULL_BYTES = 1 << 20
# What is being written, by which process; version 0.1 did not name it.
LEFTOVER = re.compile(
    r"\..+?\.(?:(?P<process>[0-9a-f]{8}-[0-9]+-[0-9]*)-[0-9a-f]{16}\.)?partial(?:\.[^.]+)?", re.DOTALL
)
LEFTOVER_SECONDS = 86400.0  # untouched for so long, a file of a process that cannot be seen from here is a leftover
LONGEST_NAME = 120  # bytes: with what is added, a file system takes 255


@contextmanager
def atomic(path: str | Path, private: bool = False) -> Iterator[Path]:
    """Yields a temporary path beside `path`; renames it onto `path` on success, removes it on any error. private: of
    patients, see modes.py; any other file gets the mode of the umask, whatever the library that wrote it chose.

    Where `path` is a link, the link is replaced, and what it leads to stays. What a killed process left half-written is
    removed by the next one that writes into the same folder. Raises ValueError where the disk is full or read-only.
    """
    target = Path(path)
    with _said_of_disks(target):
        temporary = _beside(target, target.suffix)
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))  # which follows no link
    try:
        # inside, while what filled the disk is still there
        with _said_of_disks(target):
            yield temporary
            temporary.chmod(private_mode() if private else shared_mode())
            _flush(temporary)
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: str | Path, private: bool = False) -> Iterator[Path]:
    """Yields an empty folder beside `path`; on success it takes the place of `path`, if there is one, which must hold
    nothing that the new folder does not hold. private: of patients, as in `atomic`, the folder itself included.

    Raises ValueError where it holds more, which then is the user's, and where the disk is full or read-only.
    """
    target = Path(path)
    with _said_of_disks(target):
        _refuse_other_kinds(target)
        temporary = _beside(target)
        temporary.mkdir()
    try:
        with _said_of_disks(target):
            yield temporary
            for place in temporary.rglob("*"):  # safetensors closes what it writes to all but the owner
                if place.is_file() and not place.is_symlink():
                    place.chmod(private_mode() if private else shared_mode())
            if private:
                close_folder(temporary)
            if target.exists():
                _refuse_to_lose(target, temporary)
                old = _beside(target)
                target.replace(old)  # at once: a folder of which some is removed already would look whole
                temporary.replace(target)
                shutil.rmtree(old)
            else:
                temporary.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_leftovers(folder: Path, of_all: bool = False) -> None:
    """Removes what processes that are gone left half-written in a folder, and follows no link.

    of_all: also what others seem to be writing, for the one process that may write there.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            owner = LEFTOVER.fullmatch(entry.name)
            if not owner or not (of_all or owner["process"]):
                continue
            with suppress(FileNotFoundError):  # another process removes the same
                status = entry.stat(follow_symlinks=False)
                gone = of_all or has_ended(owner["process"])
                if gone is None:
                    gone = time.time() - status.st_mtime > LEFTOVER_SECONDS
                if not gone or entry.is_symlink() or status.st_uid != os.geteuid():
                    continue
                shutil.rmtree(entry.path) if stat.S_ISDIR(status.st_mode) else os.unlink(entry.path)


def read_json(path: str | Path) -> Any:
    """The parsed file. Raises ValueError with one sentence if it is missing or not JSON."""
    try:
        return json.loads(read_text(path, MOST_JSON_BYTES))
    except FileNotFoundError:
        raise ValueError(f"{path}: this file does not exist.") from None
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(
            f"{path}: this is not valid JSON ({error}); delete the file and run again to remake it."
        ) from None


def write_json(path: str | Path, value: Any, private: bool = False) -> None:
    """Writes indented JSON; NaN is refused, since no JSON reader has to accept it. private: see atomic."""
    with atomic(path, private) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def is_file(path: str | Path) -> bool:
    """Whether a file is there; a name that no file system can hold is none (Path.is_file raises for it)."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def write_csv(path: str | Path, frame: "pd.DataFrame", private: bool = False) -> None:
    """Writes the frame without its index, floats in full precision, no text as a formula. private: see atomic."""
    plain = frame.rename(columns=lambda name: as_cell(str(name)))
    for place, (_, column) in enumerate(frame.items()):
        if column.dtype.kind not in "biufM":
            plain.isetitem(place, [as_cell(cell) if isinstance(cell, str) else cell for cell in column])
    with atomic(path, private) as temporary:
        plain.to_csv(temporary, index=False)


def write_parquet(path: str | Path, frame: "pd.DataFrame", classes: list[str] | None = None) -> None:
    """Writes the frame, a row a patient or an image, without its index, closed to others. classes: whose scores its
    numbered columns are; pandas reads them back as `attrs`, others as the file's metadata."""
    whole = frame.copy(deep=False)
    whole.attrs = {"classes": classes} if classes is not None else {}
    with atomic(path, private=True) as temporary:
        whole.to_parquet(temporary, index=False)


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
    """Hex digest over (relative path, size, mtime) of every file below `root`: changes when an image does.

    Reading 16,000 images would take minutes; reading their directory entries takes a tenth of a second.
    """
    digest = hashlib.sha256()
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            status = os.stat(path, follow_symlinks=False)
            digest.update(f"{os.path.relpath(path, root)}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _beside(target: Path, suffix: str = "") -> Path:
    """A path in the target's folder, which is made, that nobody can guess and lay a link at, and whose name says which
    process writes there. suffix: what libraries tell the form of a file by."""
    folder = target.parent
    folder.mkdir(parents=True, exist_ok=True)
    if folder not in _cleaned:
        remove_leftovers(folder)
        _cleaned.add(folder)
    name = target.name
    if len(os.fsencode(name)) > LONGEST_NAME:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    known = suffix if len(suffix) < 16 else ""
    return target.with_name(f".{name}.{this_process()}-{secrets.token_hex(8)}.partial{known}")


_cleaned: set[Path] = set()  # folders that this process has removed leftovers from: once is enough


def _refuse_other_kinds(target: Path) -> None:
    if target.is_symlink():
        raise ValueError(f"{target}: is a symbolic link, which would be replaced; give the folder that it leads to.")
    if target.exists() and not target.is_dir():
        raise ValueError(f"{target}: is no folder; move it, or give another name.")


def _refuse_to_lose(target: Path, new: Path) -> None:
    mine = _names(target) - _names(new)
    if mine:
        raise ValueError(
            f"{target}: holds {sorted(mine)[0]}, which would be lost; move it, or give a new or empty folder."
        )


def _names(folder: Path) -> set[str]:
    """Of all files and folders below a folder, relative to it, but for what Snakemake adds."""
    found = set()
    for place, folders, files in os.walk(folder):
        found |= {os.path.relpath(os.path.join(place, name), folder) for name in (*folders, *files)}
    return found - {".snakemake_timestamp"}


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
