"""The loader beside a stand-in of upstream's, per core: batches of two eyes, from stores on disk to the tower's input.

Upstream's store and transforms are written from its code: LMDB `imgs` with pickles of both eyes' image files in
URL-safe base64, decoded by PIL one sample at a time; resize, to float, normalise; its training transforms are timm's
`create_transform` with AutoAugment "original", as in Chinese-CLIP, which RET-CLIP was made from.
"""

import base64
import io
import json
import pickle
from pathlib import Path

import lmdb
import numpy as np
import pandas as pd
import torch
from figures import Figure, in_turn, speed_up
from PIL import Image, ImageFilter

PATIENTS = 48
BATCH = 16
SIDE, SIZE = 1200, 224
ROUNDS = 5
REPEATS = 8  # of our passes a round: one is too short to be timed
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def measure(folder: Path) -> list[Figure]:
    """Samples a second, at full-resolution files and at files of 224 px."""
    from retclip.core.preprocessing import CLIP
    from retclip.loading.augmentation import to_model_input

    pictures = _photographs()
    split = _our_split(folder, pictures)
    orders = [np.arange(start, start + BATCH) for start in range(0, PATIENTS, BATCH)]
    device = torch.device("cpu")

    def ours(augment: bool | None) -> None:
        """augment None: uint8 batches, as a GPU gets them; else what the tower reads, made on this core."""
        for _ in range(REPEATS):
            for indices in orders:
                batch = split.batch(indices, device)
                if augment is not None:
                    to_model_input(batch["images"], augment, CLIP)

    large = _upstream_store(folder / "large", pictures)
    small = _upstream_store(folder / "small", [picture.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
                                               for picture in pictures])  # fmt: skip
    plain, augmenting = _upstream_transforms()
    part = range(0, PATIENTS, 4)
    ours(True)
    seconds = in_turn(
        {
            "bytes": lambda: ours(None),
            "plain": lambda: ours(False),
            "augmented": lambda: ours(True),
            "large": lambda: _upstream_pass(large, plain, part),
            "small": lambda: _upstream_pass(small, plain, range(PATIENTS)),
            "small augmented": lambda: _upstream_pass(small, augmenting, range(PATIENTS)),
        },
        ROUNDS,
    )
    own, few, all_ = REPEATS * PATIENTS, len(part), PATIENTS

    def compare(name: str, ours: str, theirs: str, goal: str | None, count: int) -> Figure:
        return speed_up(name, seconds[ours], seconds[theirs], goal, (own, count))

    return [
        compare(f"loader: uint8 batches, {SIDE} px files", "bytes", "large", ">= 60", few),
        compare(f"loader: uint8 batches, {SIZE} px files", "bytes", "small", ">= 10", all_),
        compare(f"loader: uint8 batches, {SIZE} px files, augmenting", "bytes", "small augmented", ">= 10", all_),
        compare(f"loader: and normalised on this core, {SIDE} px files", "plain", "large", None, few),
        compare(f"loader: and normalised on this core, {SIZE} px files", "plain", "small", None, all_),
        compare(f"loader: and augmented on this core, {SIZE} px files", "augmented", "small augmented", None, all_),
    ]


def _photographs() -> list[Image.Image]:
    """A disc of soft noise for both eyes of each patient, with about the detail of a photograph."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    disc = (np.hypot(x - SIDE / 2, y - SIDE / 2) < SIDE * 0.48)[..., None]
    noise = Image.fromarray(generator.integers(60, 200, (SIDE, SIDE, 3), dtype=np.uint8))
    pixels = np.asarray(noise.filter(ImageFilter.GaussianBlur(2)))
    return [Image.fromarray(np.roll(pixels, 9 * index, 0) * disc) for index in range(2 * PATIENTS)]


def _our_split(folder: Path, pictures: list[Image.Image]):
    from retclip.data.store import write_store
    from retclip.loading.dataset import Split

    folder.mkdir(exist_ok=True)
    names = [f"P{index}" for index in range(PATIENTS)]
    frame = pd.DataFrame({"sample_id": names, "patient_id": names, "eyes": "both", "text": "1 2 3", "label": "x"})
    for column in ("text_left", "text_right", "label_left", "label_right"):
        frame[column] = frame["text" if column.startswith("text") else "label"]
    frame.to_parquet(folder / "samples_train.parquet")
    shown = (np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.BICUBIC)).tobytes() for picture in pictures)
    keys = [f"{name}/{eye}" for name in names for eye in ("left", "right")]
    write_store(folder / "train.lmdb", zip(keys, shown, strict=True), len(keys), SIZE, "raw")
    fingerprint = {"classes": ["x"], "label_level": "patient", "text_level": "patient",
                   "splits": {"train": {"lmdb_bytes": (folder / "train.lmdb").stat().st_size}}}  # fmt: skip
    (folder / "fingerprint.json").write_text(json.dumps(fingerprint))

    def tokenize(texts: list[str], context_length: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.ones(len(texts), 3, dtype=torch.int64), torch.ones(len(texts), 3, dtype=torch.int64)

    return Split(folder, "train", fingerprint, tokenize, 77)


def _upstream_store(folder: Path, pictures: list[Image.Image]) -> lmdb.Environment:
    files = []
    for picture in pictures:
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=90)
        files.append(base64.urlsafe_b64encode(stream.getvalue()).decode())
    with lmdb.open(str(folder), map_size=1 << 32) as environment, environment.begin(write=True) as transaction:
        for index in range(PATIENTS):
            transaction.put(f"P{index}".encode(), pickle.dumps((files[2 * index], files[2 * index + 1])))
    return lmdb.open(str(folder), readonly=True, create=False, lock=False, readahead=False, meminit=False)


def _upstream_transforms():
    from timm.data import create_transform
    from torchvision.transforms import Compose, InterpolationMode, Normalize, Resize, ToTensor

    plain = Compose(
        [Resize((SIZE, SIZE), interpolation=InterpolationMode.BICUBIC), _rgb, ToTensor(), Normalize(MEAN, STD)]
    )
    made = create_transform(input_size=SIZE, scale=(0.9, 1.0), is_training=True, color_jitter=None,
                            auto_augment="original", interpolation="bicubic", mean=MEAN, std=STD)  # fmt: skip
    return plain, Compose(made.transforms[:-3] + [_rgb] + made.transforms[-3:])


def _rgb(picture: Image.Image) -> Image.Image:
    return picture.convert("RGB")


def _upstream_pass(environment: lmdb.Environment, transform, patients: range) -> None:
    """A DataLoader's work without its processes: sample after sample, collated into batches."""
    batch: list[tuple[torch.Tensor, torch.Tensor]] = []
    with environment.begin(buffers=True) as transaction:
        for index in patients:
            eyes = pickle.loads(transaction.get(f"P{index}".encode()).tobytes())
            left, right = (transform(Image.open(io.BytesIO(base64.urlsafe_b64decode(eye)))) for eye in eyes)
            batch.append((left, right))
            if len(batch) == BATCH:
                [torch.stack(eye) for eye in zip(*batch, strict=True)]
                batch = []
