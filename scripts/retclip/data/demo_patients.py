"""The demo's patients: who has what in which eye, how badly, and the files that say so."""

import multiprocessing
from pathlib import Path

import numpy as np
from PIL import Image

from retclip.core.files import write_csv
from retclip.core.logs import say
from retclip.data.demo_drawing import draw_fundus, draw_look
from retclip.data.demo_reports import eye_report, patient_report

# The public 16,000-image set's shares, its rarest class raised so that every split has some.
SHARES = {
    "Diabetic Retinopathy": 0.205,
    "Glaucoma": 0.17,
    "Healthy": 0.16,
    "Myopia": 0.135,
    "Macular Scar": 0.115,
    "Retinitis Pigmentosa": 0.05,
    "Disc Edema": 0.047,
    "Retinal Detachment": 0.046,
    "Central Serous Chorioretinopathy": 0.042,
    "Pterygium": 0.03,
}
FELLOW_SAME = 0.6  # share of patients whose two eyes have the same finding; else the fellow eye is healthy
PIXELS = 128
JPEG_QUALITY = 90


def make_patients(patients: int, seed: int, threads: int, manifest: Path, images: Path) -> None:
    """Draws `patients` patients into `images` and writes `manifest`."""
    import pandas as pd

    images.mkdir(parents=True, exist_ok=True)
    tasks = [(number, seed, images) for number in range(patients)]
    with multiprocessing.Pool(threads) as pool:
        rows = pool.starmap(_make_patient, tasks, chunksize=20)
    write_csv(manifest, pd.DataFrame(rows))
    say(f"{patients} patients drawn")


def _make_patient(number: int, seed: int, images: Path) -> dict[str, str]:
    generator = np.random.default_rng((seed, number))
    labels = _labels(generator)
    severity = generator.uniform(0.0, 1.0)
    look = draw_look(generator)
    name = f"demo{number:05d}"
    reports = {}
    for side, label in zip(("left", "right"), labels, strict=True):
        own = float(np.clip(severity + generator.normal(0, 0.15), 0, 1))
        picture = draw_fundus(label, own, side, generator, PIXELS, look=look)
        Image.fromarray(picture).save(images / f"{name}_{side}.jpg", quality=JPEG_QUALITY)
        reports[side] = eye_report(label, own, side, generator)
    return {
        "sample_id": name,
        "patient_id": name,
        "image_left": f"{name}_left.jpg",
        "image_right": f"{name}_right.jpg",
        "label_left": labels[0],
        "label_right": labels[1],
        "text": patient_report(reports["left"], reports["right"], labels, generator),
        "text_left": reports["left"],
        "text_right": reports["right"],
    }


def _labels(generator: np.random.Generator) -> tuple[str, str]:
    """The labels of the left and the right eye."""
    shares = np.array(list(SHARES.values()))
    label = str(generator.choice(list(SHARES), p=shares / shares.sum()))
    same, left_first = generator.random() < FELLOW_SAME, generator.random() < 0.5
    fellow = label if same else "Healthy"
    return (label, fellow) if left_first else (fellow, label)
