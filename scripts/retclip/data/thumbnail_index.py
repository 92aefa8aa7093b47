"""An index over the descriptors of thumbnails: which images look alike, zoomed, turned or mirrored a little.

A descriptor is what is left of a small image without its slow shading, projected on principal components. Images are
filed in cells around the centers of k-means, and a query is compared with those of the cells nearest to it alone (an
inverted file: Jégou, Douze and Schmid, 2011, Product quantization for nearest neighbor search). Descriptors of zoomed,
turned and mirrored views are a linear map of the filtered image, made once.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from retclip.data.image_quality import radius
from retclip.data.in_order import in_order

SIDE = 32  # pixels of the filtered image
SEEN = 20  # samples across a view of it
EDGE = 0.75  # of the half side: what lies further out is the frame
FINE, SLOW = 1.0, 3.0  # of the filter, in samples of a view
ZOOMS = (1.0, 1.1, 1.2)
TURNS = (-7.0, 0.0, 7.0)  # degrees
SHIFTS = ((0.0, 0.0), (-0.05, -0.05), (-0.05, 0.05), (0.05, -0.05), (0.05, 0.05))  # down, right, in half sides
COMPONENTS = 64
FITTED = 20_000  # images that principal components and centers are taken from
CELL = 256  # images of a cell, about
PROBES = 8  # cells that a query is compared with; up to 2,048 images that is all of them
NEIGHBORS = 4  # kept per image
BLOCK = 512  # images at once
AHEAD = 3  # blocks of a process that wait


class View(NamedTuple):
    """How a view is taken of an image: the 1/zoom around a place off its middle, turned by so many degrees, then
    mirrored or not."""

    zoom: float
    turn: float
    flip: bool
    shift: tuple[float, float]


VIEWS = [View(*view) for view in product(ZOOMS, TURNS, (False, True), SHIFTS)]
PLAIN = VIEWS.index(View(1.0, 0.0, False, (0.0, 0.0)))


# Two images whose descriptors are alike: the view VIEWS[view] of `whole` and all of `part`.
CANDIDATE = np.dtype([("whole", np.int32), ("part", np.int32), ("view", np.int32), ("likeness", np.float32)])


def pixels_of(thumbnail: bytes) -> np.ndarray:
    """uint8 [S, S] of a thumbnail's JPEG."""
    return np.asarray(Image.open(io.BytesIO(thumbnail)))


def sample_points(size: int, count: int, view: View) -> np.ndarray:
    """float [2, count, count]: row and column, in pixels of an image of `size`, of the samples of a view."""
    steps = ((np.arange(count) + 0.5) / count * 2 - 1) / view.zoom
    rows, columns = np.meshgrid(steps, -steps if view.flip else steps, indexing="ij")
    cosine, sine = np.cos(np.deg2rad(view.turn)), np.sin(np.deg2rad(view.turn))
    turned = np.stack([cosine * rows - sine * columns, sine * rows + cosine * columns])
    return (turned + np.array(view.shift)[:, None, None] + 1) / 2 * size - 0.5


class Descriptors:
    """Descriptors of one set of thumbnails, in the components of another."""

    def __init__(self, fitted: Sequence[bytes]) -> None:
        from sklearn.decomposition import PCA

        places = _spread(len(fitted), FITTED)
        taken = _taken(VIEWS[PLAIN])
        plain = np.empty((len(places), taken.shape[1]))
        for part in _parts(np.arange(len(places))):
            small = _small([fitted[place] for place in places[part]])
            plain[part] = _of_length_one(_filtered(small, VIEWS[PLAIN].zoom) @ taken)
        count = min(COMPONENTS, *plain.shape)
        components = PCA(count, svd_solver="covariance_eigh").fit(plain).components_.T
        self.maps = [(_taken(view) @ components).astype(np.float32) for view in VIEWS]

    def of(self, thumbnails: Sequence[bytes]) -> np.ndarray:
        """float32 [views, N, components], each of length one."""
        small = _small(thumbnails)
        by_zoom = {zoom: _filtered(small, zoom) for zoom in ZOOMS}
        return np.stack([_of_length_one(by_zoom[view.zoom] @ of) for view, of in zip(VIEWS, self.maps, strict=True)])

    def plain(self, thumbnails: Sequence[bytes]) -> np.ndarray:
        """float32 [N, components]: of their plain view alone."""
        return _of_length_one(_filtered(_small(thumbnails), VIEWS[PLAIN].zoom) @ self.maps[PLAIN])


