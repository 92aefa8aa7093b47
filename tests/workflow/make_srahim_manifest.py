"""Makes a manifest of the public set of 298 diabetic patients, one row an eye.

    python make_srahim_manifest.py FOLDER OUT.csv

FOLDER holds labels.csv (path, label, patient_id, eye, ...) and images/. The images stay where they are.
"""

import sys
from pathlib import Path

import pandas as pd


def make_manifest(folder: Path, output: Path) -> None:
    labels = pd.read_csv(folder / "labels.csv", dtype=str, keep_default_na=False)
    table = labels.rename(columns={"path": "image"})[["patient_id", "image", "eye", "label"]]
    table.to_csv(output, index=False)


if __name__ == "__main__":
    make_manifest(Path(sys.argv[1]), Path(sys.argv[2]))
