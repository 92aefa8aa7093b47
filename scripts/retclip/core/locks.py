"""Locks between processes, on any file system; the only module that calls flock.

Some file systems have no flock (Lustre without -o flock, NFS without its lock service, some of FUSE). There a lock is
a lease: the file LOCK.7 says which process made it, and the highest number holds the lock until that process gives it
back, has ended, or, seen from another machine, has not touched it for minutes. Whoever comes next makes LOCK.8, which
the file system lets one process do, and only then removes lower numbers: at no moment can two hold one lock. All
machines that share a lock have to be alike: flock says nothing to those without it.
"""

import errno
import fcntl
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

from retclip.core.lock_owner import Owner, owner_of_flock, owner_of_process, waited_too_long
from retclip.core.logs import DISK_ERRORS, cannot_be_written, log

NO_FLOCK = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)
BEAT_SECONDS = 30.0  # between two touches of a lease
STALE_SECONDS = 600.0  # without a touch: a machine that died, or was cut off
LONGEST_WAIT_SECONDS = 1.0  # between two tries for a lock
# For one that another user's process has, or one that cannot be seen from here; for one's own there is no limit.
LONGEST_OF_OTHERS_SECONDS = 24 * 3600.0
FREE = "free"


class Lock(NamedTuple):
    """Held until `release` is called or this process ends by any means; dropping the object changes nothing."""

    release: Callable[[], None]
    descriptor: int | None = None  # of a flock, which a command keeps that takes this process's place and inherits it


@contextmanager
def held(path: str | Path, waiting: str) -> Iterator[None]:
    """Holds a lock file alone, on all machines of its file system; logs `waiting` where another has it.

    Raises ValueError where the disk is full or read-only, there is something else than a plain file, or a process that
    is not this user's keeps it for LONGEST_OF_OTHERS_SECONDS.
    """
    lock, wait, began = try_hold(path), 0.01, time.monotonic()
    if lock is None:
        log(waiting)
    while lock is None:
        if time.monotonic() - began > LONGEST_OF_OTHERS_SECONDS and (owner := owner_of(path)).user != os.geteuid():
            raise ValueError(waited_too_long(Path(path), owner, LONGEST_OF_OTHERS_SECONDS))
        time.sleep(wait)
        lock, wait = try_hold(path), min(2 * wait, LONGEST_WAIT_SECONDS)
    try:
        yield
    finally:
        lock.release()


def try_hold(path: str | Path) -> Lock | None:
    """The lock on a file, which is made where it is not there; None where another has it. Raises as `held` does.

    Children that this process forks hold a flock, too, until they end.
    """
    path = Path(path)
    descriptor = _opened(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(path, descriptor):
            return Lock(partial(os.close, descriptor), descriptor)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            return None
        if error.errno not in NO_FLOCK:
            raise
        _log_once(error.strerror)
        return _lease(path)
    os.close(descriptor)
    return try_hold(path)  # it was deleted after we opened and before we locked it: whoever comes now makes another one


def owner_of(path: str | Path) -> Owner:
    """Who holds the lock on a file, as far as can be seen from here."""
    path = Path(path)
    _, lease = _newest(path)
    if lease is None:
        return owner_of_flock(path)
    try:
        place, _, rest = lease.read_text().partition("-")
        pid = rest.partition("-")[0]
        seen = owner_of_process(int(pid)) if place == _place() and pid.isdecimal() else None
        return seen or Owner(lease.stat().st_uid, None)
    except OSError:
        return Owner(None, None)


def this_process() -> str:
    """A name that no other process bears, of letters, digits and dashes: {place}-{pid}-{when it started}."""
    return f"{_place()}-{os.getpid()}-{_started(os.getpid())}"


def has_ended(process: str) -> bool | None:
    """Whether a process that called itself so is gone; None where that cannot be seen from here."""
    place, _, rest = process.partition("-")
    pid, _, started = rest.partition("-")
    if place != _place() or not pid.isdecimal():
        return None
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:  # another user's, but there
        pass
    return _started(int(pid)) not in ("", started)  # else its number was given to another one since


def _opened(path: Path) -> int:
    flags = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe that was laid there must not be waited for
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o666)
        except PermissionError:  # another user's, which can be locked nevertheless
            descriptor = os.open(path, os.O_RDONLY | flags)
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise ValueError(cannot_be_written(path, error.errno)) from None
        if error.errno == errno.ELOOP:
            raise ValueError(f"{path}: a lock must not be a symbolic link; delete it, then run again.") from None
        if error.errno in (errno.EISDIR, errno.ENXIO):
            raise ValueError(_no_plain_file(path)) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(_no_plain_file(path))
    return descriptor


