"""Images that cannot be read say what they are and what would read them; none takes memory before it is measured."""

import io
import resource
import subprocess
import sys
import textwrap
import zlib

import numpy as np
import pydicom
import pytest
from dicom_files import DRAWN, SIZE, dicom
from PIL import Image
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, JPEGExtended12Bit
from running import REPOSITORY

from retclip.data.images import MAX_PIXELS, read_fundus

GRAY = DRAWN.astype(np.uint16).sum(2) // 3


def encoded(array: np.ndarray, form: str, **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, form, **options)
    return stream.getvalue()


def heif(brand: bytes) -> bytes:
    return b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1heic" + b"\0" * 64


FOREIGN = {
    "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "git lfs pull"),
    "HEIC": (heif(b"heic"), "HEIC.*pillow-heif"),
    "HEIF of several": (heif(b"msf1"), "HEIC.*pillow-heif"),
    "JPEG XL": (b"\xff\x0a" + b"\0" * 64, "JPEG XL.*pillow-jxl-plugin"),
    "JPEG XL in boxes": (b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0" * 64, "JPEG XL.*pillow-jxl-plugin"),
    "PDF": (b"%PDF-1.7\n" + b"\0" * 64, "PDF"),
    "a web page": (b"\n <!DOCTYPE html><html>404</html>", "web page"),
    "a web page without its head": (b"<HTML><body>Log in</body>", "web page"),
    "a ZIP archive": (b"PK\x03\x04" + b"\0" * 64, "ZIP"),
    "gzip": (b"\x1f\x8b\x08\0" + b"\0" * 64, "gzip"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + b"\0" * 64, "HDF5"),
    "a MATLAB file": (b"MATLAB 5.0 MAT-file, Platform: x" + b" " * 64, "MATLAB"),
    "an array of numpy": (b"\x93NUMPY\x01\0" + b" " * 64, "NumPy"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_of_another_kind_is_named_for_what_it_is(kind):
    content, told = FOREIGN[kind]
    with pytest.raises(ValueError, match=f"^the image cannot be read.*{told}") as raised:
        read_fundus(content, SIZE)
    assert len(str(raised.value)) < 200
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (lambda: dicom("MONOCHROME2", [encoded(GRAY.astype("u1"), "JPEG")], JPEGExtended12Bit, bits=12),
         "12 bits.*pip install pylibjpeg-libjpeg"),
        (lambda: dicom("RGB", b""), "has no pixels"),
        (lambda: dicom("RGB", [b"\xff\xd8 no JPEG \xff\xd9"], JPEGBaseline8Bit), "cannot identify image"),
        (lambda: dicom("RGB", [encoded(np.zeros((32, 32, 3), "u1"), "JPEG")], JPEGBaseline8Bit),
         "32 x 32 pixels, but its header says 64 x 64"),
    ],
    ids=["JPEG of 12 bits", "no pixels", "no JPEG", "another size"],
)  # fmt: skip
def test_what_a_dicom_file_lacks_is_said(content, told):
    with pytest.raises(ValueError, match=told) as raised:
        read_fundus(content(), SIZE)
    assert len(str(raised.value)) < 200
    assert "\n" not in str(raised.value)


def j2k_of(side: int) -> bytes:
    """A codestream whose header says side x side pixels, of a small one: what is decoded is as large as it says."""
    content = bytearray(encoded(np.zeros((SIZE, SIZE, 3), "u1"), "JPEG2000", no_jp2=True, irreversible=False))
    at = content.index(b"\xff\x51") + 6
    for offset in (0, 4, 16, 20):  # Xsiz, Ysiz, XTsiz, YTsiz
        content[at + offset : at + offset + 4] = side.to_bytes(4, "big")
    return bytes(content)


def inflating(megabytes: int) -> bytes:
    """A deflated DICOM file that unfolds to so many MB."""
    plain = dicom("RGB", DRAWN.tobytes(), DeflatedExplicitVRLittleEndian)
    offset = 132 + 12 + pydicom.dcmread(io.BytesIO(plain)).file_meta.FileMetaInformationGroupLength
    inner = zlib.decompress(plain[offset:], -zlib.MAX_WBITS)
    # a private element of zeros behind the pixels
    count = megabytes << 20
    element = b"\x01\x7f\x10\x10OB\0\0" + count.to_bytes(4, "little")
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(inner + element)
    for _ in range(megabytes):
        packed += packer.compress(bytes(1 << 20))
    return plain[:offset] + packed + packer.flush()


def tall(height: int, width: int) -> bytes:
    return encoded(np.full((height, width), 200, "u1"), "PNG")


BOMBS = {
    "a strip that a square would make huge": (lambda: tall(60_000, 40), "40 x 60000 pixels"),
    "a JPEG 2000 codestream larger than its header": (
        lambda: dicom("RGB", [j2k_of(30_000)], JPEG2000Lossless), "30000 x 30000 pixels"),
    "a JPEG larger than its header": (
        lambda: dicom("RGB", [encoded(np.zeros((30_000, 3_000), "u1"), "JPEG")], JPEGBaseline8Bit),
        "3000 x 30000 pixels"),
    "a deflated file": (lambda: inflating(1500), "unfolds to more"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_memory_is_bounded_before_it_is_taken(tmp_path, name):
    """Within 1.5 GB of address space beside what Python itself takes, a refusal in one sentence."""
    make, told = BOMBS[name]
    (tmp_path / "bomb").write_bytes(make())
    program = """
        import resource, sys
        from pathlib import Path
        from retclip.data.images import read_fundus
        import pydicom.pixels.decoders
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 1_500_000_000,) * 2)
        try:
            read_fundus(Path(sys.argv[1]).read_bytes(), 64)
        except ValueError as error:
            print(error)
    """
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), tmp_path / "bomb"],
        capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(REPOSITORY / "scripts"), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    assert told in found.stdout, (found.stdout, found.stderr[-500:])
    assert "\n" not in found.stdout.strip()


def test_the_largest_photograph_of_a_camera_is_read():
    """45 megapixels, as the largest fundus cameras give, far below the limit."""
    assert MAX_PIXELS / 2 > 8192 * 5464
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert read_fundus(encoded(np.full((5464, 8192, 3), 90, "u1"), "JPEG"), SIZE).pixels.shape == (SIZE, SIZE, 3)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2_000_000  # kB
