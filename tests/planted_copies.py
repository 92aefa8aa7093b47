"""Thumbnails of drawn eyes with planted copies of some, each disguised in one way, for tests and benches."""

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from retclip.data.images import read_fundus
from retclip.demo.drawing import draw_appearance, draw_fundus
from retclip.demo.patients import invent_patient

DISGUISES = ("encoded", "brighter", "smaller", "mirrored", "cropped", "turned", "cropped and turned")
CROP, TURN = 0.1, 10.0  # at most: of the side, at each border; degrees
SIZE = 128


def drawn_eye(seed: int, number: int) -> Image.Image:
    """Eye `number` of a set: each has an appearance, a disease and vessels of its own."""
    generator = np.random.default_rng((seed, number))
    finding = invent_patient(seed, number)[number % 2]
    side = ("left", "right")[number % 2]
    pixels = draw_fundus(finding.label, finding.severity, side, generator, SIZE, quadrant=finding.quadrant,
                         appearance=draw_appearance(generator))  # fmt: skip
    return Image.fromarray(pixels)


def disguised(image: Image.Image, how: str, generator: np.random.Generator) -> Image.Image:
    """The same photograph as another person would have saved it; `how` is one of DISGUISES."""
    width, height = image.size
    if "cropped" in how:
        left, top, right, bottom = generator.uniform(0, CROP, 4)
        box = (left * width, top * height, (1 - right) * width, (1 - bottom) * height)
        image = image.crop(tuple(round(edge) for edge in box))
    if "turned" in how:
        image = image.rotate(generator.uniform(-TURN, TURN), Image.Resampling.BICUBIC)
    if how == "mirrored":
        image = ImageOps.mirror(image)
    if how == "brighter":
        image = ImageEnhance.Brightness(image).enhance(generator.uniform(0.8, 1.2))
    if how == "smaller":
        image = image.resize((width * 3 // 4, height * 3 // 4))
    return image


def thumbnail_of(image: Image.Image, quality: int) -> bytes:
    """As the build makes it of a JPEG file."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return read_fundus(stream.getvalue(), SIZE).thumbnail


def planted(seed: int, numbers: range, every: int) -> Iterator[tuple[int, str, bytes]]:
    """(number of the eye, "" or the disguise, thumbnail): all eyes, and a copy of each so-manieth."""
    for number in numbers:
        image = drawn_eye(seed, number)
        yield number, "", thumbnail_of(image, 90)
        if number % every == 0:
            how = DISGUISES[number // every % len(DISGUISES)]
            copy = disguised(image, how, np.random.default_rng((seed, number, 1)))
            yield number, how, thumbnail_of(copy, 70)


def found_of(
    eyes: list[tuple[int, str]], pairs: list[tuple[int, int]]
) -> tuple[dict[str, tuple[int, int]], list[tuple[int, int]]]:
    """disguise -> (copies found, planted), and the pairs of different eyes. eyes: number and disguise of each place."""
    places = {number: place for place, (number, how) in enumerate(eyes) if not how}
    joined = set(pairs) | {(second, first) for first, second in pairs}
    found = {how: [0, 0] for how in DISGUISES}
    for place, (number, how) in enumerate(eyes):
        if how:
            found[how][0] += (places[number], place) in joined
            found[how][1] += 1
    false = {tuple(sorted((eyes[first][0], eyes[second][0]))) for first, second in pairs}
    return {how: (hits, all_) for how, (hits, all_) in found.items()}, sorted(p for p in false if p[0] != p[1])