class ThumbnailIndex:
    """The plain descriptors of some images, filed by cells."""

    def __init__(self, descriptors: Descriptors, thumbnails: Sequence[bytes]) -> None:
        from sklearn.cluster import MiniBatchKMeans

        self.descriptors, count = descriptors, len(thumbnails)
        parts = _parts(np.arange(count))
        plain = np.empty((count, descriptors.maps[PLAIN].shape[1]), np.float32)
        for part in parts:
            plain[part] = descriptors.plain([thumbnails[place] for place in part])
        cells = max(1, count // CELL)
        kmeans = MiniBatchKMeans(cells, n_init=1, random_state=0, batch_size=max(1024, 4 * cells))
        self.centers = kmeans.fit(plain[_spread(count, FITTED)]).cluster_centers_.astype(np.float32)
        cell = np.concatenate([self._nearness(plain[part]).argmax(1) for part in parts])
        self.order = np.argsort(cell, kind="stable")
        self.starts = np.searchsorted(cell[self.order], np.arange(cells + 1))
        self.plain = plain[self.order]

    def nearest(self, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images [Q, NEIGHBORS] and likeness [Q, NEIGHBORS] of those nearest to each query among its cells; likeness -1
        where a cell has fewer. queries: float32 [Q, components]."""
        scores = self._nearness(queries)
        probes = min(PROBES, len(self.centers))
        probed = np.argpartition(scores, -probes, axis=1)[:, -probes:]
        images = np.zeros((len(queries), probes, NEIGHBORS), np.int64)
        likeness = np.full(images.shape, -1.0, np.float32)
        by_cell = np.argsort(probed, axis=None, kind="stable")
        ends = np.searchsorted(probed.ravel()[by_cell], np.arange(len(self.centers)), side="right")
        for cell, (first, last) in enumerate(zip([0, *ends], ends, strict=False)):
            start, end = self.starts[cell], self.starts[cell + 1]
            rows, places = np.divmod(by_cell[first:last], probes)
            kept = min(NEIGHBORS, end - start)
            if not len(rows) or not kept:
                continue
            alike = queries[rows] @ self.plain[start:end].T
            nearest = np.argpartition(alike, -kept, axis=1)[:, -kept:]
            images[rows, places, :kept] = self.order[start + nearest]
            likeness[rows, places, :kept] = np.take_along_axis(alike, nearest, axis=1)
        return images.reshape(len(queries), -1), likeness.reshape(len(queries), -1)

    def _nearness(self, queries: np.ndarray) -> np.ndarray:
        """float32 [Q, cells]: the higher, the nearer is the center of a cell."""
        return queries @ self.centers.T - 0.5 * (self.centers**2).sum(1)


def candidates_within(thumbnails: Sequence[bytes], least: float, threads: int) -> np.ndarray:
    """Pairs of images whose likeness reaches `least`, each once, at most NEIGHBORS per image; CANDIDATE [n]."""
    if len(thumbnails) < 2:
        return np.empty(0, CANDIDATE)
    index = ThumbnailIndex(Descriptors(thumbnails), thumbnails)
    found = np.concatenate([*_searched(index, thumbnails, least, threads, among_them=True)])
    low, high = np.minimum(found["whole"], found["part"]), np.maximum(found["whole"], found["part"])
    order = np.lexsort((-found["likeness"], high, low))  # of a pair that was found from both ends, the liker first
    low, high = low[order], high[order]
    is_first = (np.diff(low, prepend=-1) != 0) | (np.diff(high, prepend=-1) != 0)
    return np.sort(found[order[is_first]], order=("whole", "part"))


def candidates_across(ours: Sequence[bytes], theirs: Sequence[bytes], least: float, threads: int) -> np.ndarray:
    """The same of an image of ours and one of theirs, whose places count on from ours; either may be the whole."""
    if not len(ours) or not len(theirs):
        return np.empty(0, CANDIDATE)
    descriptors = Descriptors(theirs)
    of_ours = np.concatenate([*_searched(ThumbnailIndex(descriptors, theirs), ours, least, threads)])
    of_theirs = np.concatenate([*_searched(ThumbnailIndex(descriptors, ours), theirs, least, threads)])
    of_ours["part"] += len(ours)
    of_theirs["whole"] += len(ours)
    return np.sort(np.concatenate([of_ours, of_theirs]), order=("whole", "part"))


def _searched(
    index: ThumbnailIndex, wholes: Sequence[bytes], least: float, threads: int, among_them: bool = False
) -> Iterator[np.ndarray]:
    """CANDIDATE [n] of each block of wholes. among_them: the index is of the wholes, too."""
    blocks = _parts(np.arange(len(wholes)))
    tasks = ((block, [wholes[place] for place in block]) for block in blocks)
    work = partial(_of_block, least=least, among_them=among_them)
    if threads == 1 or len(blocks) == 1:
        for task in tasks:
            yield work(index, *task)
        return
    with ProcessPoolExecutor(threads, initializer=_share, initargs=(index,)) as pool:
        yield from in_order(pool, partial(_of_shared, work), tasks, AHEAD * threads)


_SHARED: list[ThumbnailIndex] = []  # of a process that searches: sent once, not with every block


def _share(index: ThumbnailIndex) -> None:
    _SHARED[:] = [index]


def _of_shared(work: Callable[..., np.ndarray], block: np.ndarray, thumbnails: list[bytes]) -> np.ndarray:
    return work(_SHARED[0], block, thumbnails)


def _of_block(
    index: ThumbnailIndex, block: np.ndarray, thumbnails: Sequence[bytes], least: float, among_them: bool
) -> np.ndarray:
    """CANDIDATE [n] of a block of wholes."""
    views = index.descriptors.of(thumbnails)
    found = [index.nearest(view) for view in views]
    places, alike = (np.stack(parts, axis=1).reshape(len(block), -1) for parts in zip(*found, strict=True))
    if among_them:
        alike[places == block[:, None]] = -1
    view = np.arange(places.shape[1]) // (places.shape[1] // len(views))
    order = np.argsort(-alike, axis=1, kind="stable")
    candidates: list[tuple[int, int, int, float]] = []
    for row, whole in enumerate(block.tolist()):
        best: dict[int, tuple[int, int, int, float]] = {}
        for place in order[row]:
            likeness = float(alike[row, place])
            if likeness < least or len(best) == NEIGHBORS:
                break
            other = int(places[row, place])
            best.setdefault(other, (whole, other, int(view[place]), likeness))
        candidates += best.values()
    return np.array(candidates, CANDIDATE)


def _small(thumbnails: Sequence[bytes]) -> np.ndarray:
    """float32 [N, SIDE, SIDE]."""
    small = np.empty((len(thumbnails), SIDE, SIDE), np.float32)
    for place, thumbnail in enumerate(thumbnails):
        image = Image.open(io.BytesIO(thumbnail))
        small[place] = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))
    return small


def _filtered(small: np.ndarray, zoom: float) -> np.ndarray:
    """float32 [N, SIDE**2]: without noise and shading, as fine as a view of this zoom shows it."""
    scale = SIDE / SEEN / zoom
    fine, slow = (gaussian_filter(small, (0, sigma * scale, sigma * scale), truncate=3.0) for sigma in (FINE, SLOW))
    return (fine - slow).reshape(len(small), -1)


def _of_length_one(rows: np.ndarray) -> np.ndarray:
    return rows / (np.linalg.norm(rows, axis=-1, keepdims=True) + 1e-6)


def _taken(view: View) -> np.ndarray:
    """float [SIDE**2, samples]: the linear map from a filtered image to the samples of a view within EDGE, without
    their mean."""
    inside = radius(SEEN) < EDGE
    points = np.clip(sample_points(SIDE, SEEN, view)[:, inside], 0, SIDE - 1)
    # linear interpolation: what a pixel adds to a sample falls to nothing at the pixel's neighbors
    rows, columns = (np.maximum(0, 1 - np.abs(np.arange(SIDE)[:, None] - along)) for along in points)
    taken = (rows[:, None] * columns).reshape(SIDE**2, -1)
    return taken - taken.mean(1, keepdims=True)


def _spread(count: int, most: int) -> np.ndarray:
    """Places of at most `most` of `count` images, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int))


def _parts(places: np.ndarray) -> list[np.ndarray]:
    return [places[start : start + BLOCK] for start in range(0, len(places), BLOCK)]
