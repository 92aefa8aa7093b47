"""What each of the demo's diseases changes in the image of an eye, and by how much at which severity.

Every sign is wider than two pixels once the retina is 64 pixels across (1 pixel = 1/32 retina radius), or there are
many of it; the mildest form is small and pale, but it is there. A disease changes neither the frame nor the exposure.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from retclip.demo.paint import Anatomy, Mask, Scene, blend, clouds, distance, inside, shade

BLOOD = (0.36, 0.05, 0.04)
EXUDATE = (0.96, 0.86, 0.45)
COTTON_WOOL = (0.95, 0.90, 0.75)
SCLERA = (0.94, 0.84, 0.64)
PIGMENT = (0.13, 0.08, 0.07)


def _place(scene: Scene, reach: float) -> tuple[float, float]:
    """A point within `reach` of the macula's surroundings, more often than not in the scene's quadrant."""
    spread = scene.generator.uniform(-reach, reach, 2)
    if scene.generator.random() < 0.6:
        spread = np.abs(spread) * scene.quadrant
    return scene.anatomy.macula_x + spread[0], scene.anatomy.macula_y + spread[1]


# what a disease does to the anatomy, before anything is drawn


def _cupped(anatomy: Anatomy, severity: float, quadrant: tuple[int, int]) -> Anatomy:
    """Glaucoma: the cup grows, and the rim thins most above or below."""
    return replace(
        anatomy,
        cup=0.68 + 0.24 * severity,
        cup_shift=0.12 * quadrant[1] * (1 - severity),
        disc_color=(0.90, 0.62, 0.36),
    )


def _tilted(anatomy: Anatomy, severity: float, quadrant: tuple[int, int]) -> Anatomy:
    """Myopia: a disc seen at an angle."""
    return replace(anatomy, disc_width=anatomy.disc_width * (0.92 - 0.17 * severity))


def _starved(anatomy: Anatomy, severity: float, quadrant: tuple[int, int]) -> Anatomy:
    """Retinitis pigmentosa: thin vessels and a disc like wax."""
    return replace(
        anatomy,
        vessel_width=anatomy.vessel_width * (0.62 - 0.22 * severity),
        disc_color=(0.92, 0.80, 0.54),
        cup=0.8 * anatomy.cup,
    )


def _swollen(anatomy: Anatomy, severity: float, quadrant: tuple[int, int]) -> Anatomy:
    """Disc edema: larger, without a margin and without a cup."""
    growth = 1.3 + 0.55 * severity
    return replace(
        anatomy,
        disc_width=anatomy.disc_width * growth,
        disc_height=anatomy.disc_height * growth,
        disc_edge=0.10 + 0.10 * severity,
        disc_color=(0.97, 0.68, 0.47),
        cup=0.0,
        tortuosity=anatomy.tortuosity + 0.6,
    )


# what lies beneath disc and vessels


def _myopic_choroid(scene: Scene) -> None:
    """Myopia: the choroid's vessels show through a thin retina, and a crescent of sclera lies beside the disc."""
    bands = np.clip(1.2 - 1.6 * np.abs(clouds(scene.generator, len(scene.x), 22)), 0, 1)
    blend(scene, (0.86, 0.52, 0.28), (0.15 + 0.2 * scene.severity) * bands)
    shade(scene, (0.16 + 0.24 * scene.severity) * (bands - 0.7), (0.35, 0.6, 0.6))
    disc = scene.anatomy
    growth = 1.3 + 0.7 * scene.severity
    shift = disc.disc_x - disc.disc_width * (growth - 0.9)
    edge = distance(scene, shift, disc.disc_y, disc.disc_width * growth, disc.disc_height * (0.8 + 0.25 * growth))
    blend(scene, SCLERA, 0.9 * inside(edge, 0.18))
    if scene.severity > 0.6:
        for _ in range(scene.generator.integers(1, 4)):
            x, y = _place(scene, 0.45)
            width, height = scene.generator.uniform(0.08, 0.17, 2)
            blend(scene, SCLERA, 0.75 * inside(distance(scene, x, y, width, height), 0.25))


def _dying_periphery(scene: Scene) -> None:
    """Retinitis pigmentosa: a grayish, mottled ring outside the arcades."""
    ring = np.clip((distance(scene, 0, 0, 1, 1) - 0.45) / 0.25, 0, 1)
    mottle = 1 + 0.25 * clouds(scene.generator, len(scene.x), 24)
    blend(scene, (0.47, 0.36, 0.27), (0.35 + 0.3 * scene.severity) * ring * np.clip(mottle, 0, 1.3))


# what lies above them


