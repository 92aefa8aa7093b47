"""Forty good patients as a table, changed by a test, and what a build makes of it."""

import json
import shutil
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from running import BUILD, REPOSITORY

from retclip.core.logs import run_entry
from retclip.data.working_store import Wanted, WorkingStore, prepare

sys.path.insert(0, str(REPOSITORY / "scripts"))
GOOD = 40
SIZE, ENCODING, INTERPOLATION = 24, "raw", "bicubic"


def prepared_patients(place: Path) -> Path:
    """forty_patients, and state/ as an earlier build has left it: a build reads what a test adds or changes, and takes
    the others as they are."""
    shutil.copytree(_prepared(place.parent), place, dirs_exist_ok=True)
    return place


@cache
def _prepared(folder: Path) -> Path:
    place = folder / "prepared_patients"
    place.mkdir()
    forty_patients(place)
    store = WorkingStore(place / "state/pictures.lmdb", SIZE, ENCODING, GOOD, INTERPOLATION)
    wanted = [Wanted(str(index), index, f"{index}.png", "") for index in range(GOOD)]
    found, problems = prepare(wanted, place / "images", store, threads=1)
    store.close()
    assert len(found) == GOOD
    assert not problems
    return place


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
    settings = {**BUILD, "image_size": SIZE, "max_bad_fraction": 0.2, **flags}
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
