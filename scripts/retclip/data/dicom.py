"""DICOM photographs: one frame of any form as 8-bit RGB, and the eye that the header names."""

import io
import os
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image

from retclip.core.bounded import open_plain

if TYPE_CHECKING:
    from pydicom import Dataset

MARK_AT, MARK = 128, b"DICM"
SIDES = {"L": "left", "R": "right"}
PALETTES = ("Red", "Green", "Blue")
# Decoders that are no part of the environment, by how the name of the compression begins.
PACKAGES = {"JPEG-LS": "pyjpegls", "JPEG 2000": "pylibjpeg-openjpeg", "High-Throughput": "pylibjpeg-openjpeg"}
OTHER_PACKAGE = "pylibjpeg-libjpeg"
DEFLATED = b"1.2.840.10008.1.2.1.99"
# The header of a file's meta information ends here; its length stands in its last four bytes.
META_AT = 144
# Of a deflated file: pydicom keeps it twice. Photographs have 60 MB at most, and a generous header.
MOST_BYTES = 200 << 20
CHUNK = 1 << 20
ROWS_AT_ONCE = 64
# Of 8 bits, these colors are those of the image already, or become them in its decoder.
SHALLOW = ("RGB", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")


def is_dicom(content: bytes) -> bool:
    """Whether a file that begins so is DICOM, whatever its name; the first 132 bytes are enough."""
    return content[MARK_AT : MARK_AT + len(MARK)] == MARK


def is_dicom_file(path: str | os.PathLike[str]) -> bool:
    """The same of a regular file; False for what cannot be read."""
    try:
        stream = open_plain(path)
        if stream is None:
            return False
        with stream:
            return is_dicom(stream.read(MARK_AT + len(MARK)))
    except (OSError, ValueError):
        return False


def laterality(path: str | os.PathLike[str]) -> str | None:
    """left or right where a DICOM file says so; None for every other file. Nothing else of its header is kept."""
    image, series = _header(path, "ImageLaterality", "Laterality")
    return SIDES.get(image or series)


def study_of(path: str | os.PathLike[str]) -> tuple[str, str] | None:
    """Patient and study of a DICOM file, which photographs of one visit share; None where its header lacks one."""
    patient, study = _header(path, "PatientID", "StudyInstanceUID")
    return (patient, study) if patient and study else None


def _header(path: str | os.PathLike[str], *tags: str) -> list[str]:
    """What the header has in these tags; "" where it lacks one, and of what is no DICOM file."""
    nothing = [""] * len(tags)
    if not is_dicom_file(path):
        return nothing
    import pydicom

    try:
        with open(path, "rb") as stream:
            _refuse_inflation(stream)
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(tags))
        return [str(header.get(tag) or "").strip() for tag in tags]
    except Exception:  # a broken header raises nearly anything; reading the image says what is wrong with it
        return nothing


def eye_of_image(path: str | os.PathLike[str], stated: str | None, who: str) -> str:
    """left or right as `who` (the table, the name) says, else as the DICOM header does; unknown where neither does.

    Raises ValueError where the header names the other eye.
    """
    recorded = laterality(path)
    if stated and recorded and stated != recorded:
        raise ValueError(f"the {who} says {stated} eye, the DICOM file {recorded}")
    return stated or recorded or "unknown"


