"""From an image file of any common kind to the cropped, resized fundus."""

import io
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageFile, ImageOps

from retclip.core.bounded import open_plain
from retclip.data.dicom import is_dicom, read_dicom
from retclip.data.foreign_files import kind_of
from retclip.data.image_headers import webp_size
from retclip.data.image_quality import measure_quality

if TYPE_CHECKING:
    from retclip.data.image_quality import ImageQuality

# A fundus photograph has at most a few dozen megapixels; more is a decompression bomb.
MAX_PIXELS = 100_000_000
# Of those that take more than three bytes a pixel on the way: 16 bits, alpha, palettes.
MAX_DEEP_PIXELS = 50_000_000
# Of an image file; one of 100 megapixels without compression has 300 MB.
MAX_FILE_BYTES = 400_000_000
# All else that Pillow could read is refused: some of it starts other programs.
FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "JPEG2000")
MOST_PAGES = 64  # of a TIFF that are looked at
ROWS_AT_ONCE = 64
# The surround of a fundus photograph is nearly black, but seldom exactly so.
DARK = 16
# A row or column belongs to the fundus when this share of its pixels is not dark: stray pixels do not.
LIT_SHARE = 0.02
# A crop to less than this share of the image's side has found something else than the fundus.
SMALLEST_CROP = 0.3
DEEP = ("RGBA", "LA", "PA", "RGBa", "La")


class Fundus(NamedTuple):
    """pixels: uint8 [size, size, 3], upright, RGB, cropped to the fundus, padded to a square, resized.

    thumbnail: JPEG of the green channel (image_quality.THUMBNAIL pixels).
    """

    pixels: np.ndarray
    quality: "ImageQuality"
    thumbnail: bytes


def load_fundus(path: str | Path, size: int, interpolation: str = "bicubic") -> np.ndarray:
    """The pixels of read_fundus for a file. Raises ValueError likewise, or where the file is missing."""
    path = Path(path)
    return read_fundus(read_image_file(path), size, interpolation).pixels


def read_image_file(path: Path) -> bytes:
    """The bytes of an image file. Raises ValueError where it is missing, no plain file (nobody waits for a pipe), or
    larger than any photograph."""
    try:
        stream = open_plain(path)
    except FileNotFoundError:
        raise ValueError("the image file does not exist") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"the image file cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if stream is None:
        raise ValueError("the image file is a pipe, a device or a folder")
    with stream:
        size = os.fstat(stream.fileno()).st_size
        if size > MAX_FILE_BYTES:
            raise ValueError(f"the image file has {size / 1e6:.0f} MB, which is too large")
        return stream.read()


