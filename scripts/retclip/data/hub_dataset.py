"""The pictures of a data set on the Hugging Face hub, as files in a folder, at one revision."""

import io
from pathlib import Path
from typing import Any

from retclip.core.files import atomic, write_json
from retclip.core.hub import fetch_snapshot, first_line, is_hub_id
from retclip.core.logs import say

PICTURES_PER_LINE = 2000
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
    """Writes {split}/{index}.{ending} to `folder`, as stored; returns the content of its source.json.

    source: a hub id, or a local folder that `datasets` can read. A broken download goes on where it stopped.
    Raises ValueError with one sentence where it cannot be had, or has no such column of pictures.
    """
    if Path(source).is_dir():
        origin, resolved, licence = Path(source), "local folder", None
    elif is_hub_id(source):
        origin, resolved, licence = fetch_snapshot("data.hub_dataset", "dataset", source, revision, DATA_FILES)
    else:
        raise ValueError(f"data.hub_dataset.source: {source!r} is neither a folder nor a hub id.")
    counts = {}
    for split, table in _splits(origin, image_column).items():
        place = folder / split
        place.mkdir(parents=True, exist_ok=True)
        for index, entry in enumerate(table[image_column]):
            content = entry["bytes"] or Path(entry["path"]).read_bytes()
            with atomic(place / f"{index}.{_ending(content)}") as temporary:
                temporary.write_bytes(content)
            if (index + 1) % PICTURES_PER_LINE == 0:
                say(f"{split}: {index + 1} of {len(table)} pictures")
        counts[split] = len(table)
        say(f"{split}: {len(table)} pictures")
    content = {"source": source, "revision": resolved, "license": licence, "pictures": counts}
    write_json(folder / "source.json", content)
    return content


def _splits(origin: Path, image_column: str) -> dict[str, Any]:
    """split -> its table, the pictures as the bytes that were stored."""
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
            raise ValueError(f"data.hub_dataset.image_column: {image_column} is no column of pictures of {columns}.")
        found[str(split)] = table.select_columns([image_column]).cast_column(image_column, datasets.Image(decode=False))
    return found


def _ending(content: bytes) -> str:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content)) as image:
            return {"JPEG": "jpg", "TIFF": "tif"}.get(str(image.format), str(image.format).lower())
    except (UnidentifiedImageError, OSError):
        return "bin"  # build_lmdb will say which row it belongs to
