"""Photographs of one eye: re-encoded, brightened, mirrored, cropped or turned a little, or taken again the same day.

Hashes of images fail on fundi, which are all alike. So: an index of descriptors finds candidates, and a comparison
place by place decides. Measured on 596 real photographs of 298 patient ids and a copy of each: different eyes agree by
.29 at most, and three pairs above .68 are one eye under two ids.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from retclip.data.in_order import in_order
from retclip.data.thumbnail_alignment import Thumbnail, agreement
from retclip.data.thumbnail_index import VIEWS, candidates_across, candidates_within, pixels_of

# Agreement of places at and above which two photographs show one eye.
SAME = 0.6
# Likeness of descriptors below which nothing is compared: no planted copy falls below .89.
LIKELY = 0.85
CACHED = 256  # thumbnails of a task that are ready; each takes about 1 MB
PAIRS_PER_TASK = 256
AHEAD = 3  # tasks of a process that wait


def groups_of(thumbnails: Sequence[bytes], threads: int) -> np.ndarray:
    """int [N]: for each image the lowest index among those of the same eye, its own where there is no other.

    thumbnails: JPEG of the green channel (image_quality.THUMBNAIL pixels). Groups are closed under "same".
    """
    leader = np.arange(len(thumbnails))
    for first, second in same_pairs(thumbnails, threads):
        low, high = sorted((_root(leader, first), _root(leader, second)))
        leader[high] = low
    return np.array([_root(leader, index) for index in range(len(leader))], dtype=np.int64)


def same_pairs(thumbnails: Sequence[bytes], threads: int) -> list[tuple[int, int]]:
    """Pairs (i < j) that show the same eye, sorted."""
    found = _checked(candidates_within(thumbnails, LIKELY, threads), thumbnails, threads)
    return sorted({(min(pair), max(pair)) for pair in found})


def same_across(ours: Sequence[bytes], theirs: Sequence[bytes], threads: int) -> list[tuple[int, int]]:
    """Pairs (i of ours, j of theirs) that show the same eye, sorted; pairs within either are not looked for."""
    count = len(ours)
    found = _checked(candidates_across(ours, theirs, LIKELY, threads), [*ours, *theirs], threads)
    return sorted({(min(pair), max(pair) - count) for pair in found})


def _checked(candidates: np.ndarray, thumbnails: Sequence[bytes], threads: int) -> Iterator[tuple[int, int]]:
    """(whole, part) of the candidates (thumbnail_index.CANDIDATE) that agree."""
    starts = range(0, len(candidates), PAIRS_PER_TASK)
    tasks = (_task(candidates[start : start + PAIRS_PER_TASK], thumbnails) for start in starts)
    if threads == 1 or len(starts) < 2:
        for task in tasks:
            yield from _check(*task)
        return
    with ProcessPoolExecutor(threads) as pool:
        for found in in_order(pool, _check, tasks, AHEAD * threads):
            yield from found


def _task(candidates: np.ndarray, thumbnails: Sequence[bytes]) -> tuple[np.ndarray, dict[int, bytes]]:
    """Some candidates with their thumbnails."""
    places = {*candidates["whole"].tolist(), *candidates["part"].tolist()}
    return candidates, {place: thumbnails[place] for place in places}


def _check(candidates: np.ndarray, thumbnails: Mapping[int, bytes]) -> list[tuple[int, int]]:
    ready: OrderedDict[int, Thumbnail] = OrderedDict()

    def thumbnail(place: int) -> Thumbnail:
        if place not in ready:
            ready[place] = Thumbnail(pixels_of(thumbnails[place]))
            if len(ready) > CACHED:
                ready.popitem(last=False)
        return ready[place]

    return [
        (whole, part)
        for whole, part, view, _ in candidates.tolist()
        if agreement(thumbnail(whole), thumbnail(part), VIEWS[view]) >= SAME
    ]


def _root(leader: np.ndarray, index: int) -> int:
    while leader[index] != index:
        index = int(leader[index])
    return index
