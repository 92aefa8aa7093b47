"""DICOM photographs in every form that cameras write: the colors that were drawn are the colors that are read."""

import io

import numpy as np
import pydicom
import pytest
from dicom_files import DRAWN, SIZE, dicom
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels import convert_color_space
from pydicom.sequence import Sequence
from pydicom.uid import (
    MPEG4HP41,
    DeflatedExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from retclip.data.images import load_fundus, read_fundus
from retclip.data.source import Source
from retclip.data.sources.registry import read_source

GRAY = DRAWN.astype(np.uint16).sum(2) // 3


def read(content: bytes) -> np.ndarray:
    """The image as a training run sees it, of its own size: neither cropped nor resampled."""
    return read_fundus(content, SIZE).pixels.astype(int)


def jpeg(array=DRAWN, **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "JPEG", quality=98, **options)
    return stream.getvalue()


def without_markers(content: bytes, adobe: int | None = None) -> bytes:
    """A JPEG file without its JFIF segment; adobe: the color transform that an Adobe segment declares instead."""
    assert content[2:4] == b"\xff\xe0"
    rest = content[4 + int.from_bytes(content[4:6], "big") :]
    segment = b"" if adobe is None else b"\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0" + bytes([adobe])
    return content[:2] + segment + rest


def subsampled(array: np.ndarray) -> bytes:
    """Uncompressed YBR_FULL_422: Y1 Y2 Cb Cr for each two pixels of a row."""
    ybr = convert_color_space(array, "RGB", "YBR_FULL").astype(np.uint16)
    chroma = (ybr[:, ::2, 1:] + ybr[:, 1::2, 1:]) // 2
    packed = np.concatenate([ybr[:, ::2, :1], ybr[:, 1::2, :1], chroma], axis=2)
    return packed.astype(np.uint8).tobytes()


def palette(entry_bits: int, index_bits: int = 8, entries: int = 256, first: int = 0, segmented: bool = False,
            declared: int | None = None) -> tuple[bytes, np.ndarray]:  # fmt: skip
    """A PALETTE COLOR file, and the colors [SIZE, SIZE, 3] that it stands for."""
    image = Image.fromarray(DRAWN).quantize(64)
    colors = np.array(image.getpalette() + [0] * 768)[:768].reshape(-1, 3)[:64]
    indices = np.asarray(image).astype(int) + entries - 64 + first  # those at the table's end
    tables = {}
    for k, name in enumerate(("Red", "Green", "Blue")):
        values = np.concatenate([np.zeros(entries - 64, int), colors[:, k]])
        values = values if entry_bits == 8 else values * 257
        kind = "u1" if entry_bits == 8 else "<u2"
        tables[f"{name}PaletteColorLookupTableDescriptor"] = [entries % 65536, first, declared or entry_bits]
        if segmented:
            coded = np.concatenate([[0, 1, 0, 1, entries - 65, 0, 0, 64], values[-64:]])
            tables[f"Segmented{name}PaletteColorLookupTableData"] = coded.astype(kind).tobytes()
        else:
            tables[f"{name}PaletteColorLookupTableData"] = values.astype(kind).tobytes()
    pixels = indices.astype("u1" if index_bits == 8 else "<u2").tobytes()
    return dicom("PALETTE COLOR", pixels, bits=index_bits, **tables), colors[np.asarray(image)]


def rle(interpretation: str) -> bytes:
    content = DRAWN if interpretation == "RGB" else convert_color_space(DRAWN, "RGB", "YBR_FULL")
    dataset = pydicom.dcmread(io.BytesIO(dicom(interpretation, content.tobytes())))
    dataset.compress(RLELossless, generate_instance_uid=False)
    stream = io.BytesIO()
    dataset.save_as(stream)
    return stream.getvalue()


def j2k(interpretation: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(DRAWN).save(stream, "JPEG2000", irreversible=False, mct=int(interpretation != "RGB"), no_jp2=True)
    return dicom(interpretation, [stream.getvalue()], JPEG2000Lossless)


YBR = convert_color_space(DRAWN, "RGB", "YBR_FULL")
# what is stored -> (file, the largest difference of a gray level from what was drawn)
COLOURS = {
    "RGB": (lambda: dicom("RGB", DRAWN.tobytes()), 0),
    "RGB in planes": (lambda: dicom("RGB", DRAWN.transpose(2, 0, 1).tobytes(), PlanarConfiguration=1), 0),
    "RGB, implicit VR": (lambda: dicom("RGB", DRAWN.tobytes(), ImplicitVRLittleEndian), 0),
    "RGB, deflated": (lambda: dicom("RGB", DRAWN.tobytes(), DeflatedExplicitVRLittleEndian), 0),
    "RGB of 12 bits": (lambda: dicom("RGB", (DRAWN.astype(int) * 4095 // 255).astype("<u2").tobytes(), bits=12), 1),
    "YBR_FULL": (lambda: dicom("YBR_FULL", YBR.tobytes()), 2),
    "YBR_FULL in planes": (lambda: dicom("YBR_FULL", YBR.transpose(2, 0, 1).tobytes(), PlanarConfiguration=1), 2),
    "YBR_FULL_422": (lambda: dicom("YBR_FULL_422", subsampled(DRAWN)), 40),
    "RLE, RGB": (lambda: rle("RGB"), 0),
    "RLE, YBR_FULL": (lambda: rle("YBR_FULL"), 2),
    "JPEG 2000, RGB": (lambda: j2k("RGB"), 0),
    "JPEG 2000, YBR_RCT": (lambda: j2k("YBR_RCT"), 0),
    "JPEG, YBR_FULL_422": (lambda: dicom("YBR_FULL_422", [jpeg(subsampling=1)], JPEGBaseline8Bit), 40),
    "JPEG, YBR_FULL_422, 4:4:4": (lambda: dicom("YBR_FULL_422", [jpeg(subsampling=0)], JPEGBaseline8Bit), 8),
    "JPEG, YBR_FULL": (lambda: dicom("YBR_FULL", [jpeg(subsampling=0)], JPEGBaseline8Bit), 8),
    "JPEG called RGB that JFIF denies": (lambda: dicom("RGB", [jpeg(subsampling=0)], JPEGBaseline8Bit), 8),
    "JPEG of RGB": (lambda: dicom("RGB", [jpeg(subsampling=0, keep_rgb=True)], JPEGBaseline8Bit), 8),
    "JPEG without markers": (
        lambda: dicom("YBR_FULL_422", [without_markers(jpeg(subsampling=0))], JPEGBaseline8Bit), 8),
    "JPEG with Adobe's marker": (
        lambda: dicom("YBR_FULL_422", [without_markers(jpeg(subsampling=0), adobe=1)], JPEGBaseline8Bit), 8),
    "JPEG called RGB with Adobe's marker": (
        lambda: dicom("RGB", [without_markers(jpeg(subsampling=0), adobe=1)], JPEGBaseline8Bit), 8),
}  # fmt: skip


@pytest.mark.parametrize("form", COLOURS)
def test_colors_of_a_dicom_file_are_those_that_were_drawn(form):
    make, most = COLOURS[form]
    apart = np.abs(read(make()) - DRAWN)
    assert apart.max() <= most
    assert apart.mean() <= min(most, 4) / 4 + 0.01 * (most > 0)


@pytest.mark.parametrize(
    "form",
    [
        {"entry_bits": 8},
        {"entry_bits": 16},
        {"entry_bits": 16, "first": 5, "entries": 128},
        {"entry_bits": 16, "index_bits": 16, "entries": 1024},
        {"entry_bits": 8, "index_bits": 16, "entries": 1024},
        {"entry_bits": 16, "index_bits": 16, "entries": 65536},
        {"entry_bits": 8, "declared": 16, "entries": 256},
        {"entry_bits": 8, "segmented": True},
        {"entry_bits": 16, "segmented": True, "index_bits": 16, "entries": 1024},
    ],
    ids=str,
)
def test_palette_color_is_shown_in_its_colors(form):
    content, colors = palette(**form)
    assert np.array_equal(read(content), colors)


def test_a_16_bit_palette_of_small_values_is_one_of_8_bits():
    """Some writers declare 16 bits and store 0 to 255 in them: read by the standard, the image would be black."""
    image = Image.fromarray(DRAWN).quantize(256)
    colors = np.array(image.getpalette() + [0] * 768)[:768].reshape(-1, 3)
    tables = {}
    for k, name in enumerate(("Red", "Green", "Blue")):
        tables[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        tables[f"{name}PaletteColorLookupTableData"] = colors[:, k].astype("<u2").tobytes()
    content = dicom("PALETTE COLOR", np.asarray(image).tobytes(), **tables)
    assert np.array_equal(read(content), colors[np.asarray(image)])


def test_gray_images_of_any_depth_and_sense():
    twelve = (GRAY * 4095 // 255).astype("<u2")
    forms = {
        "8 bits": dicom("MONOCHROME2", GRAY.astype(np.uint8)),
        "12 bits": dicom("MONOCHROME2", twelve, bits=12),
        "inverted": dicom("MONOCHROME1", 4095 - twelve, bits=12),
        "signed": dicom("MONOCHROME2", (twelve.astype("<i2") - 2048) & 4095, bits=12, PixelRepresentation=1),
        "rescaled": dicom("MONOCHROME2", twelve, bits=12, RescaleSlope=2, RescaleIntercept=-1024),
    }
    for form, content in forms.items():
        found = read(content)
        assert np.abs(found - GRAY[:, :, None]).max() <= 1, form


def test_a_window_of_a_gray_image_is_obeyed():
    """Brightness as the camera's maker wants it shown: 500 to 1500 of 4095 from black to white."""
    stored = (500 + GRAY.astype(int) * 1000 // 255).astype("<u2")
    window = {"WindowCenter": 1000.5, "WindowWidth": 1001}
    assert np.abs(read(dicom("MONOCHROME2", stored, bits=12, **window)) - GRAY[:, :, None]).max() <= 1
    several = {"WindowCenter": [1000.5, 10], "WindowWidth": [1001, 20]}
    assert np.abs(read(dicom("MONOCHROME2", stored, bits=12, **several)) - GRAY[:, :, None]).max() <= 1
    inverted = read(dicom("MONOCHROME1", stored, bits=12, **window))
    assert np.abs(255 - inverted - GRAY[:, :, None]).max() <= 1
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [256, 0, 8], (255 - np.arange(256)).astype("<u2").tobytes()
    table["LUTData"].VR = "OW"
    looked_up = read(dicom("MONOCHROME2", GRAY.astype(np.uint8), VOILUTSequence=Sequence([table])))
    assert np.abs(255 - looked_up - GRAY[:, :, None]).max() <= 1
    no_window = {"WindowCenter": 0, "WindowWidth": 0}
    assert np.abs(read(dicom("MONOCHROME2", GRAY.astype(np.uint8), **no_window)) - GRAY[:, :, None]).max() == 0


@pytest.mark.parametrize(
    ("syntax", "package"),
    [(JPEGLSLossless, "pyjpegls"), (JPEGLosslessSV1, "pylibjpeg-libjpeg"), (HTJ2KLossless, "pylibjpeg-openjpeg")],
)
def test_a_missing_decoder_is_named_with_its_package(syntax, package):
    if pydicom.pixels.get_decoder(syntax).is_available:
        pytest.skip("this environment has the decoder")
    with pytest.raises(ValueError, match=f"{syntax.name.split(' ')[0]}.*install .*{package}") as raised:
        read(dicom("RGB", [b"\xff\xd8\xff\xf7 no image \xff\xd9"], syntax))
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 200


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda: dicom("RGB", np.stack([DRAWN, DRAWN]).tobytes(), NumberOfFrames=2), "2 frames"),
        (lambda: dicom("YBR_PARTIAL_420", DRAWN.tobytes()), "YBR_PARTIAL_420"),
        (lambda: dicom("RGB", [b"film"], MPEG4HP41), "MPEG-4"),
        (lambda: dicom("RGB", DRAWN.tobytes()[:-500]), "cannot be read"),
        (lambda: dicom("PALETTE COLOR", GRAY.astype(np.uint8)), "palette"),
        (lambda: dicom("RGB", DRAWN.tobytes(), Rows=20_000, Columns=20_000), "too large"),
        (lambda: dicom("RGB", DRAWN.tobytes())[:200], "DICOM file"),
    ],
)
def test_what_is_no_photograph_is_refused_in_a_sentence(content, said):
    with pytest.raises(ValueError, match=said) as raised:
        read(content())
    assert "\n" not in str(raised.value)
    assert "Doe" not in str(raised.value)


def test_the_eye_of_a_dicom_file_without_an_ending(tmp_path):
    for name, side in (("1.2.276.0.75.1", "L"), ("1.2.276.0.75.2", "R"), ("scan.dcm", "R"), ("both", "B")):
        (tmp_path / name).write_bytes(dicom("RGB", DRAWN.tobytes(), ImageLaterality=side))
    (tmp_path / "series").write_bytes(dicom("RGB", DRAWN.tobytes(), Laterality="L"))
    Image.fromarray(DRAWN).save(tmp_path / "plain.png")
    names = ["1.2.276.0.75.1", "1.2.276.0.75.2", "scan.dcm", "both", "series", "plain.png"]
    rows = [f"P{i},{name},a" for i, name in enumerate(names)]
    (tmp_path / "table.csv").write_text("\n".join(["patient_id,image,label", *rows]) + "\n")
    frame, problems = read_source(Source("manifest", tmp_path / "table.csv", tmp_path))
    assert not problems
    assert frame["eyes"].tolist() == ["left", "right", "right", "unknown", "left", "unknown"]
    assert np.array_equal(load_fundus(tmp_path / "1.2.276.0.75.1", SIZE), DRAWN)


def test_a_table_that_names_the_other_eye_than_the_dicom_file_is_told_so(tmp_path):
    (tmp_path / "a").write_bytes(dicom("RGB", DRAWN.tobytes(), ImageLaterality="R"))
    (tmp_path / "b").write_bytes(dicom("RGB", DRAWN.tobytes(), ImageLaterality="R"))
    (tmp_path / "eyes.csv").write_text("patient_id,image,eye,label\nP1,a,left,x\nP2,b,right,x\n")
    frame, problems = read_source(Source("manifest", tmp_path / "eyes.csv", tmp_path))
    assert problems == [{"row": 2, "reason": "the table says left eye, the DICOM file right", "table": ""}]
    assert frame["patient_id"].tolist() == ["P2"]
    (tmp_path / "7_left.dcm").write_bytes((tmp_path / "a").read_bytes())
    (tmp_path / "7_right.dcm").write_bytes((tmp_path / "a").read_bytes())
    (tmp_path / "odir.csv").write_text("patient_id,left_keywords,right_keywords\n7,normal fundus,normal fundus\n")
    (tmp_path / "classes.yaml").write_text("Healthy: [normal fundus]\n")
    odir = Source("odir", tmp_path / "odir.csv", tmp_path, image_pattern="{patient_id}_{eye}.dcm",
                  class_map=tmp_path / "classes.yaml")  # fmt: skip
    with pytest.raises(ValueError, match="Line 2: the table says left eye, the DICOM file right"):
        read_source(odir)
    (tmp_path / "prompts.csv").write_text("dataset_index,label,prompt\n7,x,A fundus.\n")
    found = Source("prompts", tmp_path / "prompts.csv", tmp_path, patient_id="none",
                   image_pattern="{dataset_index}_left.dcm")  # fmt: skip
    assert read_source(found)[0]["eyes"].tolist() == ["right"]
    (tmp_path / "patients.csv").write_text("patient_id,image_left,image_right,label\nP1,a,b,x\nP2,,b,x\n")
    frame, problems = read_source(Source("manifest", tmp_path / "patients.csv", tmp_path))
    assert problems == [{"row": 2, "reason": "the table says left eye, the DICOM file right", "table": ""}]
