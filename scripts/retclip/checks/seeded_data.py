"""A small data set of seeded random images and reports, in the files that training reads."""

from pathlib import Path
from typing import Any

import numpy as np

from retclip.core.io import file_sha256, write_json, write_parquet
from retclip.data.store import write_store

CLASSES = ["normal", "drusen"]
CLASS_PROMPTS = {"normal": ["a normal fundus", "no sign of disease"], "drusen": ["drusen at the macula"]}
WORDS = {
    "normal": ["normal", "disc", "macula", "vessel", "healthy", "clear", "sharp", "regular", "foveal", "reflex"],
    "drusen": ["drusen", "soft", "confluent", "yellow", "deposits", "macula", "pigment", "change", "atrophy", "large"],
}
# of a report, in words: about 47 tokens on average, as measured on prompts of a public data set
MEAN_WORDS, SD_WORDS = 30, 12


def write_data(folder: Path, image_size: int, samples: dict[str, int], seed: int = 0) -> dict[str, Any]:
    """Writes samples_{split}.parquet, {split}.lmdb and fingerprint.json; returns what the last one holds.

    samples: split -> patients, each with both eyes. An image's brightness and a report's words follow its class.
    """
    import pandas as pd

    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    splits = {}
    for split, count in samples.items():
        labels = [CLASSES[i % len(CLASSES)] for i in range(count)]
        frame = pd.DataFrame({"sample_id": [f"{split}{i}" for i in range(count)], "split": split, "eyes": "both"})
        frame["patient_id"] = frame["sample_id"]
        frame["label"] = frame["label_left"] = frame["label_right"] = labels
        frame["text"] = frame["text_left"] = frame["text_right"] = [_report(label, generator) for label in labels]
        write_parquet(folder / f"samples_{split}.parquet", frame)
        images = (
            (f"{sample}/{side}", _image(label, image_size, generator))
            for sample, label in zip(frame["sample_id"], labels, strict=True)
            for side in ("left", "right")
        )
        store = folder / f"{split}.lmdb"
        write_store(store, images, 2 * count, image_size, "raw")
        splits[split] = {"samples": count, "patients": count, "lmdb_bytes": store.stat().st_size,
                         "sha256": file_sha256(store), "eyes": {"left": count, "right": count},
                         "per_class": {name: labels.count(name) for name in CLASSES}}  # fmt: skip
    document = {"splits": splits, "classes": CLASSES, "label_level": "eye", "text_level": "eye",
                "texts_from_labels": False, "image_encoding": "raw", "sha256": "0" * 64}  # fmt: skip
    write_json(folder / "fingerprint.json", document)
    return document


def _report(label: str, generator: np.random.Generator) -> str:
    length = int(np.clip(generator.normal(MEAN_WORDS, SD_WORDS), 4, 2 * MEAN_WORDS))
    return " ".join(generator.choice(WORDS[label], length))


def _image(label: str, size: int, generator: np.random.Generator) -> bytes:
    darkest = 100 if label == "drusen" else 0
    return generator.integers(darkest, darkest + 156, (size, size, 3), dtype=np.uint8).tobytes()
