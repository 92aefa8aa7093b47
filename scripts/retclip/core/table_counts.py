"""What can be said of a table without reading a picture: rows, patients and classes, for planning."""

import csv
from pathlib import Path
from typing import Any

from retclip.core.files import csv_separator

LABELS = ("label", "label_left", "label_right", "left_keywords", "right_keywords")
csv.field_size_limit(10_000_000)  # reports of 100 KB are rare, but they exist


def estimated_counts(data: dict[str, Any]) -> dict[str, Any] | None:
    """splits (name -> samples) and labels (how many different there are) of the config's `data`.

    An estimate: samples are counted as patients where the table names them, and no row is checked. None where
    only build_lmdb can know.
    """
    if data["source"] == "demo":
        return {"splits": _shares(data["demo_patients"], data), "labels": 2}
    if data["source"].startswith("retclip"):
        return None
    samples, labels, splits = _read(Path(data["manifest"]), data)
    if "test_manifest" in data:
        tests, more, _ = _read(Path(data["test_manifest"]), data)
        val = round(samples * data["val_fraction"])
        return {"splits": {"train": samples - val, "val": val, "test": tests}, "labels": len(labels | more)}
    if splits:
        counts = {name: splits.get(name, 0) for name in ("train", "val", "test")}
        if not counts["val"]:
            counts["val"] = round(counts["train"] * data["val_fraction"])
            counts["train"] -= counts["val"]
        return {"splits": counts, "labels": len(labels)}
    return {"splits": _shares(samples, data), "labels": len(labels)}


def _shares(samples: int, data: dict[str, Any]) -> dict[str, int]:
    test = round(samples * data["test_fraction"])
    val = round((samples - test) * data["val_fraction"])
    return {"train": samples - test - val, "val": val, "test": test}


def _read(path: Path, data: dict[str, Any]) -> tuple[int, set[str], dict[str, int]]:
    """Samples, different labels, and samples per split where the table has them."""
    labels: set[str] = set()
    samples: set[str] = set()
    splits: dict[str, set[str]] = {}
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        header = stream.readline()
        stream.seek(0)
        reader = csv.DictReader(stream, delimiter=csv_separator(header))
        reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
        for number, row in enumerate(reader):
            known = row.get("sample_id") or row.get(data["patient_id"] if isinstance(data["patient_id"], str) else "")
            sample = known or str(number)
            samples.add(sample)
            labels |= {row[name].strip() for name in LABELS if (row.get(name) or "").strip()}
            if row.get("split"):
                splits.setdefault(row["split"].strip(), set()).add(sample)
    return len(samples), labels, {name: len(members) for name, members in splits.items()}
