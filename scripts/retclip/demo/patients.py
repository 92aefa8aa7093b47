"""Invents the demo's patients: which disease, how severe, in which eye; and their images and reports."""

from pathlib import Path

import numpy as np
from PIL import Image

from retclip.demo.drawing import QUADRANTS, draw_appearance, draw_fundus
from retclip.demo.reports import Finding, eye_report, patient_report

IMAGE_SIZE = 192  # pixels; the retina fills about 175 of them, and the demo's image encoder sees 64
JPEG_QUALITY = 90

# Shares of the public 16,000-image set, pterygium (.006) raised so that every split has some; and how often the fellow
# eye of an affected eye has the same disease (it is healthy otherwise).
CLASSES = {
    "Diabetic Retinopathy": (0.212, 0.80),
    "Glaucoma": (0.177, 0.75),
    "Healthy": (0.165, 1.00),
    "Myopia": (0.139, 0.90),
    "Macular Scar": (0.119, 0.35),
    "Retinitis Pigmentosa": (0.051, 1.00),
    "Disc Edema": (0.047, 0.60),
    "Retinal Detachment": (0.046, 0.15),
    "Central Serous Chorioretinopathy": (0.038, 0.25),
    "Pterygium": (0.015, 0.50),
}
# Patients in the first blocks of ten have each class once per block: at least 12 patients of every class, in any run
# of 120 patients or more.
BALANCED_BLOCKS = 12
# From mild to severe; below this, the signs of some diseases are less than a pixel wide in the encoder's 64 px.
SEVERITY = (0.3, 1.0)


def invent_patient(seed: int, index: int) -> tuple[Finding, Finding]:
    """What the (left, right) eye of patient `index` shows; a function of the two arguments alone."""
    generator = _generator(seed, index, 0)
    label = _label(seed, index, generator)
    first = Finding(label, generator.uniform(*SEVERITY), _quadrant(generator))
    if generator.random() < CLASSES[label][1]:
        # the fellow eye is about as bad; which quadrant is another matter
        severity = float(np.clip(first.severity + generator.normal(0, 0.15), *SEVERITY))
        second = Finding(label, severity, _quadrant(generator))
    else:
        second = Finding("Healthy", 0.0, _quadrant(generator))
    return (first, second) if generator.random() < 0.5 else (second, first)


def make_patient(seed: int, index: int, folder: Path) -> dict[str, str]:
    """Draws both eyes of a patient into `folder` and returns the row of the manifest."""
    left, right = invent_patient(seed, index)
    name = f"demo{index:05d}"
    appearance = draw_appearance(_generator(seed, index, 1))
    for stream, (side, eye) in enumerate({"left": left, "right": right}.items(), start=2):
        generator = _generator(seed, index, stream)
        image = draw_fundus(
            eye.label, eye.severity, side, generator, IMAGE_SIZE, quadrant=eye.quadrant, appearance=appearance
        )
        Image.fromarray(image).save(folder / f"{name}_{side}.jpg", quality=JPEG_QUALITY)
    words = _generator(seed, index, 4)
    return {
        "sample_id": name,
        "patient_id": name,
        "image_left": f"{name}_left.jpg",
        "image_right": f"{name}_right.jpg",
        "label_left": left.label,
        "label_right": right.label,
        "text": patient_report(left, right, words),
        "text_left": eye_report(left, "left", words),
        "text_right": eye_report(right, "right", words),
    }


def _generator(seed: int, index: int, stream: int) -> np.random.Generator:
    """A stream of its own for each thing drawn, so that a longer report does not change an image."""
    return np.random.default_rng((seed, index, stream))


def _label(seed: int, index: int, generator: np.random.Generator) -> str:
    labels = list(CLASSES)
    block, place = divmod(index, len(labels))
    if block < BALANCED_BLOCKS:
        return labels[np.random.default_rng((seed, block)).permutation(len(labels))[place]]
    shares = np.array([share for share, _ in CLASSES.values()])
    return labels[generator.choice(len(labels), p=shares / shares.sum())]


def _quadrant(generator: np.random.Generator) -> str:
    return list(QUADRANTS)[generator.integers(len(QUADRANTS))]
