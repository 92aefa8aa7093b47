"""How far two thumbnails show one eye: one is laid on the other, then both are compared place by place.

The alignment is the inverse compositional algorithm for a similarity (Baker and Matthews, 2004, Lucas-Kanade 20 years
on), coarse to fine, on images without noise and slow shading. Whole images of two eyes correlate, too, since every
fundus has a disc and arcades; their places do not.
"""

from functools import cached_property

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from retclip.data.image_quality import radius
from retclip.data.thumbnail_index import View

COARSE_SIDE, FINE_SIDE = 48, 96
COARSE_STEPS, FINE_STEPS = 12, 6
# Below this correlation of the coarse images, the fine ones are not looked at. 1,192 real photographs, half of them
# planted copies: no copy fell below .72.
COARSE_LEAST = 0.7
# The same of their places: nine in ten pairs of different eyes end here, and no copy of the same photographs that is
# found without this falls below .48.
COARSE_PLACES_LEAST = 0.45
FINE, SLOW = 0.8, 3.0  # of the filter, in pixels
EDGE = 0.75  # of the half side: what lies further out is compared by its neighbors alone
DARK = 8  # of 255: outside of the retina, or where a crop ends
PLACES = 6  # places along a side
FEWEST_PLACES = 6  # that must be lit in both
LEAST_FILLED = 0.6  # share of a place that must be lit to be judged
SCALES = (0.55, 1.8)  # a map that enlarges less or more has gone astray


class Level:
    """A thumbnail at one size, ready to be laid on others and to have others laid on it."""

    def __init__(self, pixels: np.ndarray, side: int) -> None:
        step = len(pixels) // side
        values = pixels.astype(np.float32).reshape(side, step, side, step).mean((1, 3))
        self.side = side
        self.image = gaussian_filter(values, FINE, truncate=3.0) - gaussian_filter(values, SLOW, truncate=3.0)
        # not within the filter's reach of what is dark
        lit = gaussian_filter((values > DARK).astype(np.float32), side / 40, truncate=2.0) > 0.97
        self.lit = lit.astype(np.float32)

    @cached_property
    def inside(self) -> np.ndarray:
        """bool [side, side]: the pixels that are compared where another image is laid on this one."""
        return (radius(self.side) < EDGE) & (self.lit > 0.5)

    @cached_property
    def points(self) -> np.ndarray:
        """float [2, n]: row and column of these pixels, in half sides from the middle."""
        return (np.array(np.nonzero(self.inside)) + 0.5) / self.side * 2 - 1

    @cached_property
    def values(self) -> np.ndarray:
        """float [n] of them, without their mean, of length one."""
        return _normalized(self.image[self.inside])

    @cached_property
    def descent(self) -> np.ndarray:
        """float [4, n]: the change of a similarity (its factor, its turn, both shifts) by what the values of another
        image differ; what brightness and contrast alone would change is taken out."""
        rows, columns = (gradient[self.inside] * self.side / 2 for gradient in np.gradient(self.image))
        down, right = self.points
        change = np.stack([rows * down + columns * right, columns * down - rows * right, rows, columns], axis=1)
        change = change - change.mean(0)
        change /= np.linalg.norm(self.image[self.inside] - self.image[self.inside].mean()) + 1e-6
        change -= np.outer(self.values, self.values @ change)
        return np.linalg.pinv(change.T @ change) @ change.T

    def under(self, matrix: np.ndarray, points: np.ndarray, what: np.ndarray) -> np.ndarray:
        """Samples of `what` [side, side] at an affine map [2, 3] of points [2, n]."""
        places = (matrix[:, :2] @ points + matrix[:, 2:] + 1) / 2 * self.side - 0.5
        return map_coordinates(what, places, order=1)


class Thumbnail:
    """The two levels of a thumbnail, each made when it is needed. pixels: uint8 [FINE_SIDE, FINE_SIDE]."""

    def __init__(self, pixels: np.ndarray) -> None:
        self._pixels = pixels

    @cached_property
    def coarse(self) -> Level:
        """At COARSE_SIDE pixels."""
        return Level(self._pixels, COARSE_SIDE)

    @cached_property
    def fine(self) -> Level:
        """At FINE_SIDE pixels."""
        return Level(self._pixels, FINE_SIDE)


