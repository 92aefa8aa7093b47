"""Near-duplicates among many images: seconds, memory, copies found and false alarms, on planted sets of drawn eyes.

Memory is that of the process that searches, beyond the thumbnails themselves, which a build reads from its store.

One in twenty eyes has a copy in one of seven disguises (tests/planted_copies.py): among others cropped by up to 10 % at
each border, or turned by up to 10 degrees. Drawn eyes are more alike than real ones, so false alarms are many here.
"""

import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from planted_copies import DISGUISES, found_of, planted

SEED, EVERY = 17, 20
EYES_PER_TASK = 200


def report(counts: Sequence[int], threads: int) -> None:
    """Prints a row for each number of images."""
    import sklearn.cluster
    import sklearn.decomposition  # noqa: F401 - what is loaded once is not of the images

    from retclip.data.near_duplicates import same_pairs

    head = f"{'images':>9}{'seconds':>9}{'CPU s':>8}{'peak MB':>9}{'false alarms':>14}"
    print(head + "".join(f"{how:>20}" for how in DISGUISES), flush=True)
    for count in counts:
        eyes, thumbnails = _made(count, threads)
        Path("/proc/self/clear_refs").write_text("5")  # the peak is that of now
        started, before, base = time.monotonic(), _cpu_seconds(), _held_mb("VmRSS")
        pairs = same_pairs(thumbnails, threads)
        seconds, cpu, peak = time.monotonic() - started, _cpu_seconds() - before, _held_mb("VmHWM") - base
        found, false = found_of(eyes, pairs)
        shares = "".join(f"{f'{hits} of {planted_}':>20}" for hits, planted_ in found.values())
        print(f"{len(eyes):>9,}{seconds:>9.0f}{cpu:>8.0f}{peak:>9.0f}{len(false):>14,}{shares}", flush=True)


def _made(count: int, threads: int) -> tuple[list[tuple[int, str]], list[bytes]]:
    """About `count` thumbnails, copies among them: (eye, disguise) of each, and its JPEG."""
    eyes = round(count * EVERY / (EVERY + 1))
    tasks = [range(start, min(start + EYES_PER_TASK, eyes)) for start in range(0, eyes, EYES_PER_TASK)]
    with ProcessPoolExecutor(threads) as pool:
        rows = [row for rows in pool.map(_drawn, tasks) for row in rows]
    return [(number, how) for number, how, _ in rows], [thumbnail for _, _, thumbnail in rows]


def _drawn(numbers: range) -> list[tuple[int, str, bytes]]:
    return list(planted(SEED, numbers, EVERY))


def _cpu_seconds() -> float:
    """Of this process and of those that it waited for."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def _held_mb(which: str) -> float:
    """Memory that this process holds (VmRSS), or the most that it has held (VmHWM)."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[which].split()[0]) / 1024
