"""What photographs really are is read, and by no more memory than a process of the build may take."""

import io
import resource

import numpy as np
import pytest
from dicom_files import dicom
from PIL import Image

from retclip.data.images import read_fundus
from retclip.data.working_store import MOST_BYTES


def photograph(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """A lit disc on black; noise, so that no form can make it small."""
    y, x = np.ogrid[:height, :width]
    inside = (x - width / 2) ** 2 + (y - height / 2) ** 2 < (min(width, height) * 0.48) ** 2
    noise = np.random.default_rng(1).integers(60, 200, (height, width), dtype=np.uint8)
    gray = np.where(inside, noise, 0).astype(np.uint8)
    if mode == "I;16":
        return Image.fromarray(gray.astype(np.uint16) * 257)
    return Image.fromarray(gray).convert(mode)


@pytest.mark.parametrize(
    ("form", "mode", "size"),
    [
        ("JPEG", "RGB", (4500, 4500)),
        ("PNG", "RGB", (4288, 2848)),
        ("PNG", "RGBA", (4500, 4500)),
        ("PNG", "I;16", (4500, 4500)),
        ("PNG", "P", (3000, 2000)),
        ("TIFF", "RGB", (4500, 4500)),
        ("BMP", "RGB", (3000, 2000)),
        ("WEBP", "RGB", (3000, 2000)),
        ("JPEG2000", "RGB", (1500, 1200)),
    ],
)
def test_a_photograph_of_a_real_camera_is_read(form, mode, size):
    stream = io.BytesIO()
    options = {"PNG": {"compress_level": 1}, "WEBP": {"method": 0}}.get(form, {})
    photograph(*size, mode).save(stream, form, **options)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert read_fundus(stream.getvalue(), 64).pixels[32, 32].max() > 60
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10 < MOST_BYTES


@pytest.mark.parametrize("kind", ["RGB", "MONOCHROME2"])
def test_a_dicom_file_of_50_megabytes_is_read(kind):
    if kind == "RGB":
        pixels, bits = np.array(photograph(4100, 4100)), 8
    else:
        pixels, bits = np.array(photograph(5000, 5000, "I;16")), 16
    content = dicom(kind, pixels.tobytes(), bits=bits, Rows=pixels.shape[0], Columns=pixels.shape[1])
    assert len(content) >= 50_000_000
    assert read_fundus(content, 64).pixels[32, 32].max() > 60
