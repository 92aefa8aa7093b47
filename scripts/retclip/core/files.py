"""Files that are whole or absent: everything is written beside its place and renamed into it."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; renames it onto `path` on success, removes it on any error."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    # mkstemp gives 0600; results are shared with the group as the user's umask says
    umask = os.umask(0)
    os.umask(umask)
    temporary.chmod(0o666 & ~umask)
    try:
        yield temporary
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


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


def csv_separator(header: str) -> str:
    """Spreadsheets of half of Europe write semicolons: whichever the first line has more of."""
    return ";" if header.count(";") > header.count(",") else ","


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