def _no_plain_file(path: Path) -> str:
    return f"{path}: a lock must be a plain file; delete it, then run again."


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


@cache
def _log_once(reason: str) -> None:
    log(f"this file system has no file locks ({reason}); lock files of our own keep writers apart, on all its machines")


def _lease(path: Path) -> Lock | None:
    number, newest = _newest(path)
    if newest is not None and not _is_over(newest, path):
        return None
    lease = path.with_name(f"{path.name}.{number + 1}")
    try:
        descriptor = os.open(lease, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return None  # another was faster
    with open(descriptor, "w") as stream:
        stream.write(f"{this_process()}\n")
    if _newest(path)[0] != number + 1:  # others have had the lock since we looked: ours is one of the past
        lease.unlink(missing_ok=True)
        return None
    for old in _leases(path):
        if old != number + 1:
            with suppress(FileNotFoundError, PermissionError):
                path.with_name(f"{path.name}.{old}").unlink()
    given_back = threading.Event()
    threading.Thread(target=_beat, args=(path, number + 1, given_back), daemon=True).start()
    return Lock(partial(_give_back, lease, given_back))


def _leases(path: Path) -> list[int]:
    names = (name.removeprefix(f"{path.name}.") for name in os.listdir(path.parent) if name.startswith(f"{path.name}."))
    return [int(name) for name in names if name.isdecimal()]


def _newest(path: Path) -> tuple[int, Path | None]:
    number = max(_leases(path), default=0)
    return number, path.with_name(f"{path.name}.{number}") if number else None


def _is_over(lease: Path, path: Path) -> bool:
    """Whether it was given back, or whoever made it is gone."""
    try:
        touched = lease.stat().st_mtime
        owner = lease.read_text().partition("\n")[0]
    except FileNotFoundError:
        return False  # there is a newer one
    except PermissionError:
        owner = ""
    if owner == FREE:
        return True
    gone = has_ended(owner)
    # one that says nothing yet is being written
    return _time_there(path) - touched > STALE_SECONDS if gone is None else gone


def _time_there(path: Path) -> float:
    """Now, in Unix seconds, by the clock that dates the files of this file system."""
    try:
        os.utime(path)
        return path.stat().st_mtime
    except OSError:  # another user's
        return time.time()


def _beat(path: Path, number: int, given_back: threading.Event) -> None:
    """Shows other machines that this process lives, and ends it where one of them took the lock over nevertheless."""
    while not given_back.wait(BEAT_SECONDS):
        with suppress(OSError):  # a file server that is away for a moment
            if _newest(path)[0] != number and not given_back.is_set():
                log(f"{path}: this lock was taken over or deleted while this process stood still; ending it")
                os._exit(1)
            os.utime(path.with_name(f"{path.name}.{number}"))


def _give_back(lease: Path, given_back: threading.Event) -> None:
    """Its number stays, so that no later one is lower."""
    given_back.set()
    with suppress(FileNotFoundError), lease.open("r+b", buffering=0) as stream:
        stream.write(f"{FREE}\n".encode())


@cache
def _place() -> str:
    """Where a process's number means that process: this machine since it was started, this container of it."""
    import hashlib

    parts = [socket.gethostname()]
    for read in (lambda: Path("/proc/sys/kernel/random/boot_id").read_text(), lambda: os.readlink("/proc/self/ns/pid")):
        with suppress(OSError):
            parts.append(read())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]


def _started(pid: int) -> str | None:
    """Ticks of the clock from the start of the machine to that of a process; None for one that is dead and only waits
    for its parent to notice, "" where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return None if fields[0] in "ZX" else fields[19]
