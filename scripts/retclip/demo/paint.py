"""What the demo's images are painted with: soft shapes, spots, strokes and clouds on one float canvas.

The eye's own units: the center of the retina is (0, 0), its edge has radius 1, y points down, and the eye is a
right eye, so that nasal is positive x. A left eye is a right eye mirrored at the very end.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

Floats = np.ndarray  # of float32
Color = tuple[float, float, float]  # red, green, blue in [0, 1]


@dataclass(frozen=True)
class Anatomy:
    """Where things are in one eye and how large, in retina radii; signs of a disease may change it."""

    disc_x: float
    disc_y: float
    disc_width: float  # half the horizontal axis
    disc_height: float  # half the vertical axis
    disc_edge: float  # width of the margin: a sharp one is .02
    disc_color: Color
    cup: float  # cup-to-disc ratio
    cup_shift: float  # of the cup's center, as a share of the disc's height, downwards
    macula_x: float
    macula_y: float
    vessel_width: float  # of a first-order vein
    tortuosity: float


@dataclass(frozen=True)
class Scene:
    """One image in the making. `image` is painted in place."""

    image: Floats  # [3, S, S], red, green, blue in [0, 1]; whole planes are several times faster to paint
    x: Floats  # [S, S], the eye's coordinates of every pixel
    y: Floats
    center: tuple[float, float]  # of the retina, in pixels
    radius: float  # of the retina, in pixels
    anatomy: Anatomy
    severity: float
    quadrant: tuple[int, int]  # (horizontal, vertical): 1 is nasal, below; -1 is temporal, above
    generator: np.random.Generator


def blend(scene: Scene, color: Color, alpha: Floats | float) -> None:
    """Paints `color` with opacity `alpha`, [S, S] or one number."""
    for plane, value in zip(scene.image, color, strict=True):
        plane += alpha * (value - plane)


def shade(scene: Scene, change: Floats, color: Color = (1.0, 1.0, 1.0)) -> None:
    """Multiplies by 1 + `change` [S, S], which each channel weights by its share of `color`."""
    for plane, weight in zip(scene.image, color, strict=True):
        plane *= 1 + weight * change


def distance(scene: Scene, x: float, y: float, width: float, height: float) -> Floats:
    """[S, S]: 0 at the center of an ellipse, 1 on its edge."""
    # a numpy float64 among the arguments would make the whole plane float64, and twice as slow
    across, down = (scene.x - float(x)) / float(width), (scene.y - float(y)) / float(height)
    return np.sqrt(across * across + down * down)


def inside(distance: Floats, edge: float) -> Floats:
    """[S, S] opacity of what is within distance 1, fading over `edge` (same unit as the distance)."""
    return np.clip((1 - distance) / edge + 0.5, 0, 1)


def clouds(generator: np.random.Generator, size: int, cells: int) -> Floats:
    """[size, size] smooth noise, about standard normal: `cells` random values across, interpolated."""
    coarse = generator.standard_normal((cells, cells), dtype=np.float32)
    return np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))


SUPERSAMPLING = 2  # masks are drawn twice as large, since PIL's lines and polygons have hard edges


class Mask:
    """A layer of hard-edged shapes, drawn large and reduced to an opacity."""

    def __init__(self, scene: Scene) -> None:
        # pixel i spans [i, i + 1) on the large layer's axis, so its center lies half a pixel further
        self._center = SUPERSAMPLING * (np.asarray(scene.center) + 0.5)
        self._radius = SUPERSAMPLING * scene.radius
        self._layer = Image.new("L", (SUPERSAMPLING * len(scene.x),) * 2)
        self._draw = ImageDraw.Draw(self._layer)

    def line(self, points: np.ndarray, width: float, opacity: float = 1.0) -> None:
        """A polyline through `points` [n, 2] in the eye's coordinates, `width` in retina radii."""
        pixels = self._center + self._radius * points
        self._draw.line(pixels.ravel().tolist(), fill=round(255 * opacity), width=max(1, round(width * self._radius)))

    def spot(self, x: float, y: float, radius: float, generator: np.random.Generator) -> None:
        """A blot with an irregular outline."""
        turn = np.linspace(0, 2 * np.pi, 9, endpoint=False)
        reach = radius * generator.uniform(0.7, 1.25, 9)
        outline = np.stack([x + reach * np.cos(turn), y + reach * np.sin(turn)], 1)
        self._draw.polygon((self._center + self._radius * outline).ravel().tolist(), fill=255)

    def opacity(self) -> Floats:
        """[S, S] in [0, 1]."""
        return np.asarray(self._layer.reduce(SUPERSAMPLING), np.float32) / 255
