"""Image files that would take the machine, start a program or end the build: each costs its row."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from dicom_files import dicom
from PIL import Image
from security.attacks import Attack, begin
from security.building import build_table
from small_tables import add, forty_patients

SET_ASIDE = "set aside: "


def chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def png(width: int, height: int, bits: int = 8, color: int = 2, further: bytes = b"", rows: bool = True) -> bytes:
    """A whole PNG of equal pixels in as few bytes as deflate makes of them. color: 0 gray, 2 RGB, 6 RGBA."""
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    length = 1 + width * bits // 8 * {0: 1, 2: 3, 6: 4}[color]
    content = repeated(bytes([0]) + bytes([120]) * (length - 1), height) if rows else b""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + further + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def repeated(piece: bytes, times: int, wrapped: bool = True) -> bytes:
    """What deflate makes of a piece so many times, packed once. wrapped: as zlib wraps it."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    once = packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH)  # which refers to nothing before it
    content = once * times + packer.flush()
    if not wrapped:
        return content
    check = 1
    for _ in range(times):
        check = zlib.adler32(piece, check)
    return b"\x78\xda" + content + check.to_bytes(4, "big")


def row_of(name: str, make: Callable[[], bytes]) -> Callable[[Path], None]:
    """The build of forty good patients and one whose image is the attack."""

    def work(folder: Path) -> None:
        forty_patients(folder)
        (folder / "images" / name).write_bytes(make())
        add(folder, f"X,{name},left,a,Report.")
        begin()
        build_table(folder)

    return work


def jpeg_header(width: int, height: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (16, 16)).save(stream, "JPEG")
    content = bytearray(stream.getvalue())
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def tiff(width: int, height: int, pages: int = 1) -> bytes:
    """TIFF headers of one strip that is not there, each page behind the other."""
    entries = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1),
               (278, 4, height), (279, 4, 8)]  # fmt: skip
    out = bytearray(b"II*\0" + struct.pack("<I", 8))
    for page in range(pages):
        body = struct.pack("<H", len(entries))
        for tag, kind, value in entries:
            body += struct.pack("<HHII", tag, kind, 1, value)
        after = len(out) + len(body) + 4
        out += body + struct.pack("<I", after if page + 1 < pages else 0)
    return bytes(out)


def bmp(width: int, height: int) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + head


def changed(form: str, old: bytes, new: bytes, **options) -> bytes:
    """A small image of a form with some bytes of its header changed."""
    stream = io.BytesIO()
    Image.new("RGB", (16, 16), (200, 90, 40)).save(stream, form, **options)
    content = stream.getvalue()
    assert old in content
    return content.replace(old, new, 1)


def jp2(width: int, height: int) -> bytes:
    size = struct.pack(">II", 16, 16)
    content = changed("JPEG2000", size, struct.pack(">II", width, height))
    return content.replace(struct.pack(">II", 16, 16), struct.pack(">II", height, width), 1)


def webp() -> bytes:
    """16,383 x 16,383 pixels of one color, without loss, in some hundred bytes."""
    stream = io.BytesIO()
    Image.new("RGB", (16, 16), (200, 90, 40)).save(stream, "WEBP", lossless=True)
    content = bytearray(stream.getvalue())
    at = content.index(b"VP8L") + 9
    content[at : at + 4] = struct.pack("<I", 16382 | 16382 << 14)
    return bytes(content)


def deflated_dicom(megabytes: int) -> bytes:
    """A file of the deflated form that unfolds to so much."""
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    whole = dicom("RGB", b"", syntax=DeflatedExplicitVRLittleEndian, Rows=16, Columns=16)
    meta = 144 + int.from_bytes(whole[140:144], "little")
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    content = packer.compress(b"\xe0\x7f\x10\x00OB\0\0" + struct.pack("<I", min(megabytes << 20, 2**32 - 2)))
    content += packer.flush(zlib.Z_FULL_FLUSH)
    return whole[:meta] + content + repeated(bytes(1 << 20), megabytes, wrapped=False)


def nested_dicom(depth: int) -> bytes:
    whole = dicom("RGB", bytes(64 * 64 * 3))
    begin = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    at = whole.index(struct.pack("<HH", 0x0008, 0x0016), 132)
    return whole[:at] + begin * depth + whole[at:]


def eps() -> bytes:
    return (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n%%EndComments\n(ran) (ran.txt) (w) file exch writestring\n"
        b"showpage\n%%EOF\n"
    )


def blp() -> bytes:
    """One that Pillow reads, whose reader has ended builds with a traceback."""
    stream = io.BytesIO()
    Image.new("P", (64, 64), 120).save(stream, "BLP", blp_version="BLP2")
    return stream.getvalue()


def watched_ghostscript(folder: Path) -> None:
    """A Ghostscript of ours, which Pillow starts for an EPS, and which leaves a trace."""
    (folder / "bin").mkdir()
    (folder / "bin/gs").write_text(f"#!/bin/sh\ntouch '{folder}/started'\n")
    (folder / "bin/gs").chmod(0o755)
    os.environ["PATH"] = f"{folder / 'bin'}:{os.environ['PATH']}"
    row_of("x.jpg", eps)(folder)
    assert not (folder / "started").exists()


