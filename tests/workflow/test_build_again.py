"""build_lmdb, killed and started again: nothing half-written under a final name, nothing prepared twice."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from running import ENVIRONMENT, REPOSITORY, build_flags, entry

pytestmark = pytest.mark.slow
IMAGES = 400


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Images of noise, so large that preparing them all takes some seconds."""
    folder = tmp_path_factory.mktemp("photographs")
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 255, (900, 900, 3), dtype=np.uint8)
    rows = ["patient_id,image,label"]
    for index in range(IMAGES):
        Image.fromarray(np.roll(noise, 7 * index, axis=0)).save(folder / f"{index}.jpg", quality=80)
        rows.append(f"P{index},{index}.jpg,{'ab'[index % 2]}")
    (folder / "table.csv").write_text("\n".join(rows) + "\n")
    return folder


def arguments(photographs, folder) -> list[object]:
    paths = (photographs / "table.csv", photographs, folder / "data", folder / "state")
    return [*build_flags(*paths, image_size=224, threads=2)]


def outcome(folder) -> tuple[dict, pd.DataFrame]:
    return json.loads((folder / "data/fingerprint.json").read_text()), pd.read_parquet(folder / "data/samples.parquet")


def test_killed_at_any_moment(photographs, tmp_path):
    started = time.monotonic()
    entry("build_lmdb", *arguments(photographs, tmp_path / "whole"))
    whole_seconds = time.monotonic() - started
    expected, table = outcome(tmp_path / "whole")
    command = [
        sys.executable,
        str(REPOSITORY / "scripts/build_lmdb.py"),
        *map(str, arguments(photographs, tmp_path / "torn")),
    ]
    moments = random.Random(0)
    for _ in range(5):
        process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            process.wait(moments.uniform(0.3, 0.7) * whole_seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        final = list((tmp_path / "torn/data").glob("[!.]*")) if (tmp_path / "torn/data").is_dir() else []
        for path in final:
            if path.suffix == ".lmdb":  # whole, or not there
                assert path.stat().st_size == (tmp_path / "whole/data" / path.name).stat().st_size
    done = entry("build_lmdb", *arguments(photographs, tmp_path / "torn"))
    assert "to prepare" in done.stderr or "prepare" not in done.stderr
    found, torn_table = outcome(tmp_path / "torn")
    assert found["sha256"] == expected["sha256"]
    assert found["quarantined"] == []
    pd.testing.assert_frame_equal(table, torn_table)
    leftovers = [path.name for path in (tmp_path / "torn/data").glob(".*")]
    assert len(leftovers) <= 5  # one for each time it was killed while it wrote, swept by the next section


def test_only_a_new_image_is_prepared(photographs, tmp_path):
    entry("build_lmdb", *arguments(photographs, tmp_path))
    before, _ = outcome(tmp_path)
    again = entry("build_lmdb", *arguments(photographs, tmp_path))
    assert "to prepare" not in again.stderr
    assert outcome(tmp_path)[0] == before
    path = photographs / "7.jpg"
    content = path.read_bytes()
    try:
        path.write_bytes((photographs / "8.jpg").read_bytes())
        changed = entry("build_lmdb", *arguments(photographs, tmp_path))
        assert f"{IMAGES - 1} images are ready from before, 1 to prepare" in changed.stderr
        assert outcome(tmp_path)[0]["sha256"] != before["sha256"]
    finally:
        path.write_bytes(content)
