"""From a picture file of any common kind to the cropped, resized fundus."""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

# A fundus photograph has at most a few dozen megapixels; more is a decompression bomb.
MAX_PIXELS = 100_000_000
# The surround of a fundus photograph is nearly black, but seldom exactly so.
DARK = 16
# A row or column belongs to the fundus when this share of its pixels is not dark: stray pixels do not.
LIT_SHARE = 0.02
# A crop to less than this share of the picture's side has found something else than the fundus.
SMALLEST_CROP = 0.3


def load_fundus(path: str | Path, size: int) -> np.ndarray:
    """uint8 [size, size, 3]: upright, RGB, cropped to the fundus, padded to a square, resized.

    Raises ValueError with the reason where the file is missing, empty, truncated, too large or no picture.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError("the image file does not exist")
    if path.stat().st_size == 0:
        raise ValueError("the image file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large pictures; we refuse the too large
            with Image.open(path) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise ValueError(f"the image has {image.width} x {image.height} pixels, which is too large")
                # JPEG decodes at 1/2, 1/4 or 1/8 for free; twice the size leaves room for the crop
                image.draft("RGB", (2 * size, 2 * size))
                picture = to_rgb(ImageOps.exif_transpose(image))
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"the image cannot be read ({str(error).splitlines()[0][:80]})") from None
    return np.asarray(crop_to_fundus(picture).resize((size, size), Image.Resampling.BICUBIC, reducing_gap=2.0))


def to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB of any mode: 16-bit is scaled by its brightest pixel's power of two, alpha laid on black."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        top = max(255.0, 2.0 ** np.ceil(np.log2(max(values.max(), 1.0) + 1)) - 1)
        return Image.fromarray((values / top * 255).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def crop_to_fundus(image: Image.Image) -> Image.Image:
    """The bounding box of what is not dark, made square with black; the whole picture if that is too small."""
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
    left, top = box[0] - (side - width) // 2, box[1] - (side - height) // 2
    square = Image.new("RGB", (side, side))
    square.paste(image.crop(box), (box[0] - left, box[1] - top))
    return square


# A truncated file must be an error: half a grey picture would train as well as a whole one.
ImageFile.LOAD_TRUNCATED_IMAGES = False