def read_dicom(content: bytes, most_pixels: int, most_deep_pixels: int) -> Image.Image:
    """The photograph in 8-bit RGB, its own depth scaled, palettes and windows applied.

    most_deep_pixels: of what has more than 8 bits or a palette. Raises ValueError with the reason where it has more
    pixels, several frames, colors or a compression that are not
    known, or is damaged.
    """
    import pydicom

    _refuse_inflation(io.BytesIO(content))
    try:
        dataset = pydicom.dcmread(io.BytesIO(content))
        width, height, frames = int(dataset.Columns), int(dataset.Rows), int(dataset.get("NumberOfFrames") or 1)
        syntax = dataset.file_meta.TransferSyntaxUID
        stored, has_pixels = int(dataset.get("BitsStored") or 0), bool(dataset.get("PixelData"))
        most = most_deep_pixels if _is_deep(dataset) else most_pixels
    except Exception as error:  # a broken header raises nearly anything
        raise ValueError(_broken(error)) from None
    if width * height > most:
        raise ValueError(
            f"the image has {width} x {height} pixels, which is too large; scale it to {most // 10**6} megapixels"
        )
    if frames > 1:
        raise ValueError(f"the DICOM file has {frames} frames; extract the photograph from it")
    try:
        decoder = pydicom.pixels.get_decoder(syntax)
    except NotImplementedError:
        raise ValueError(f"the DICOM file is compressed as {syntax.name}, which is not read") from None
    if not decoder.is_available:
        raise ValueError(
            f"the DICOM file is compressed as {syntax.name}; to read it, pip install {_package_for(syntax.name)}"
        )
    if not has_pixels:
        raise ValueError("the DICOM file has no pixels")
    try:
        _refuse_other_size(dataset)
        pixels, found = _decoded(decoder, dataset)
        return Image.fromarray(_eight_bits(pixels, found, dataset)).convert("RGB")
    except Exception as error:  # each decoder has errors of its own
        if syntax.is_encapsulated and stored > 8 and "RLE" not in syntax.name:
            bits = f"{stored} bits, compressed as {syntax.name}"
            raise ValueError(
                f"the DICOM file has {bits}; to read it, pip install {_package_for(syntax.name)}"
            ) from None
        raise ValueError(_broken(error)) from None


def _is_deep(dataset: "Dataset") -> bool:
    return dataset.get("BitsAllocated") != 8 or not str(dataset.get("PhotometricInterpretation")).startswith(SHALLOW)


def _package_for(compression: str) -> str:
    """The package that decodes a compression which this environment cannot decode."""
    return next((name for start, name in PACKAGES.items() if compression.startswith(start)), OTHER_PACKAGE)


def _broken(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines()] or [""]
    # pydicom's first line says only that all decoders failed
    reason = lines[1] if lines[0].endswith(":") and len(lines) > 1 else lines[0]
    reason = reason.split(" <_io")[0][:80] or type(error).__name__
    return f"the DICOM file cannot be read ({reason})"


def _refuse_inflation(stream: BinaryIO) -> None:
    """Raises ValueError where a deflated file unfolds to more than MOST_BYTES; what is unfolded is not kept."""
    head = stream.read(META_AT)
    length = int.from_bytes(head[-4:], "little")
    if length > CHUNK or DEFLATED not in stream.read(length):
        return
    unfolded, unpacker = 0, zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        while packed := unpacker.unconsumed_tail or stream.read(CHUNK):
            unfolded += len(unpacker.decompress(packed, CHUNK))
            if unfolded > MOST_BYTES:
                raise ValueError(f"the DICOM file unfolds to more than {MOST_BYTES >> 20} MB, which is too large")
    except zlib.error:
        return  # pydicom says so


def _refuse_other_size(dataset: "Dataset") -> None:
    """Raises ValueError where a JPEG or JPEG 2000 file within has another size than the header, which was checked."""
    from pydicom.encaps import get_frame

    if not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return
    try:
        with Image.open(io.BytesIO(get_frame(dataset.PixelData, 0, number_of_frames=1))) as image:
            width, height = image.size
    except OSError:
        return  # of another compression, or broken, as its decoder says
    if (width, height) != (dataset.Columns, dataset.Rows):
        raise ValueError(
            f"its image has {width} x {height} pixels, but its header says {dataset.Columns} x {dataset.Rows}"
        )


def _decoded(decoder: Any, dataset: "Dataset") -> tuple[np.ndarray, dict[str, Any]]:
    """The only frame [rows, columns(, 3)], and what pydicom says of it: YBR_FULL has become RGB, and it says so."""
    from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit

    if decoder.UID not in (JPEGBaseline8Bit, JPEGExtended12Bit) or dataset.BitsStored != 8:
        return decoder.as_array(dataset, index=0)
    # Where Adobe's marker says that it is YCbCr, Pillow converts already, which pydicom does not notice.
    if dataset.SamplesPerPixel == 3 and _adobe_transform(dataset) == 1:
        pixels, found = decoder.as_array(dataset, index=0, raw=True, decoding_plugin="pillow")
        return pixels, {**found, "photometric_interpretation": "RGB"}
    return decoder.as_array(dataset, index=0, decoding_plugin="pillow")


def _adobe_transform(dataset: "Dataset") -> int | None:
    """The color transform that the JPEG names in a marker of Adobe's; None where it has none."""
    from pydicom.encaps import get_frame

    with Image.open(io.BytesIO(get_frame(dataset.PixelData, 0, number_of_frames=1))) as image:
        return image.info.get("adobe_transform")


