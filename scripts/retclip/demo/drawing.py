"""Draws one color fundus photograph: an eye, what ails it, and the camera that saw it.

The appearance of patient and camera is drawn before the disease is asked for, so that brightness, frame and color
cannot give the class away.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from retclip.demo.paint import Anatomy, Color, Mask, Scene, blend, clouds, distance, inside, shade
from retclip.demo.signs import ABOVE, ANATOMY, BENEATH, CLASSES

QUADRANTS = {  # name: (nasal is 1, below is 1)
    "superotemporal": (-1, -1),
    "superonasal": (1, -1),
    "inferotemporal": (-1, 1),
    "inferonasal": (1, 1),
}


@dataclass(frozen=True)
class Appearance:
    """What the two eyes of a patient have in common: pigment, build, and the camera."""

    pigment: float  # 0 fair, 1 dark
    tessellation: float  # how far the choroid shows through a healthy retina
    disc_radius: float
    cup: float
    tortuosity: float
    field: float  # share of the frame's half-width that the retina fills
    cut: float  # the camera cuts the circle above and below at this height; 1 and more does not
    tint: Color


def draw_appearance(generator: np.random.Generator) -> Appearance:
    """A patient before a camera, at random."""
    return Appearance(
        pigment=generator.beta(2, 2),
        tessellation=0.35 * generator.random() ** 2,
        disc_radius=generator.uniform(0.145, 0.18),
        cup=generator.uniform(0.2, 0.5),
        tortuosity=generator.uniform(0.3, 1.0),
        field=generator.uniform(0.86, 0.97),
        cut=1.1 if generator.random() < 0.6 else generator.uniform(0.80, 0.95),
        tint=(generator.uniform(0.93, 1.07), generator.uniform(0.93, 1.07), generator.uniform(0.85, 1.15)),
    )


def draw_fundus(
    label: str,
    severity: float,
    side: str,
    generator: np.random.Generator,
    size: int,
    *,
    quadrant: str = "inferotemporal",
    appearance: Appearance | None = None,
) -> np.ndarray:
    """A photograph, uint8 [size, size, 3], black around the retina.

    `label` is one of CLASSES, `severity` is in [0, 1], `side` is left or right, `quadrant` is a key of QUADRANTS: where
    the disease shows most. `appearance` is the patient's; a new one is drawn without it.
    """
    assert label in CLASSES, label
    assert side in ("left", "right"), side
    appearance = appearance or draw_appearance(generator)
    eye, disease, camera = generator.spawn(3)
    anatomy = _anatomy(appearance, eye)
    if label in ANATOMY:
        anatomy = ANATOMY[label](anatomy, severity, QUADRANTS[quadrant])

    radius = 0.5 * size * appearance.field * eye.uniform(0.97, 1.0)
    slack = (0.5 * size - radius) * 0.6
    center = (0.5 * (size - 1) + eye.uniform(-slack, slack), 0.5 * (size - 1) + eye.uniform(-slack, slack))
    pixels = np.arange(size, dtype=np.float32)
    x, y = np.meshgrid((pixels - center[0]) / radius, (pixels - center[1]) / radius)
    image = np.empty((3, size, size), np.float32)
    scene = Scene(image, x, y, center, radius, anatomy, severity, QUADRANTS[quadrant], disease)

    _paint_retina(scene, appearance, eye)
    if label in BENEATH:
        BENEATH[label](scene)
    _paint_disc(scene, eye)
    _paint_vessels(scene, eye)
    if label in ABOVE:
        ABOVE[label](scene)
    photograph = _photograph(scene, appearance, camera)
    return photograph[:, ::-1].copy() if side == "left" else photograph


def _anatomy(appearance: Appearance, generator: np.random.Generator) -> Anatomy:
    radius = appearance.disc_radius * generator.uniform(0.95, 1.05)
    return Anatomy(
        disc_x=generator.uniform(0.40, 0.52),
        disc_y=generator.uniform(-0.06, 0.04),
        disc_width=radius * generator.uniform(0.85, 1.0),
        disc_height=radius,
        disc_edge=generator.uniform(0.02, 0.035),
        disc_color=(
            generator.uniform(0.90, 0.97),
            generator.uniform(0.58, 0.68),
            generator.uniform(0.32, 0.42),
        ),
        cup=appearance.cup * generator.uniform(0.93, 1.07),
        cup_shift=0.0,
        macula_x=generator.uniform(-0.20, -0.08),
        macula_y=generator.uniform(0.02, 0.12),
        vessel_width=generator.uniform(0.027, 0.034),
        tortuosity=appearance.tortuosity,
    )


def _paint_retina(scene: Scene, appearance: Appearance, generator: np.random.Generator) -> None:
    """The pigment, the choroid through it, and a macula darker than the rest with its reflex."""
    size, dark = len(scene.x), appearance.pigment
    for plane, fair, loss in zip(scene.image, (0.80, 0.38, 0.18), (0.22, 0.14, 0.08), strict=True):
        plane[:] = fair - loss * dark
    shade(scene, 0.06 * clouds(generator, size, 6), (0.6, 1.0, 1.2))
    bands = np.clip(1.2 - 1.6 * np.abs(clouds(generator, size, 22)), 0, 1)
    shade(scene, appearance.tessellation * (bands - 0.6), (0.35, 0.6, 0.6))
    away = distance(scene, scene.anatomy.macula_x, scene.anatomy.macula_y, 1.0, 1.0)
    shade(scene, -0.36 * np.exp(-((away / 0.17) ** 2)), (0.75, 1.0, 1.0))
    blend(scene, (0.95, 0.75, 0.5), generator.uniform(0.1, 0.4) * np.exp(-((away / 0.016) ** 2)))


def _paint_disc(scene: Scene, generator: np.random.Generator) -> None:
    """The optic disc with its cup; a thin crescent of its own pigment beside many a healthy one."""
    disc = scene.anatomy
    edge = distance(scene, disc.disc_x, disc.disc_y, disc.disc_width, disc.disc_height)
    if generator.random() < 0.4:
        beside = distance(scene, disc.disc_x - 0.02, disc.disc_y, 1.1 * disc.disc_width, 1.1 * disc.disc_height)
        blend(scene, (0.55, 0.33, 0.19), 0.5 * inside(beside, 0.15))
    shade(scene, 0.12 * np.exp(-((edge / 1.7) ** 2)))
    blend(scene, disc.disc_color, 0.92 * inside(edge, disc.disc_edge / disc.disc_width))
    if disc.cup:
        hollow = distance(
            scene,
            disc.disc_x - 0.05 * disc.disc_width,
            disc.disc_y + disc.cup_shift * disc.disc_height,
            disc.cup * disc.disc_width,
            disc.cup * disc.disc_height,
        )
        blend(scene, (0.99, 0.92, 0.74), 0.9 * inside(hollow, 0.25))


def _paint_vessels(scene: Scene, generator: np.random.Generator) -> None:
    """Four arcades, each an artery and a darker, wider vein, with two generations of branches."""
    disc, mask = scene.anatomy, Mask(scene)
    trunks, widths, opacities = [], [], []
    start = np.array([disc.disc_x, disc.disc_y])
    macula = np.array([disc.macula_x, disc.macula_y])
    for below in (-1, 1):
        for opacity, width, off in ((0.5, 0.75, 0.05), (0.72, 1.0, -0.04)):
            jitter = generator.normal(0, 0.035, (8, 2))
            around = [
                start,
                start + (0.02, below * (0.4 + off)),
                macula + (0.05, below * (0.68 + off)),
                macula + (-0.95, below * (0.42 + 2 * off)),
            ]
            nasal = [
                start,
                start + (0.1 + off, below * 0.22),
                start + (0.28 + off, below * 0.35),
                start + (0.5, below * (0.62 + 2 * off)),
            ]
            # every vessel leaves the disc at its center
            jitter[[0, 4]] *= 0.3
            trunks += [np.array(around) + jitter[:4], np.array(nasal) + jitter[4:]]
            widths += [width * disc.vessel_width, 0.8 * width * disc.vessel_width]
            opacities += [opacity, opacity]
    t = np.linspace(0, 1, 24)[:, None]
    cubic = np.concatenate([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], 1)
    wave = np.sin(generator.uniform(14, 24, 8) * t + generator.uniform(0, 6, 8)).T * np.sin(np.pi * t[:, 0])
    paths = cubic @ np.array(trunks)  # [8, 24, 2]
    paths += 0.018 * disc.tortuosity * wave[..., None] * _normals(paths)
    for path, width, opacity in zip(paths, widths, opacities, strict=True):
        for share, until in ((0.55, 24), (0.8, 17), (1.0, 9)):
            mask.line(path[:until], share * width, opacity)

    parents = np.repeat(np.arange(8), 4)
    at = generator.integers(5, 21, len(parents))
    branches = _branches(paths, parents, at, 0.42, disc.tortuosity, generator)
    for path, parent in zip(branches, parents, strict=True):
        mask.line(path, 0.5 * widths[parent], opacities[parent])
    twigs_of = np.arange(len(parents))
    at = generator.integers(3, 9, len(twigs_of))
    for path, parent in zip(_branches(branches, twigs_of, at, 0.22, 0.8, generator), parents, strict=True):
        mask.line(path, 0.3 * widths[parent], 0.8 * opacities[parent])

    # no vessel crosses the fovea
    away = distance(scene, disc.macula_x, disc.macula_y, 0.14, 0.14)
    shade(scene, -mask.opacity() * np.clip(away - 0.6, 0, 1), (0.45, 0.78, 0.72))


def _normals(paths: np.ndarray) -> np.ndarray:
    """[n, k, 2] unit vectors at right angles to the paths."""
    along = np.gradient(paths, axis=1)
    along /= np.linalg.norm(along, axis=2, keepdims=True) + 1e-9
    return np.stack([-along[..., 1], along[..., 0]], 2)


def _branches(
    paths: np.ndarray,
    parents: np.ndarray,
    at: np.ndarray,
    length: float,
    tortuosity: float,
    generator: np.random.Generator,
) -> np.ndarray:
    """[n, 10, 2]: one path per entry of `parents`, leaving paths[parent] at its point `at`, either way, and bending."""
    count, steps = len(parents), 10
    along = np.gradient(paths, axis=1)[parents, at]
    way = np.where(generator.random(count) < 0.5, -1, 1)
    heading = np.arctan2(along[:, 1], along[:, 0]) + way * generator.uniform(0.45, 0.95, count)
    bend = -way * generator.uniform(0.0, 0.09, count)
    sway = np.sin(np.outer(generator.uniform(0.5, 0.9, count), np.arange(steps)) + generator.uniform(0, 6, (count, 1)))
    headings = heading[:, None] + bend[:, None] * np.arange(steps) + 0.35 * tortuosity * sway
    step = (length * generator.uniform(0.6, 1.3, count) / steps)[:, None]
    offsets = np.stack([step * np.cos(headings), step * np.sin(headings)], 2)
    offsets[:, 0] = 0
    return paths[parents, at][:, None] + np.cumsum(offsets, 1)


def _photograph(scene: Scene, appearance: Appearance, generator: np.random.Generator) -> np.ndarray:
    """Illumination, haze, focus, frame and sensor noise: uint8 [S, S, 3]."""
    size = len(scene.x)
    light = generator.uniform(-0.25, 0.25, 2).tolist()
    falloff = (scene.x - light[0]) ** 2 + (scene.y - light[1]) ** 2
    exposure = generator.uniform(0.88, 1.22)
    shade(scene, exposure * (1.1 - generator.uniform(0.2, 0.45) * falloff) - 1)
    blend(scene, (0.72, 0.50, 0.36), generator.uniform(0, 0.14))
    frame = inside(distance(scene, 0, 0, 1, 1), 0.012)
    if appearance.cut < 1:
        frame = frame * inside(np.abs(scene.y) / appearance.cut, 0.012)
    for plane, tint in zip(scene.image, appearance.tint, strict=True):
        plane *= 255 * tint * frame
    planes = np.clip(scene.image, 0, 255).astype(np.uint8)
    image = Image.merge("RGB", [Image.fromarray(plane) for plane in planes])
    image = image.filter(ImageFilter.BoxBlur(generator.uniform(0.0, 0.9) * size / 192))
    grain = generator.standard_normal((size, size, 1), dtype=np.float32) * np.float32(generator.uniform(1.0, 3.5))
    return np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8)
