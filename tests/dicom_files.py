"""DICOM files for tests, of an image whose every channel is different."""

import io

import numpy as np
import pydicom
from PIL import Image, ImageFilter
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian

SIZE = 64
OPHTHALMIC_PHOTOGRAPH = UID("1.2.840.10008.5.1.4.1.1.77.1.5.1")


def drawn() -> np.ndarray:
    """uint8 [SIZE, SIZE, 3]: an orange disc with a bright spot and dark vessels, lit up to the border; no two
    channels alike, so that swapped, planar or twice converted colors show."""
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    image = np.stack([170 + 60 * x, 80 + 40 * y, 30 + 25 * x * y], axis=2)
    image[(x - 0.7) ** 2 + (y - 0.5) ** 2 < 0.01] = (250, 220, 140)
    image[abs(y - 0.3 - 0.2 * x) < 0.03] = (90, 20, 14)
    return np.asarray(Image.fromarray(image.astype(np.uint8)).filter(ImageFilter.GaussianBlur(1)))


DRAWN = drawn()


def dicom(interpretation: str, content, syntax=ExplicitVRLittleEndian, bits=8, **further) -> bytes:
    """A DICOM file. content: bytes of the pixels, frames to encapsulate as a list, or an array of native pixels."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = OPHTHALMIC_PHOTOGRAPH, UID("1.2.3")
    meta.TransferSyntaxUID = syntax
    dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.PatientName = OPHTHALMIC_PHOTOGRAPH, UID("1.2.3"), "Doe^Jane"
    dataset.Rows = dataset.Columns = SIZE
    dataset.SamplesPerPixel = 1 if interpretation.startswith(("MONO", "PALETTE")) else 3
    if dataset.SamplesPerPixel == 3:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation, dataset.PixelRepresentation = interpretation, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8 * (1 + (bits > 8)), bits, bits - 1
    for name, value in further.items():
        setattr(dataset, name, value)
    dataset.PixelData = encapsulate(content) if isinstance(content, list) else bytes(content)
    if isinstance(content, list):
        dataset["PixelData"].is_undefined_length = True
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()
