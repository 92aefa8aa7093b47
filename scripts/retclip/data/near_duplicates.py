"""Photographs of one eye: re-encoded, brightened, flipped or cropped a little, or taken again the same day.

Hashes of images fail on fundi, which are all alike. So: coarse signatures find candidates, and a normalized
correlation of the vessels over zooms, flips and shifts decides. Measured on 596 real photographs of 298 patient ids:
the nearest pair of different eyes reaches .81, and three pairs above .9 are one eye under two ids.
"""

import io
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from retclip.data.image_quality import radius

# Correlation at and above which two photographs show one eye, at FINE_SIDE pixels.
SAME = 0.85
# The same where images had fewer pixels than FINE_SIDE: blurred eyes are more alike. Measured at 64 pixels on the
# drawn demo: the nearest of 11,000 pairs of different eyes reaches .854, 12 of 12 re-encoded photographs above .93.
SAME_SMALL = 0.88
# What the coarser stages have to reach; on the safe side, since only the last stage decides.
COARSE, MIDDLE = 0.65, 0.91
COARSE_SIDE, MIDDLE_SIDE, FINE_SIDE = 20, 32, 96
NEIGHBORS = 4
COARSE_ZOOMS = (1.0, 1.1, 1.2, 1.3)
MIDDLE_ZOOMS = (1.0, 1.06, 1.12, 1.18, 1.24, 1.3)
FINE_STEPS = (-0.02, 0.0, 0.02)
# Every image is compared with every other: 30,000 take minutes. More are looked through without zooms.
MOST_WITH_ZOOMS = 30_000
BLOCK = 1024
CACHED = 2048
PAIRS_PER_TASK = 256


def groups_of(thumbnails: Sequence[bytes], threads: int) -> np.ndarray:
    """int [N]: for each image the lowest index among those of the same eye, its own where there is no other.

    thumbnails: JPEG of the green channel, FINE_SIDE pixels (image_quality.THUMBNAIL). Groups are closed under "same".
    """
    leader = np.arange(len(thumbnails))
    for first, second in same_pairs(thumbnails, threads):
        low, high = sorted((_root(leader, first), _root(leader, second)))
        leader[high] = low
    return np.array([_root(leader, index) for index in range(len(leader))], dtype=np.int64)


def same_pairs(thumbnails: Sequence[bytes], threads: int) -> list[tuple[int, int]]:
    """Pairs (i < j) that show the same eye."""
    return _checked(_candidates(thumbnails), thumbnails, threads, SAME)


def same_across(ours: Sequence[bytes], theirs: Sequence[bytes], side: int, threads: int) -> list[tuple[int, int]]:
    """Pairs (i of ours, j of theirs) that show the same eye; pairs within either are not looked for.

    side: pixels of the images that the thumbnails were made of.
    """
    count, same = len(ours), SAME if side >= FINE_SIDE else SAME_SMALL
    pairs = [(mine, count + other) for mine, other in _candidates_across(ours, theirs)]
    return [(mine, other - count) for mine, other in _checked(pairs, [*ours, *theirs], threads, same)]


def _checked(
    candidates: list[tuple[int, int]], thumbnails: Sequence[bytes], threads: int, same: float
) -> list[tuple[int, int]]:
    """The candidates whose correlation reaches `same`."""
    tasks = [candidates[start : start + PAIRS_PER_TASK] for start in range(0, len(candidates), PAIRS_PER_TASK)]
    if threads == 1 or len(tasks) < 2:
        return [pair for task in tasks for pair in _check(task, thumbnails, same)]
    involved = [sorted({index for pair in task for index in pair}) for task in tasks]
    pieces = [{index: thumbnails[index] for index in indices} for indices in involved]
    with ProcessPoolExecutor(threads) as pool:
        return [pair for found in pool.map(partial(_check, same=same), tasks, pieces) for pair in found]


class Spectra(NamedTuple):
    """Of one image at one size: Fourier transforms of its zoomed and flipped views [2 Z, S, S/2+1], the
    deviation of each view under the window at every shift [2 Z, S, S], and the transform of its own middle."""

    views: np.ndarray
    deviations: np.ndarray
    middle: np.ndarray


def _check(
    pairs: list[tuple[int, int]], thumbnails: Sequence[bytes] | dict[int, bytes], same: float
) -> list[tuple[int, int]]:
    cache: OrderedDict[int, Spectra] = OrderedDict()
    both = [(zoom, flip) for flip in (False, True) for zoom in MIDDLE_ZOOMS]

    def middle(index: int) -> Spectra:
        if index not in cache:
            cache[index] = _spectra(_pixels(thumbnails[index]), MIDDLE_SIDE, both)
            if len(cache) > CACHED:
                cache.popitem(last=False)
        return cache[index]

    found = []
    for pair in pairs:
        spectra = [middle(index) for index in pair]
        scores = [_scores(spectra[0], spectra[1]), _scores(spectra[1], spectra[0])]
        way = int(scores[1].max() > scores[0].max())
        if scores[way].max() < MIDDLE:
            continue
        zoom, flip = both[int(scores[way].argmax())]
        near = [(max(zoom + step, 1.0), flip) for step in FINE_STEPS]
        whole, part = (_pixels(thumbnails[index]) for index in (pair if way == 0 else pair[::-1]))
        fine = _scores(_spectra(whole, FINE_SIDE, near), _spectra(part, FINE_SIDE, [(1.0, False)]))
        if fine.max() >= same:
            found.append(pair)
    return found