def _diabetic(scene: Scene) -> None:
    """Diabetic retinopathy: haemorrhages, hard exudates in clusters, and cotton wool spots once it is severe."""
    generator, severity = scene.generator, scene.severity
    blood = Mask(scene)
    for _ in range(round(7 + 25 * severity)):
        x, y = _place(scene, 0.75)
        # areas, not radii, are spread evenly: many dots, few blots
        blood.spot(x, y, 0.022 + (0.028 + 0.03 * severity) * generator.random() ** 2, generator)
    blend(scene, BLOOD, 0.85 * blood.opacity())
    fat = Mask(scene)
    for _ in range(round(1 + 3 * severity)):
        x, y = _place(scene, 0.4)
        for _ in range(round(4 + 6 * severity)):
            fat.spot(
                x + 0.07 * generator.standard_normal(),
                y + 0.07 * generator.standard_normal(),
                generator.uniform(0.012, 0.03),
                generator,
            )
    blend(scene, EXUDATE, 0.9 * fat.opacity())
    if severity > 0.55:
        for _ in range(generator.integers(1, 5)):
            x, y = _place(scene, 0.6)
            width, height = generator.uniform(0.04, 0.08, 2)
            blend(scene, COTTON_WOOL, 0.75 * inside(distance(scene, x, y, width, height), 0.9))


def _glaucomatous(scene: Scene) -> None:
    """Glaucoma: a dark wedge where nerve fibres are lost and, at times, a small bleed on the disc's edge."""
    disc, below = scene.anatomy, scene.quadrant[1]
    if scene.severity > 0.4:
        along = np.arctan2(below * (scene.y - disc.disc_y), disc.disc_x - scene.x)
        reach = distance(scene, disc.disc_x, disc.disc_y, 1.0, 1.0)
        wedge = inside(np.abs(along - 0.95) / 0.2, 0.5) * np.clip((0.9 - reach) / 0.3, 0, 1)
        shade(scene, -0.22 * scene.severity * wedge)
    if scene.generator.random() < 0.25:
        blood = Mask(scene)
        angle = scene.generator.uniform(0.9, 1.4)
        arm = np.array([-np.cos(angle), below * np.sin(angle)])
        start = np.array([disc.disc_x, disc.disc_y]) + arm * disc.disc_height
        blood.line(np.stack([start, start + 0.07 * arm]), 0.025)
        blend(scene, BLOOD, 0.9 * blood.opacity())


def _scarred(scene: Scene) -> None:
    """Macular scar: an opaque pale patch with a ragged outline, clumps of pigment along it and inside."""
    generator, severity = scene.generator, scene.severity
    x = scene.anatomy.macula_x + 0.06 * scene.quadrant[0] * generator.random()
    y = scene.anatomy.macula_y + 0.06 * scene.quadrant[1] * generator.random()
    width, height = (0.13 + 0.16 * severity) * generator.uniform(0.85, 1.25, 2)
    ragged = distance(scene, x, y, width, height) + 0.18 * clouds(generator, len(scene.x), 14)
    pale = (0.90, 0.83, 0.66) if generator.random() < 0.6 else (0.78, 0.76, 0.64)
    blend(scene, (0.42, 0.22, 0.13), 0.5 * inside(ragged / 1.2, 0.2))
    blend(scene, pale, (0.72 + 0.2 * severity) * inside(ragged, 0.2))
    pigment = Mask(scene)
    for turn in generator.uniform(0, 2 * np.pi, round(5 + 10 * severity)):
        reach = generator.uniform(0.5, 1.05)
        spot = x + reach * width * np.cos(turn), y + reach * height * np.sin(turn)
        pigment.spot(*spot, generator.uniform(0.014, 0.036), generator)
    blend(scene, PIGMENT, 0.75 * pigment.opacity())


def _pigmented(scene: Scene) -> None:
    """Retinitis pigmentosa: bone spicules, little black stars with long arms, in a ring around the arcades."""
    generator = scene.generator
    pigment = Mask(scene)
    for _ in range(round(16 + 40 * scene.severity)):
        turn = generator.uniform(0, 2 * np.pi)
        reach = generator.uniform(0.6 - 0.12 * scene.severity, 0.97)
        center = reach * np.array([np.cos(turn), np.sin(turn)])
        pigment.spot(center[0], center[1], 0.022, generator)
        for angle in turn + np.array([0.0, 2.0, 4.2]) + generator.normal(0, 0.4, 3):
            arm = generator.uniform(0.04, 0.09) * np.array([np.cos(angle), np.sin(angle)])
            pigment.line(np.stack([center, center + arm]), 0.017)
    blend(scene, PIGMENT, 0.85 * pigment.opacity())


def _congested(scene: Scene) -> None:
    """Disc edema: swollen nerve fibres veil the vessels at the disc; splinters of blood radiate from its margin."""
    generator, disc = scene.generator, scene.anatomy
    veil = inside(distance(scene, disc.disc_x, disc.disc_y, 1.15 * disc.disc_width, 1.15 * disc.disc_height), 0.7)
    blend(scene, (0.96, 0.72, 0.52), (0.3 + 0.25 * scene.severity) * veil)
    blood = Mask(scene)
    for turn in generator.uniform(0, 2 * np.pi, round(1 + 9 * scene.severity)):
        arm = np.array([disc.disc_width * np.cos(turn), disc.disc_height * np.sin(turn)])
        start = np.array([disc.disc_x, disc.disc_y]) + generator.uniform(0.75, 1.05) * arm
        blood.line(np.stack([start, start + generator.uniform(0.2, 0.45) * arm]), 0.028)
    blend(scene, BLOOD, 0.75 * blood.opacity())