def _eight_bits(pixels: np.ndarray, found: dict[str, Any], dataset: "Dataset") -> np.ndarray:
    """uint8 [rows, columns(, 3)] of decoded pixels. found: their properties, as the decoder leaves them."""
    kind, bits = str(found["photometric_interpretation"]), int(found["bits_stored"])
    if kind == "RGB" and (bits == 8 or not str(dataset.PhotometricInterpretation).startswith("YBR")):
        return _scaled(pixels, 0, 2**bits - 1)
    if kind == "PALETTE COLOR":
        return _looked_up(pixels, dataset)
    if kind in ("MONOCHROME1", "MONOCHROME2"):
        shown = _shown_gray(pixels, bits, dataset)
        return 255 - shown if kind == "MONOCHROME1" else shown
    raise ValueError(f"colors of the kind {kind} with {bits} bits are not known")


def _scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """low becomes 0, high 255."""
    if (low, high) == (0, 255) and values.dtype == np.uint8:
        return values
    scaled = np.empty(values.shape, np.uint8)
    for at in range(0, len(values), ROWS_AT_ONCE):  # eight bytes a value are too many for all at once
        rows = slice(at, at + ROWS_AT_ONCE)
        scaled[rows] = np.rint((values[rows].astype(np.float64) - low) * (255 / (high - low))).clip(0, 255)
    return scaled


def _looked_up(indices: np.ndarray, dataset: "Dataset") -> np.ndarray:
    """The colors [rows, columns, 3] of a palette's indices. Source: DICOM PS3.3, C.7.6.3.1.5 and C.7.9.2."""
    if "RedPaletteColorLookupTableDescriptor" not in dataset:
        raise ValueError("its palette is missing")
    entries, first, _ = dataset.RedPaletteColorLookupTableDescriptor
    entries = entries or 2**16
    if "RedPaletteColorLookupTableData" in dataset:
        table = np.stack([_palette(dataset, name, entries) for name in PALETTES], axis=1)
    else:
        from pydicom.pixels import apply_color_lut

        # by its own indices, one after the other, so that pydicom unfolds the segments
        table = apply_color_lut(np.arange(first, first + entries), dataset)[:, :3]
    # Some writers declare 16 bits for entries of 8, so that the values decide, not the descriptor.
    table = _scaled(table, 0, 255 if table.max() < 256 else 65535)
    return table[(indices.astype(np.int64) - first).clip(0, entries - 1)]


def _palette(dataset: "Dataset", name: str, entries: int) -> np.ndarray:
    """One channel of a palette [entries]. Its data may have a byte more, since DICOM's values have even lengths."""
    content = dataset[f"{name}PaletteColorLookupTableData"].value
    _, little_endian = dataset.original_encoding
    kind = "u1" if len(content) < 2 * entries else "<u2" if little_endian else ">u2"
    return np.frombuffer(content, kind)[:entries]


def _shown_gray(pixels: np.ndarray, bits: int, dataset: "Dataset") -> np.ndarray:
    """Gray values as the file wants them shown: by its modality table and its first window, where it has them."""
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    signed = int(dataset.PixelRepresentation) == 1
    ends = np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if signed else [0, 2**bits - 1])
    if dataset.get("ModalityLUTSequence"):
        ends = np.array([0, 2 ** dataset.ModalityLUTSequence[0].LUTDescriptor[2] - 1])
    else:
        ends = apply_modality_lut(ends, dataset)
    values = apply_modality_lut(pixels, dataset)
    if dataset.get("VOILUTSequence"):
        ends = np.array([0, 2 ** dataset.VOILUTSequence[0].LUTDescriptor[2] - 1])
        values = apply_voi_lut(values, dataset)
    elif _has_window(dataset):
        values = apply_voi_lut(values, dataset)
    return _scaled(values, float(ends.min()), float(ends.max()))


def _has_window(dataset: "Dataset") -> bool:
    """Whether the first window is one: a width of 0, which some writers leave, shows nothing."""
    from pydicom.multival import MultiValue

    width = dataset.get("WindowWidth")
    first = width[0] if isinstance(width, MultiValue) and width else width
    return dataset.get("WindowCenter") is not None and first is not None and float(first) >= 1