def _spectra(pixels: np.ndarray, side: int, views: list[tuple[float, bool]]) -> Spectra:
    window = (radius(side) < 0.75).astype(np.float32)
    seen = radius(side) < 0.93
    plain = _vessels(_zoomed(pixels, 1.0, side, False), 0.7) * window
    plain = plain - window * plain.sum() / window.sum()
    images = np.array([_vessels(_zoomed(pixels, zoom, side, flip), 0.7) * seen for zoom, flip in views])
    of_window = np.conj(np.fft.rfft2(window))
    transformed = np.fft.rfft2(images)
    energy = np.fft.irfft2(of_window * np.fft.rfft2(images**2), s=(side, side))
    mean = np.fft.irfft2(of_window * transformed, s=(side, side))
    deviations = np.sqrt(np.maximum(energy - mean**2 / window.sum(), 1e-3))
    middle = np.conj(np.fft.rfft2(plain / (np.linalg.norm(plain) + 1e-6)))
    return Spectra(transformed.astype(np.complex64), deviations.astype(np.float32), middle.astype(np.complex64))


def _scores(whole: Spectra, part: Spectra) -> np.ndarray:
    """[views]: the best normalized correlation of part's middle with each view of whole, shifted a little."""
    side = whole.deviations.shape[1]
    reach = side // 8
    score = np.fft.irfft2(whole.views * part.middle, s=(side, side)) / whole.deviations
    return np.roll(score, (reach, reach), (1, 2))[:, : 2 * reach + 1, : 2 * reach + 1].max((1, 2))


def _candidates(thumbnails: Sequence[bytes]) -> list[tuple[int, int]]:
    """Pairs (i < j) whose coarse signatures are alike: at most NEIGHBORS per image."""
    count = len(thumbnails)
    if count < 2:
        return []
    signatures = _signatures(thumbnails, count)
    plain = signatures[0].astype(np.float32)
    pairs = set()
    for start in range(0, count, BLOCK):
        blocks = signatures[:, start : start + BLOCK].astype(np.float32)
        alike = np.maximum.reduce([block @ plain.T for block in blocks])
        rows = np.arange(len(alike))
        alike[rows, start + rows] = -1
        for row, column in _nearest(alike, count - 1):
            pairs.add((min(start + row, column), max(start + row, column)))
    return sorted(pairs)


def _candidates_across(ours: Sequence[bytes], theirs: Sequence[bytes]) -> list[tuple[int, int]]:
    """Pairs (i of ours, j of theirs) whose coarse signatures are alike: at most NEIGHBORS per image of theirs."""
    if not len(ours) or not len(theirs):
        return []
    mine, others = (_signatures(thumbnails, len(ours) + len(theirs)) for thumbnails in (ours, theirs))
    plain = mine[0].astype(np.float32)
    pairs = []
    for start in range(0, len(theirs), BLOCK):
        blocks = others[:, start : start + BLOCK].astype(np.float32)
        # either may be the one that was cropped
        alike = np.maximum.reduce([block @ plain.T for block in blocks])
        for view in mine[1:]:
            np.maximum(alike, blocks[0] @ view.astype(np.float32).T, out=alike)
        pairs += [(column, start + row) for row, column in _nearest(alike, len(ours))]
    return sorted(pairs)


def _nearest(alike: np.ndarray, others: int) -> list[tuple[int, int]]:
    """(row, column) of the NEIGHBORS highest values of each row that reach COARSE. others: how many columns count."""
    kept = min(NEIGHBORS, others)
    nearest = np.argpartition(alike, -kept, axis=1)[:, -kept:]
    rows, places = np.nonzero(np.take_along_axis(alike, nearest, axis=1) >= COARSE)
    return list(zip(rows.tolist(), nearest[rows, places].tolist(), strict=True))


def _signatures(thumbnails: Sequence[bytes], count: int) -> np.ndarray:
    """float16 [views, N, COARSE_SIDE**2]: signatures, plain first. count: of all images that are compared."""
    zooms = COARSE_ZOOMS if count <= MOST_WITH_ZOOMS else COARSE_ZOOMS[:1]
    views = [(zoom, flip) for zoom in zooms for flip in (False, True)]
    signatures = np.empty((len(views), len(thumbnails), COARSE_SIDE**2), np.float16)
    for index, thumbnail in enumerate(thumbnails):
        pixels = _pixels(thumbnail)
        signatures[:, index] = [_signature(pixels, zoom, flip) for zoom, flip in views]
    return signatures


def _signature(pixels: np.ndarray, zoom: float, flip: bool) -> np.ndarray:
    """float [COARSE_SIDE**2] of length one: what is left of the image without its slow shading."""
    inside = radius(COARSE_SIDE) < 0.85
    view = _vessels(_zoomed(pixels, zoom, COARSE_SIDE, flip), 0.5) * inside
    view = view - inside * view[inside].mean()
    return (view / (np.linalg.norm(view) + 1e-6)).ravel()


def _zoomed(pixels: np.ndarray, zoom: float, side: int, flip: bool) -> np.ndarray:
    """The middle 1/zoom of the image at `side` pixels."""
    margin = len(pixels) * (1 - 1 / zoom) / 2
    box = (margin, margin, len(pixels) - margin, len(pixels) - margin)
    view = np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR, box=box), np.float32)
    return view[:, ::-1] if flip else view


# Without the noise of the encoder (below `fine` pixels) and the shading of the lens (above three).
def _vessels(view: np.ndarray, fine: float) -> np.ndarray:
    return _blur(view, fine) - _blur(view, 3)


_blur = partial(gaussian_filter, truncate=3.0)


def _pixels(thumbnail: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(thumbnail)))


def _root(leader: np.ndarray, index: int) -> int:
    while leader[index] != index:
        index = int(leader[index])
    return index
