"""Whether people of an external data set are among those a model was trained or chosen on: by images, ids and texts."""

import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from retclip.core.io import read_json
from retclip.data.image_quality import thumbnail_of
from retclip.data.near_duplicates import same_across
from retclip.data.samples import text_columns
from retclip.data.store import Store

if TYPE_CHECKING:
    import pandas as pd

SEEN = ("train", "val")


def find_overlap(data_dir: Path, external_dir: Path, threads: int) -> dict[str, Any]:
    """What an external data set shares with the train and val splits of a run: counts, and whom to leave out.

    patients, samples, images: of the external set; same_id: patients with an id that train or val has; image_copies:
    images whose pixels are there; near_duplicates: further images of an eye that is there; image_patients: patients
    with one of these; ids_confirmed: whether one of them has the id of the patient he was found to be, so that equal
    ids mean equal people; identical_texts: samples with a text that is there word for word (null where labels made
    the texts); left_out: sample_ids of image_patients, and of same_id where ids are confirmed.
    """
    ours, theirs = _images(data_dir, SEEN), _images(external_dir, ("test",))
    frame = _samples(external_dir, ("test",))
    known = _samples(data_dir, SEEN)
    copies = _copies(ours, theirs)
    again = same_across(_thumbnails(data_dir, ours), _thumbnails(external_dir, theirs), threads)
    pairs = sorted({*copies, *((mine, other) for mine, other in again)})
    copied, found = {other for _, other in copies}, {other for _, other in pairs}
    of_ours, of_theirs = ours["patient_id"].to_numpy(), theirs["patient_id"].to_numpy()
    image_patients = {of_theirs[other] for other in found}
    same_id = set(frame["patient_id"]) & set(known["patient_id"])
    confirmed = any(of_ours[mine] == of_theirs[other] for mine, other in pairs)
    out = image_patients | (same_id if confirmed else set())
    return {
        "patients": int(frame["patient_id"].nunique()),
        "samples": len(frame),
        "images": len(theirs),
        "same_id": len(same_id),
        "ids_confirmed": confirmed,
        "image_copies": len(copied),
        "near_duplicates": len(found - copied),
        "image_patients": len(image_patients),
        "identical_texts": _identical_texts(data_dir, known, external_dir, frame),
        "left_out": frame.loc[frame["patient_id"].isin(out), "sample_id"].tolist(),
    }


def _samples(folder: Path, splits: tuple[str, ...]) -> "pd.DataFrame":
    import pandas as pd

    parts = [pd.read_parquet(folder / f"samples_{split}.parquet") for split in splits]
    return pd.concat(parts, ignore_index=True)


def _images(folder: Path, splits: tuple[str, ...]) -> "pd.DataFrame":
    """One row an image of the splits: sample_id, eye, digest, patient_id, split."""
    import pandas as pd

    images = pd.read_parquet(folder / "pictures.parquet", columns=["sample_id", "eye", "digest"])
    samples = _samples(folder, splits)[["sample_id", "patient_id", "split"]]
    return images.merge(samples, on="sample_id").reset_index(drop=True)


def _copies(ours: "pd.DataFrame", theirs: "pd.DataFrame") -> set[tuple[int, int]]:
    """(row of ours, row of theirs) whose prepared pixels are the same."""
    both = ours.reset_index().merge(theirs.reset_index(), on="digest", suffixes=("", "_theirs"))
    return set(zip(both["index"].tolist(), both["index_theirs"].tolist(), strict=True))


def _thumbnails(folder: Path, images: "pd.DataFrame") -> list[bytes]:
    """Of the stored pixels, since what the build looked at may be gone."""
    splits = read_json(folder / "fingerprint.json")["splits"]
    stores = {name: Store(folder / f"{name}.lmdb", splits[name]["lmdb_bytes"]) for name in images["split"].unique()}
    found = []
    for image in images.itertuples():
        side = "right" if image.eye == "right" else "left"  # an unknown eye is stored as left
        found.append(thumbnail_of(Image.fromarray(stores[image.split].get(f"{image.sample_id}/{side}"))))
    return found


def _identical_texts(data_dir: Path, known: "pd.DataFrame", external_dir: Path, frame: "pd.DataFrame") -> int | None:
    if any(read_json(folder / "fingerprint.json")["texts_from_labels"] for folder in (data_dir, external_dir)):
        return None
    there = {_plain(text) for column in text_columns(known) for text in known[column]} - {""}
    hits = np.zeros(len(frame), dtype=bool)
    for column in text_columns(frame):
        hits |= np.array([_plain(text) in there for text in frame[column]], dtype=bool)
    return int(hits.sum())


def _plain(text: str) -> str:
    """Words alone: case, spaces and punctuation are the writer's program's."""
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", text or "").casefold()))
