"""What a person sees of a running entry: one line per interval, and one sentence per mistake."""

import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from retclip.core.plain_text import printable

Value = TypeVar("Value")

_started = time.monotonic()
INTERVAL_SECONDS = 10.0
# A disk, or a user's share of it, that is full; one that is mounted for reading alone.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def seconds_since_start() -> float:
    """Wall seconds since this process began to import our code."""
    return time.monotonic() - _started


def log(text: str) -> None:
    """Prints one progress line to stderr, led by the seconds since the process started."""
    print(f"[{seconds_since_start():7.1f} s] {printable(text)}", file=sys.stderr, flush=True)


@contextmanager
def progress(total: int, noun: str) -> Iterator[Callable[[int], object]]:
    """Yields a function that is told how many more are done: a bar on a terminal, elsewhere a line per interval."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        with tqdm(total=total, unit=f" {noun}", file=sys.stderr) as bar:
            yield bar.update
        return
    started = logged = time.monotonic()
    done = 0

    def count(more: int) -> None:
        nonlocal done, logged
        done += more
        now = time.monotonic()
        if now - logged > INTERVAL_SECONDS:
            logged = now
            log(f"{done} of {total} {noun}, {(now - started) / done * (total - done):.0f} s to go")

    yield count


def nice_to_know(what: str, read: Callable[[], Value], otherwise: Value) -> Value:
    """What `read` returns; `otherwise`, with a line that says so, where it fails in whatever way.

    For what no result depends on (the name of a GPU, say), and which must never cost one: libraries that ask drivers
    raise whatever they like.
    """
    try:
        return read()
    except Exception as error:
        log(f"{what} is not known ({type(error).__name__}: {' '.join(str(error).split())})")
        return otherwise


def run_entry(main: Callable[[list[str] | None], None], arguments: list[str] | None = None) -> None:
    """Runs an entry's main. A user's mistake (ValueError, a missing file) or a full disk ends it with one sentence.

    Any other exception is our bug and keeps its traceback. RETCLIP_TRACEBACK=1 shows every traceback.
    """
    # figures become files; a notebook around us names a way to show them that is not installed here
    os.environ["MPLBACKEND"] = "agg"
    if os.environ.get("RETCLIP_TRACEBACK"):
        main(arguments)
        return
    try:
        main(arguments)
    except (ValueError, FileNotFoundError, PermissionError) as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        print(f"error: {printable(cannot_be_written(error.filename or 'a file', error.errno))}", file=sys.stderr)
        sys.exit(1)


def cannot_be_written(path: object, number: int) -> str:
    """One sentence for a disk that is full or read-only. number: one of DISK_ERRORS."""
    reason = os.strerror(number)
    if number == errno.ENOSPC and _takes_no_more_files(Path(str(path))):
        reason = "no inodes are left, so the disk takes no more files: df -i"
    return f"{path}: cannot be written ({reason}); make room or allow writing, then run again: finished work is kept."


def _takes_no_more_files(path: Path) -> bool:
    place = next((above for above in (path, *path.absolute().parents) if above.exists()), Path())
    found = os.statvfs(place)
    return bool(found.f_files) and not found.f_favail
