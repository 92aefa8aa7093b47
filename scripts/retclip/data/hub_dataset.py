"""The images of a data set on the Hugging Face hub, as files in a folder, at one revision."""

import io
import os
import re
from pathlib import Path
from typing import Any

from retclip.core.hub import fetch_snapshot, first_line, is_hub_id
from retclip.core.io import whole_folder, write_json
from retclip.core.logs import log

IMAGES_PER_LINE = 2000
SPLIT = re.compile(r"\w[\w.-]{0,99}")
# What a data set is made of; scripts of strangers are not among it.
DATA_FILES = [
    "*.parquet",
    "*.arrow",
    "*.jpg",
    "*.jpeg",
    "*.png",
    "*.tif",
    "*.tiff",
    "*.csv",
    "*.jsonl",
    "*.zip",
    "*.tar",
]


def fetch_dataset(source: str, revision: str, image_column: str, folder: Path) -> dict[str, Any]:
    """Makes `folder` of {split}/{index}.{ending}, as stored; returns the content of its source.json.

    source: a hub id, or a local folder that `datasets` can read. A broken download resumes where it stopped.
    Raises ValueError with one sentence where it cannot be had, has no such column of images, or names files that are
    not its own, and where `folder` holds what is not ours.
    """
    if Path(source).is_dir():
        origin, resolved, license = Path(source), "local folder", None
    elif is_hub_id(source):
        origin, resolved, license = fetch_snapshot("data.hub_dataset", "dataset", source, revision, DATA_FILES)
    else:
        raise ValueError(f"data.hub_dataset.source: {source!r} is neither a folder nor a hub id.")
    tables = _splits(origin, image_column)
    counts = {split: len(table) for split, table in tables.items()}
    content = {"source": source, "revision": resolved, "license": license, "pictures": counts}
    with whole_folder(folder, private=True) as made:
        for split, table in tables.items():
            (made / split).mkdir()
            for index, entry in enumerate(table[image_column]):
                image = entry["bytes"] or _own_file(origin, entry["path"])
                (made / split / f"{index}.{_ending(image)}").write_bytes(image)
                if (index + 1) % IMAGES_PER_LINE == 0:
                    log(f"{split}: {index + 1} of {len(table)} images")
            log(f"{split}: {len(table)} images")
        write_json(made / "source.json", content)
    return content


def _own_file(origin: Path, path: str | None) -> bytes:
    """An image that the table only names: below the data set's folder, or unpacked from it by `datasets`."""
    from datasets import config

    place = os.path.abspath(path or "")
    roots = (os.path.abspath(origin), str(config.EXTRACTED_DATASETS_PATH), str(config.HF_DATASETS_CACHE))
    if not any(place.startswith(f"{root}{os.sep}") for root in roots):
        raise ValueError(f"data.hub_dataset: names the image {str(path)[:60]!r}, outside of the data set.")
    return Path(place).read_bytes()


def _splits(origin: Path, image_column: str) -> dict[str, Any]:
    """split -> its table, the images as the bytes that were stored."""
    import datasets

    datasets.disable_progress_bars()
    try:
        tables = datasets.load_dataset(str(origin))
    except Exception as error:  # it raises whatever its readers raise
        raise ValueError(f"data.hub_dataset: no data set can be read from it ({first_line(error)}).") from None
    found = {}
    for split, table in tables.items():
        if not isinstance(table.features.get(image_column), datasets.Image):
            columns = ", ".join(table.features)
            raise ValueError(f"data.hub_dataset.image_column: {image_column} is no column of images of {columns}.")
        if not SPLIT.fullmatch(str(split)):
            raise ValueError(f"data.hub_dataset: calls a split {str(split)[:60]!r}, which can be no folder's name.")
        found[str(split)] = table.select_columns([image_column]).cast_column(image_column, datasets.Image(decode=False))
    return found


def _ending(content: bytes) -> str:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content)) as image:
            return {"JPEG": "jpg", "TIFF": "tif"}.get(str(image.format), str(image.format).lower())
    except (UnidentifiedImageError, OSError):
        return "bin"  # build_lmdb will say which row it belongs to
