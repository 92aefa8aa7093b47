"""The file system under results/: how fast a store is read there, whether locks work, and whether clocks agree."""

import os
import time
from pathlib import Path

import numpy as np

from retclip.checks.line import BROKEN, NOT_RUN, OK, SLOW, Line
from retclip.core.io import read_json
from retclip.core.locks import try_hold
from retclip.data.store import Store

READ_AT_ONCE = 64
# Between two machines: make and snakemake compare the times of files, and a stale lock is one of minutes.
MOST_SECONDS_APART = 2.0
# A sample has an image of each eye.
IMAGES_PER_SAMPLE = 2


def check_store(name: str, path: Path, samples: int, split: str, needed: float | None) -> Line:
    """How fast images of both eyes are read in random order, from the disk as far as the system lets go of what it
    keeps. needed: samples a second that the device takes; None where nobody knows."""
    _drop_cache(path)
    store = Store(path, path.stat().st_size)
    keys = [f"{split}{i}/{side}" for i in np.random.default_rng(0).permutation(samples) for side in ("left", "right")]
    started = time.monotonic()
    for start in range(0, len(keys), READ_AT_ONCE):
        store.get_many(keys[start : start + READ_AT_ONCE])
    rate = len(keys) / max(time.monotonic() - started, 1e-6)
    found = f"{rate:,.0f} images a second of {len(keys)} in random order"
    wanted = IMAGES_PER_SAMPLE * needed if needed else 0.0
    if rate < wanted:
        return Line(name, SLOW, f"{found}; training takes {wanted:,.0f}",
                    "put results/ on a local disk (--directory), or set data.image_encoding: jpeg")  # fmt: skip
    return Line(name, OK, found)


def _drop_cache(path: Path) -> None:
    if not hasattr(os, "posix_fadvise"):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def check_locks(name: str, folder: Path) -> Line:
    """Whether a lock keeps others out, and whether it is the file system's own."""
    lock = try_hold(folder / "lock")
    if lock is None:
        return Line(name, BROKEN, "a lock that nobody has is refused", "put results/ on another file system")
    other = try_hold(folder / "lock")
    for taken in filter(None, (other, lock)):
        taken.release()
    if other is not None:
        return Line(name, BROKEN, "a lock is given to two at once: two jobs would write into one training run's state",
                    "put results/ on another file system, or mount it with flock")  # fmt: skip
    if lock.descriptor is None:
        return Line(name, SLOW, "no flock here: lock files of our own keep writers apart",
                    "after a kill, another machine waits for up to ten minutes; mount it with flock")  # fmt: skip
    return Line(name, OK, "flock keeps others out")


def check_clock(name: str, submitted: Path | None, folder: Path) -> Line:
    """This machine's clock against the one that submitted the job, by way of the clock that dates files here.

    submitted: {host, time}, written by that machine just before, on the same file system.
    """
    if submitted is None:
        return Line(name, NOT_RUN, "no time of a submit host was given")
    there = read_json(submitted)
    before = there["time"] - submitted.stat().st_mtime
    fresh = folder / "now"
    fresh.touch()
    now = time.time()
    apart = (now - fresh.stat().st_mtime) - before
    if now < there["time"] - MOST_SECONDS_APART:  # whatever dates the files
        apart = min(apart, now - there["time"])
    found = f"{abs(apart):.1f} s {'behind' if apart < 0 else 'ahead of'} {there['host']}"
    if abs(apart) > MOST_SECONDS_APART:
        return Line(
            name, BROKEN, found, "have the clocks set by NTP: jobs would be run again, or their files distrusted"
        )
    return Line(name, OK, f"within {MOST_SECONDS_APART:g} s of {there['host']}")