def bomb_of_text() -> bytes:
    """A PNG with a text that unfolds to 200 MB."""
    packed = repeated(bytes(1 << 20), 200)
    return png(64, 64, further=chunk(b"zTXt", b"Comment\0\0" + packed))


def bomb_of_profile() -> bytes:
    packed = repeated(bytes(1 << 20), 200)
    return png(64, 64, further=chunk(b"iCCP", b"icc\0\0" + packed))


def apng(frames: int) -> bytes:
    return png(64, 64, further=chunk(b"acTL", struct.pack(">II", frames, 0)))


LARGE = r"set aside: the image has \d+ x \d+ pixels, which is too"
UNREAD = "set aside: the image cannot be read"
OTHER = r"set aside: the image cannot be read \(it is .*; convert it"
BROKEN = "set aside: the DICOM file"

ATTACKS = {
    "PNG, 20,000 x 4 px: the square that pads it": Attack(row_of("x.png", lambda: png(20_000, 4)), LARGE, 0),
    "PNG, 60,000 x 4 px": Attack(row_of("x.png", lambda: png(60_000, 4)), LARGE, 0),
    "PNG, 4 x 60,000 px": Attack(row_of("x.png", lambda: png(4, 60_000)), LARGE, 0),
    "PNG, 60,000 x 60,000 px in its header": Attack(
        row_of("x.png", lambda: png(60_000, 60_000, rows=False)), LARGE, 0
    ),
    "PNG, 2^31 x 1 px": Attack(row_of("x.png", lambda: png(2**31 - 1, 1, rows=False)), LARGE, 0),
    "PNG, RGBA, 10,000 x 10,000 px": Attack(
        row_of("x.png", lambda: png(10_000, 10_000, color=6)), LARGE, 0, megabytes=1200
    ),
    "PNG, 16 bits, 10,000 x 10,000 px": Attack(
        row_of("x.png", lambda: png(10_000, 10_000, bits=16, color=0)), LARGE, 0, megabytes=1200
    ),
    "PNG with a text of 200 MB": Attack(row_of("x.png", bomb_of_text), UNREAD, 0),
    "PNG with a color profile of 200 MB": Attack(row_of("x.png", bomb_of_profile), UNREAD, 0),
    "PNG of 2^31 frames": Attack(row_of("x.png", lambda: apng(2**31 - 1)), "", 0),
    "JPEG, 65,500 x 65,500 px in its header": Attack(row_of("x.jpg", lambda: jpeg_header(65_500, 65_500)), LARGE, 0),
    "TIFF, 60,000 x 60,000 px in its header": Attack(row_of("x.tif", lambda: tiff(60_000, 60_000)), LARGE, 0),
    "TIFF of 40,000 pages": Attack(row_of("x.tif", lambda: tiff(64, 64, 40_000)), "test: 8 samples", 0),
    "BMP, 40,000 x 40,000 px in its header": Attack(row_of("x.bmp", lambda: bmp(40_000, 40_000)), LARGE, 0),
    "WebP, 16,383 x 16,383 px": Attack(row_of("x.webp", webp), LARGE, 0),
    "JPEG 2000, 60,000 x 60,000 px in its header": Attack(row_of("x.jp2", lambda: jp2(60_000, 60_000)), LARGE, 0),
    "EPS named .jpg, which would start Ghostscript": Attack(watched_ghostscript, OTHER, 0),
    "BLP named .png": Attack(row_of("x.png", blp), OTHER, 0),
    "DICOM that unfolds from 1.2 MB to 1.2 GB": Attack(
        row_of("x.dcm", lambda: deflated_dicom(1200)), "set aside: the DICOM file unfolds to more than", 0
    ),
    "DICOM that unfolds to 500 MB": Attack(
        row_of("x.dcm", lambda: deflated_dicom(500)), "set aside: the DICOM file unfolds to more than", 0
    ),
    "DICOM, 60,000 x 60,000 px in its header": Attack(
        row_of("x.dcm", lambda: dicom("RGB", b"\0\0", Rows=60_000, Columns=60_000)), LARGE, 0
    ),
    "DICOM, 10,000 x 4 px": Attack(
        row_of("x.dcm", lambda: dicom("RGB", bytes(120_000), Rows=4, Columns=10_000)), "", 0, megabytes=1200
    ),
    "DICOM, 30,000 x 4 px": Attack(
        row_of("x.dcm", lambda: dicom("RGB", bytes(360_000), Rows=4, Columns=30_000)), LARGE, 0
    ),
    "DICOM of 2^31 frames": Attack(
        row_of("x.dcm", lambda: dicom("RGB", bytes(12_288), NumberOfFrames=2**31 - 1)), "has 2147483647 frames", 0
    ),
    "DICOM of 5,000 nested sequences": Attack(row_of("x.dcm", lambda: nested_dicom(5_000)), BROKEN, 0),
}  # fmt: skip


def _gray(**further) -> bytes:
    return dicom("MONOCHROME2", np.zeros((64, 64), np.uint8), **further)


ATTACKS |= {
    "DICOM with a slope of 1e300": Attack(
        row_of("x.dcm", lambda: _gray(RescaleSlope="1e300", RescaleIntercept="-1e300")), "", 0
    ),
    "DICOM of 255 samples a pixel": Attack(
        row_of("x.dcm", lambda: _gray(SamplesPerPixel=255)), BROKEN, 0
    ),
}  # fmt: skip