def _detached(scene: Scene) -> None:
    """Retinal detachment: one side of the retina is gray, lifted, and lies in folds."""
    generator = scene.generator
    lean = np.array(scene.quadrant) * generator.uniform(0.6, 1.4, 2)
    across, up = lean / np.hypot(*lean)
    depth = scene.x * across + scene.y * up
    along = scene.y * across - scene.x * up
    border = 0.42 - 0.55 * scene.severity + 0.07 * np.sin(5 * along + generator.uniform(0, 6))
    lifted = np.clip((depth - border) / 0.06, 0, 1)
    folds = np.sin(9 * depth + 2.0 * clouds(generator, len(scene.x), 7) + generator.uniform(0, 6))
    blend(scene, (0.60, 0.57, 0.50), (0.55 + 0.2 * scene.severity) * lifted)
    shade(scene, (0.20 * folds - 0.05) * lifted)
    # the step at its border throws a shadow
    shade(scene, -0.35 * np.exp(-(((depth - border + 0.02) / 0.035) ** 2)))


def _blistered(scene: Scene) -> None:
    """Central serous chorioretinopathy: a round dome of clear fluid at the macula, lit from one side, with a halo."""
    generator = scene.generator
    x = scene.anatomy.macula_x + 0.05 * scene.quadrant[0]
    y = scene.anatomy.macula_y + 0.08 * scene.quadrant[1]
    width, height = (0.17 + 0.13 * scene.severity) * generator.uniform(0.9, 1.12, 2)
    edge = distance(scene, x, y, width, height)
    dome = inside(edge, 0.15)
    blend(scene, (0.80, 0.55, 0.34), (0.28 + 0.25 * scene.severity) * dome)
    shade(scene, 0.25 * dome * ((x - scene.x) / width + (y - scene.y) / height))
    halo = np.exp(-(((edge - 1) / 0.11) ** 2))
    blend(scene, (0.94, 0.74, 0.48), (0.2 + 0.25 * scene.severity) * halo)
    shade(scene, -0.2 * np.exp(-(((edge - 1.25) / 0.13) ** 2)))
    if scene.severity > 0.5:
        dots = Mask(scene)
        for _ in range(generator.integers(3, 9)):
            turn, reach = generator.uniform(0, 2 * np.pi), generator.uniform(0, 0.7)
            spot = x + reach * width * np.cos(turn), y + reach * height * np.sin(turn)
            dots.spot(*spot, 0.014, generator)
        blend(scene, EXUDATE, 0.6 * dots.opacity())


def _overgrown(scene: Scene) -> None:
    """Pterygium: a fleshy wedge from the nasal side, its vessels running to the apex; out of focus, since it lies in
    front of the eye."""
    generator = scene.generator
    length = 0.42 + 0.5 * scene.severity
    apex, middle = 0.95 - length, generator.uniform(-0.15, 0.15)
    open_by = np.clip((scene.x - apex) / length, 0, None) ** 0.8 * generator.uniform(0.42, 0.6)
    wedge = np.clip((open_by - np.abs(scene.y - middle)) / 0.14, 0, 1)
    blend(scene, (0.88, 0.66, 0.60), (0.8 + 0.12 * scene.severity) * wedge)
    blood = Mask(scene)
    for height in generator.uniform(-0.5, 0.5, 9):
        ends = np.array([[1.05, middle + height], [apex + length * generator.uniform(0.05, 0.4), middle]])
        bend = ends.mean(0) + generator.normal(0, 0.03, 2)
        blood.line(np.stack([ends[0], bend, ends[1]]), generator.uniform(0.012, 0.025), 0.6)
    blend(scene, (0.72, 0.16, 0.15), 0.8 * blood.opacity() * wedge)


ANATOMY: dict[str, Callable[[Anatomy, float, tuple[int, int]], Anatomy]] = {
    "Glaucoma": _cupped,
    "Myopia": _tilted,
    "Retinitis Pigmentosa": _starved,
    "Disc Edema": _swollen,
}
BENEATH: dict[str, Callable[[Scene], None]] = {
    "Myopia": _myopic_choroid,
    "Retinitis Pigmentosa": _dying_periphery,
}
ABOVE: dict[str, Callable[[Scene], None]] = {
    "Diabetic Retinopathy": _diabetic,
    "Glaucoma": _glaucomatous,
    "Macular Scar": _scarred,
    "Retinitis Pigmentosa": _pigmented,
    "Disc Edema": _congested,
    "Retinal Detachment": _detached,
    "Central Serous Chorioretinopathy": _blistered,
    "Pterygium": _overgrown,
}
CLASSES = ("Healthy", *sorted({*ANATOMY, *BENEATH, *ABOVE}))
