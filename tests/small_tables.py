"""Forty good patients as a table, changed by a test, and what a build makes of it."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from running import BUILD, REPOSITORY

from retclip.core.logs import run_entry

sys.path.insert(0, str(REPOSITORY / "scripts"))
GOOD = 40


def forty_patients(place: Path) -> Path:
    """Writes table.csv and images/ there."""
    (place / "images").mkdir()
    y, x = np.mgrid[:40, :40]
    rows = ["patient_id,image,eye,label,text"]
    for index in range(GOOD):
        pixels = np.zeros((40, 40, 3), np.uint8)
        pixels[np.hypot(x - 20, y - 20) < 18] = (150 + index, 90, 40)
        Image.fromarray(pixels).save(place / f"images/{index}.png")
        rows.append(f"P{index},{index}.png,left,{'ab'[index % 2]},Report {index}.")
    (place / "table.csv").write_text("\n".join(rows) + "\n")
    return place


PATHS = ("manifest", "test_manifest", "image_root", "class_map", "work_dir", "output_dir", "threads")


def build(folder: Path, capsys, **flags) -> tuple[int, str]:
    """Exit code and what the user sees of build_lmdb; any exception but a sentence fails the test."""
    import build_lmdb

    paths = {"manifest": folder / "table.csv", "image_root": folder / "images", "work_dir": folder / "state",
             "output_dir": folder / "out", **{name: flags.pop(name) for name in PATHS if name in flags}}  # fmt: skip
    settings = {**BUILD, "image_size": 24, "max_bad_fraction": 0.2, **flags}
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in paths.items()]
    arguments.append(f"--settings={json.dumps(settings)}")
    try:
        run_entry(build_lmdb.main, arguments)
    except SystemExit as stop:
        return int(stop.code or 0), capsys.readouterr().err
    return 0, capsys.readouterr().err


def add(folder: Path, line: str) -> None:
    with (folder / "table.csv").open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")


def built(folder: Path, capsys, **flags) -> tuple[pd.DataFrame, dict, str]:
    """The samples, the reconciliation, and what was printed."""
    code, said = build(folder, capsys, **flags)
    assert code == 0, said
    fingerprint = json.loads((folder / "out/fingerprint.json").read_text())
    counts = fingerprint["reconciliation"]["counts"]
    for entry in counts.values():
        assert entry["in"] == entry["used"] + entry["merged"] + entry["quarantined"]
    found = {what: tuple(entry.values()) for what, entry in counts.items()}
    return pd.read_parquet(folder / "out/samples.parquet").set_index("sample_id"), found, said


def write(folder: Path, heads: str, rows: list[str]) -> None:
    (folder / "table.csv").write_text("\n".join([heads, *rows]) + "\n")
