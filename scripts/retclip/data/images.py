"""From an image file of any common kind to the cropped, resized fundus."""

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from retclip.data.dicom import is_dicom, read_dicom
from retclip.data.foreign_files import kind_of
from retclip.data.image_quality import measure_quality

if TYPE_CHECKING:
    from retclip.data.image_quality import ImageQuality

# A fundus photograph has at most a few dozen megapixels; more is a decompression bomb.
MAX_PIXELS = 100_000_000
# The surround of a fundus photograph is nearly black, but seldom exactly so.
DARK = 16
# A row or column belongs to the fundus when this share of its pixels is not dark: stray pixels do not.
LIT_SHARE = 0.02
# A crop to less than this share of the image's side has found something else than the fundus.
SMALLEST_CROP = 0.3


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
    if not path.is_file():
        raise ValueError("the image file does not exist")
    return read_fundus(path.read_bytes(), size, interpolation).pixels


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
                whole = read_dicom(content, MAX_PIXELS)
                square, original = crop_to_fundus(whole), whole.size
            else:
                whole, square, original = _decode(content, size)
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        reason = kind_of(content) or (str(error).splitlines() or [type(error).__name__])[0][:80]
        # Pillow names the buffer's address, which helps nobody
        reason = reason.split(" <_io")[0].removesuffix(" file")
        raise ValueError(f"the image cannot be read ({reason})") from None
    kind = Image.Resampling[interpolation.upper()]
    pixels = np.asarray(square.resize((size, size), kind, reducing_gap=2.0))
    return Fundus(pixels, *measure_quality(whole, square, original, len(content)))


def to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB of any mode: 16-bit is scaled by its brightest pixel's power of two, alpha laid on black."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        top = max(255.0, 2.0 ** np.ceil(np.log2(max(values.max(), 1.0) + 1)) - 1)
        return Image.fromarray((values / top * 255).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def crop_to_fundus(image: Image.Image) -> Image.Image:
    """The bounding box of what is not dark, made square with black; the whole image if that is too small.

    Raises ValueError where the square would have more than MAX_PIXELS: a long strip becomes a large one.
    """
    brightness = np.asarray(image.convert("L"))
    lit = brightness > DARK
    columns = np.flatnonzero(lit.mean(0) > LIT_SHARE)
    rows = np.flatnonzero(lit.mean(1) > LIT_SHARE)
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
        with Image.open(io.BytesIO(content)) as image:
            _select_largest_page(image)
            original = image.size
            _check_pixels(*original)
            image.draft("RGB", (wanted, wanted))
            reduced = image.size != original
            whole = to_rgb(ImageOps.exif_transpose(image))
        square = crop_to_fundus(whole)
        if not reduced or square.width >= size:
            return whole, square, original
        wanted *= 2


def _select_largest_page(image: Image.Image) -> None:
    """Of a TIFF with several pages the photograph, not its thumbnails."""
    pages = getattr(image, "n_frames", 1)
    if image.format != "TIFF" or pages == 1:
        return
    areas = []
    for page in range(min(pages, 64)):
        image.seek(page)
        areas.append(image.width * image.height)
    image.seek(int(np.argmax(areas)))


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ValueError(f"the image has {width} x {height} pixels, which is too large")


# A truncated file must be an error: half a gray image would train as well as a whole one.
ImageFile.LOAD_TRUNCATED_IMAGES = False
# The limit is ours, checked before anything is decoded; Pillow's own would warn in every process.
Image.MAX_IMAGE_PIXELS = None