def read_fundus(content: bytes, size: int, interpolation: str = "bicubic") -> Fundus:
    """The fundus in an image file's bytes, and the quality of the whole photograph. interpolation: of the resize, one
    of core.preprocessing's.

    Raises ValueError with the reason where it is empty, truncated, too large or no image.
    """
    if not content:
        raise ValueError("the image file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large images; we refuse the too large
            if is_dicom(content):
                whole = read_dicom(content, MAX_PIXELS, MAX_DEEP_PIXELS)
                square, original = crop_to_fundus(whole), whole.size
            else:
                whole, square, original = _decode(content, size)
            return _fundus(whole, square, original, size, interpolation, len(content))
    except MemoryError:
        raise ValueError("the image takes more memory than a process that reads images may have") from None


def _fundus(
    whole: Image.Image, square: Image.Image, original: tuple[int, int], size: int, interpolation: str, length: int
) -> Fundus:
    kind = Image.Resampling[interpolation.upper()]
    pixels = np.asarray(square.resize((size, size), kind, reducing_gap=2.0))
    return Fundus(pixels, *measure_quality(whole, square, original, length))


def to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB of any mode: 16-bit is scaled by its brightest pixel's power of two, fractions by 1, alpha laid on
    black."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image)
        strips = [slice(at, at + ROWS_AT_ONCE) for at in range(0, len(values), ROWS_AT_ONCE)]
        most = max(float(_as_numbers(values[rows]).max()) for rows in strips)
        # fractions that a resampling made may overshoot 1
        fractions = image.mode == "F" and 0 < most < 2
        top = 1.0 if fractions else max(255.0, 2.0 ** np.ceil(np.log2(max(most, 1.0) + 1)) - 1)
        gray = np.empty(values.shape, np.uint8)
        for rows in strips:
            gray[rows] = (_as_numbers(values[rows]) / top * 255).clip(0, 255)
        return Image.fromarray(gray).convert("RGB")
    if image.mode in DEEP or "transparency" in image.info:
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _as_numbers(values: np.ndarray) -> np.ndarray:
    return np.nan_to_num(values.astype(np.float64))


def crop_to_fundus(image: Image.Image) -> Image.Image:
    """The bounding box of what is not dark, made square with black; the whole image if that is too small.

    Raises ValueError where the square would have more than MAX_PIXELS: a long strip becomes a large one.
    """
    lit = np.asarray(image.convert("L")) > DARK
    columns = np.flatnonzero(lit.mean(0) > LIT_SHARE)
    rows = np.flatnonzero(lit.mean(1) > LIT_SHARE)
    del lit
    box = (0, 0, image.width, image.height)
    if len(columns) and len(rows):
        found = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
        if min(found[2] - found[0], found[3] - found[1]) >= SMALLEST_CROP * min(image.size):
            box = found
    width, height = box[2] - box[0], box[3] - box[1]
    side = max(width, height)
    if side * side > MAX_PIXELS:
        raise ValueError(f"the image has {width} x {height} pixels, which is too long for a square")
    left, top = box[0] - (side - width) // 2, box[1] - (side - height) // 2
    square = Image.new("RGB", (side, side))
    square.paste(image.crop(box), (box[0] - left, box[1] - top))
    return square


def _decode(content: bytes, size: int) -> tuple[Image.Image, Image.Image, tuple[int, int]]:
    """The image, perhaps at reduced scale, its fundus, and the size it has in the file.

    A JPEG decodes at 1/2, 1/4 or 1/8 in a fraction of the time. Once more at a larger scale where the fundus
    fills so little of the frame that it would have to be enlarged.
    """
    wanted = size
    while True:
        whole, original, reduced = _opened(content, wanted)
        square = crop_to_fundus(whole)
        if not reduced or square.width >= size:
            return whole, square, original
        wanted *= 2


def _opened(content: bytes, wanted: int) -> tuple[Image.Image, tuple[int, int], bool]:
    """The image upright in RGB, the size it has in the file, and whether it is at reduced scale, of `wanted` pixels or
    more."""
    size = webp_size(content)
    problem = _too_large(*size, MAX_DEEP_PIXELS) if size else ""
    if problem:
        raise ValueError(problem)
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            _select_largest_page(image)
            original = image.size
            problem = _too_large(*image.size, MAX_DEEP_PIXELS if _is_deep(image) else MAX_PIXELS)
            if not problem:
                image.draft("RGB", (wanted, wanted))
                return to_rgb(ImageOps.exif_transpose(image)), original, image.size != original
    except MemoryError:
        raise
    except Exception as error:  # a broken image raises nearly anything
        reason = kind_of(content) or (str(error).splitlines() or [type(error).__name__])[0][:80]
        # Pillow names the buffer's address, which helps nobody
        reason = reason.split(" <_io")[0].removesuffix(" file")
        raise ValueError(f"the image cannot be read ({reason})") from None
    raise ValueError(problem)


def _select_largest_page(image: Image.Image) -> None:
    """Of a TIFF with several pages the photograph, not its thumbnails."""
    if image.format != "TIFF":
        return
    areas = [image.width * image.height]
    for page in range(1, MOST_PAGES):
        try:
            image.seek(page)
        except EOFError:
            break
        areas.append(image.width * image.height)
    if len(areas) > 1:
        image.seek(int(np.argmax(areas)))


def _is_deep(image: Image.Image) -> bool:
    """Whether an image that is opened but not decoded takes more than three bytes a pixel on the way to RGB."""
    return image.mode in DEEP or image.mode[0] in "IF" or "transparency" in image.info


def _too_large(width: int, height: int, most: int) -> str:
    """Why so many pixels are not decoded; "" where they are few enough."""
    if width * height <= most:
        return ""
    return f"the image has {width} x {height} pixels, which is too large; scale it to {most // 10**6} megapixels"


# A truncated file must be an error: half a gray image would train as well as a whole one.
ImageFile.LOAD_TRUNCATED_IMAGES = False
# The limit is ours, checked before anything is decoded; Pillow's own would warn in every process.
Image.MAX_IMAGE_PIXELS = None
