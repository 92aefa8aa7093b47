"""A build that tells which rows were set aside, and why."""

import json
import sys
from pathlib import Path

from running import BUILD, REPOSITORY

from retclip.core.logs import run_entry

sys.path.insert(0, str(REPOSITORY / "scripts"))


def build_table(folder: Path, threads: int = 2, **given: object) -> None:
    """build_lmdb of folder/table.csv and folder/images; prints `set aside: REASON` of each row that was."""
    import build_lmdb

    table = given.pop("manifest", folder / "table.csv")
    paths = {name: given.pop(name) for name in ("class-map", "image-root") if name in given}
    settings = {**BUILD, "image_size": 24, "max_bad_fraction": 0.2, **given}
    flags = {"manifest": table, "image-root": folder / "images", "work-dir": folder / "state", "threads": threads,
             "output-dir": folder / "out", "settings": json.dumps(settings), **paths}  # fmt: skip
    run_entry(build_lmdb.main, [f"--{name}={value}" for name, value in flags.items()])
    for problem in json.loads((folder / "out/fingerprint.json").read_text())["quarantined"]:
        print(f"set aside: {problem['reason']}")
