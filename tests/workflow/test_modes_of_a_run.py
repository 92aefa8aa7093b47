"""Every file of a finished run that names a patient is closed to others, and no other file is."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from retclip.core.modes import private_mode

pytestmark = pytest.mark.slow

# Closed for what no search finds: images of patients, and the rows that a build refused.
OF_PATIENTS = {"pictures.lmdb", "qualitative_examples.npz", "fingerprint.json"}


def content_of(path: Path) -> bytes:
    """A file's bytes; of a compressed one, what it holds."""
    if path.suffix == ".parquet":
        return pd.read_parquet(path).to_csv().encode()
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return b"\n".join(str(cell).encode() for name in arrays.files for cell in arrays[name].ravel()[:10_000])
    return path.read_bytes()


def test_a_file_is_closed_where_it_names_a_patient_and_nowhere_else(small_run):
    """Whichever rule wrote it: ids, texts and image paths of the data, looked for in every file."""
    run = small_run / "results/small"
    samples = pd.read_parquet(run / "data/samples.parquet")
    cells = samples.filter(regex="^(text|source_|patient_id|sample_id)").to_numpy().ravel()
    wanted = {str(cell).encode() for cell in cells if cell}
    assert len(wanted) > 500
    closed = private_mode()
    faults, found = [], 0
    for path in (path for path in run.rglob("*") if path.is_file()):
        if path.is_relative_to(run / "demo"):  # what the run was given
            continue
        content, mode = content_of(path), path.stat().st_mode & 0o777
        named = any(word in content for word in wanted)
        found += named
        if (mode == closed) != (named or path.name in OF_PATIENTS):
            faults.append(f"{path.relative_to(run)}: {mode:o}, {'names' if named else 'names no'} patient")
    assert not faults, "\n".join(faults)
    assert found > 20
