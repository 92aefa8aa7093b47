"""What a table tells without reading an image: rows, patients and classes, for planning."""

from pathlib import Path
from typing import Any

from retclip.core.csv_tables import cell_of, is_missing, read_rows
from retclip.core.source_facts import source_facts


def estimated_counts(data: dict[str, Any]) -> dict[str, Any] | None:
    """splits (name -> samples) and labels (how many different there are) of the config's `data`.

    An estimate: samples are counted as patients where the table names them, and no row is checked. None where
    only build_lmdb can know.
    """
    facts = source_facts(data["source"])
    if facts.is_drawn:
        return {"splits": _shares(data["demo_patients"], data), "labels": 2}
    if facts.holds_images:
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
    columns = source_facts(data["source"]).labels
    labels: set[str] = set()
    samples: set[str] = set()
    splits: dict[str, set[str]] = {}
    rows = read_rows(path)
    _, names = next(rows)
    for number, (_, cells) in enumerate(rows):
        clean = (cell_of(cell) for cell in cells)
        row = {name: cell for name, cell in zip(names, clean, strict=True) if not is_missing(cell)}
        sample = row.get("sample_id") or row.get(data["patient_id"] if isinstance(data["patient_id"], str) else "")
        if sample and "visit" in row and "sample_id" not in row:
            sample = f"{sample}@{row['visit']}"
        samples.add(sample or str(number))
        labels |= {row[name] for name in columns if name in row}
        if "split" in row:
            splits.setdefault(row["split"], set()).add(sample or str(number))
    return len(samples), labels, {name: len(members) for name, members in splits.items()}