def agreement(whole: Thumbnail, part: Thumbnail, view: View) -> float:
    """The lower quartile of the correlations of places, from -1 to 1, where `part` is laid on `whole`, or the other way
    round, whichever fits better. view: how `whole` looks like `part`, nearly; -1 where they cannot be compared."""
    matrix = _matrix_of(view)
    score, there = _aligned(whole.coarse, part.coarse, matrix, COARSE_STEPS)
    back_score, back = _aligned(part.coarse, whole.coarse, _inverse(there), COARSE_STEPS)
    if max(score, back_score) < COARSE_LEAST:
        return -1.0
    if back_score > score:
        whole, part, there = part, whole, back
    if _agreement_of_places(whole.coarse, part.coarse, there) < COARSE_PLACES_LEAST:
        return -1.0
    _, there = _aligned(whole.fine, part.fine, there, FINE_STEPS)
    return _agreement_of_places(whole.fine, part.fine, there)


def _aligned(whole: Level, part: Level, matrix: np.ndarray, steps: int) -> tuple[float, np.ndarray]:
    """The correlation and the affine map [2, 3] of the best of some steps."""
    best = (-1.0, matrix)
    if part.values.size < FEWEST_PLACES * (part.side // PLACES) ** 2 * LEAST_FILLED:
        return best
    for _ in range(steps):
        values = _normalized(whole.under(matrix, part.points, whole.image))
        score = float(values @ part.values)
        if score <= best[0] + 1e-4:
            break
        best = (score, matrix)
        change = part.descent @ (values - part.values)
        update = np.eye(3)
        update[0] += [change[0], -change[1], change[2]]
        update[1] += [change[1], change[0], change[3]]
        if not SCALES[0] < abs(np.linalg.det(update)) ** 0.5 < SCALES[1]:
            break
        matrix = (np.vstack([matrix, [0, 0, 1]]) @ np.linalg.inv(update))[:2]
        if not SCALES[0] < abs(np.linalg.det(matrix[:, :2])) ** 0.5 < SCALES[1]:
            break
    return best


def _agreement_of_places(whole: Level, part: Level, matrix: np.ndarray) -> float:
    """The lower quartile of the correlations of the places that are lit in both; -1 where they are too few."""
    seen, there = np.zeros_like(part.image), np.zeros_like(part.image)
    seen[part.inside] = whole.under(matrix, part.points, whole.lit) > 0.99
    there[part.inside] = whole.under(matrix, part.points, whole.image)
    lit = _in_places(seen)
    filled = lit.mean(axis=1) >= LEAST_FILLED
    if filled.sum() < FEWEST_PLACES:
        return -1.0
    lit, laid, own = lit[filled], _in_places(there)[filled], _in_places(part.image)[filled]
    count = lit.sum(axis=1, keepdims=True)
    laid, own = ((values - (values * lit).sum(axis=1, keepdims=True) / count) * lit for values in (laid, own))
    lengths = (np.linalg.norm(laid, axis=1) + 1e-6) * (np.linalg.norm(own, axis=1) + 1e-6)
    return float(np.quantile((laid * own).sum(axis=1) / lengths, 0.25))


def _in_places(image: np.ndarray) -> np.ndarray:
    """The pixels of each place of an image, [places, pixels]."""
    side = len(image) // PLACES
    return image.reshape(PLACES, side, PLACES, side).swapaxes(1, 2).reshape(PLACES * PLACES, side * side)


def _matrix_of(view: View) -> np.ndarray:
    """The affine map [2, 3] of a view, from its own half sides to those of the image."""
    cosine, sine = np.cos(np.deg2rad(view.turn)), np.sin(np.deg2rad(view.turn))
    turned = np.array([[cosine, -sine], [sine, cosine]]) @ np.diag([1.0, -1.0 if view.flip else 1.0]) / view.zoom
    return np.column_stack([turned, view.shift])


def _inverse(matrix: np.ndarray) -> np.ndarray:
    return np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]


def _normalized(values: np.ndarray) -> np.ndarray:
    values = values - values.mean() if values.size else values
    return values / (np.linalg.norm(values) + 1e-6)
