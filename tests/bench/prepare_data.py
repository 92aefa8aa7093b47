"""What preparing the data costs: memory by the number of patients, and speed beside upstream's two-step route.

  make bench-data

Memory: the largest anonymous memory of one process of build_lmdb, sampled; what is mapped from the stores comes and
goes as the system likes, and does not count. Speed: CPU time on 1,200 px JPEG files, both routes in turn in one run.
Upstream's route is a stand-in written from its documentation: each file is opened and saved again, base64 of it goes
into a TSV file, and a second program turns that into LMDB entries of pickles. Its images still have to be decoded, at
full size, whenever a training run reads them. Near-duplicates: see near_duplicates.py; --patients without a number
leaves the rest out.
"""

import argparse
import base64
import io
import os
import pickle
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import lmdb
import numpy as np
from PIL import Image, ImageFilter

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import near_duplicates
from running import ENVIRONMENT, REPOSITORY, build_flags

SIDE = 1200
PHOTOGRAPHS = 120
ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, nargs="*", default=[1_000, 10_000, 100_000])
    parser.add_argument("--near-duplicates", type=int, nargs="*", default=[1_000, 10_000, 100_000], metavar="IMAGES")
    options = parser.parse_args()
    near_duplicates.report(options.near_duplicates, threads=2)
    if not options.patients:
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"{'patients':>10}{'seconds':>10}{'pictures/s':>12}{'peak MB':>10}")
        for patients in options.patients:
            seconds, peak = _build_tiny(folder / f"tiny{patients}", patients)
            print(f"{patients:>10,}{seconds:>10.0f}{patients / seconds:>12.0f}{peak:>10.0f}", flush=True)
        ours, upstream = _compare(folder / "large")
        ratio = [theirs / own for own, theirs in zip(ours, upstream, strict=True)]
        speeds = [PHOTOGRAPHS / statistics.median(seconds) for seconds in (ours, upstream)]
        print(f"\n{SIDE} px JPEG, one core: ours {speeds[0]:.1f} pictures a second, upstream's route {speeds[1]:.1f}")
        print(f"factor {statistics.median(ratio):.2f}, {min(ratio):.2f} to {max(ratio):.2f} in {ROUNDS} rounds")


def _build_tiny(folder: Path, patients: int) -> tuple[float, float]:
    """Wall seconds and the peak anonymous MB of build_lmdb on one tiny picture a patient."""
    tiny_pictures(folder, patients)
    started = time.monotonic()
    process = subprocess.Popen(command_of(folder, folder / "table.csv", 16, 2), env=ENVIRONMENT, start_new_session=True,
                               stderr=subprocess.DEVNULL)  # fmt: skip
    peak = 0.0
    while process.poll() is None:
        peak = max([peak, *_anonymous_mb(process.pid)])
        time.sleep(0.05)
    assert process.returncode == 0
    return time.monotonic() - started, peak


def tiny_pictures(folder: Path, patients: int) -> None:
    """One of noise for each patient, and their table."""
    (folder / "images").mkdir(parents=True)
    generator = np.random.default_rng(0)
    rows = ["patient_id,image,eye,label,text"]
    for index in range(patients):
        path = folder / f"images/{index % 1000:03d}/{index}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(generator.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(path, compress_level=0)
        rows.append(f"P{index},{index % 1000:03d}/{index}.png,left,{'ab'[index % 2]},Report {index}.")
    (folder / "table.csv").write_text("\n".join(rows) + "\n")


def _anonymous_mb(session: int) -> list[float]:
    """Of each process of a session."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            if os.getsid(int(status.parent.name)) == session:
                lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
                found.append(int(lines.get("RssAnon", "0 kB").split()[0]) / 1024)
        except OSError:
            continue  # it ended meanwhile
    return found


def command_of(folder: Path, table: Path, size: int, threads: int) -> list[str]:
    """Of a build of the table."""
    paths = (table, folder / "images", folder / "data", folder / "state")
    flags = build_flags(*paths, image_size=size, val_fraction=0.1, threads=threads)
    return [sys.executable, str(REPOSITORY / "scripts/build_lmdb.py"), *flags]


def _compare(folder: Path) -> tuple[list[float], list[float]]:
    """CPU seconds per round of our preparation and of upstream's, on the same photographs."""
    (folder / "images").mkdir(parents=True)
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    disc = (np.hypot(x - SIDE / 2, y - SIDE / 2) < SIDE * 0.48)[..., None]
    noise = Image.fromarray(generator.integers(60, 200, (SIDE, SIDE, 3), dtype=np.uint8))
    pixels = np.asarray(noise.filter(ImageFilter.GaussianBlur(2)))
    rows = ["patient_id,image,eye,label"]
    for index in range(PHOTOGRAPHS):
        Image.fromarray(np.roll(pixels, 9 * index, 0) * disc).save(folder / f"images/{index}.jpg", quality=90)
        rows.append(f"P{index},{index}.jpg,left,{'ab'[index % 2]}")
    (folder / "table.csv").write_text("\n".join(rows) + "\n")
    ours, upstream = [], []
    for number in range(ROUNDS):
        ours.append(_cpu_seconds(partial(_ours, folder, number)))
        upstream.append(_cpu_seconds(partial(_upstreams, folder)))
    return ours, upstream


def _ours(folder: Path, number: int) -> None:
    """The preparation of every photograph, as build_lmdb does it, into a store."""
    from retclip.data.working_store import Wanted, WorkingStore, prepare

    wanted = [Wanted(f"P{index}/left", index, f"{index}.jpg") for index in range(PHOTOGRAPHS)]
    store = WorkingStore(folder / f"work{number}.lmdb", 224, "raw", PHOTOGRAPHS)
    prepare(wanted, folder / "images", store, 1)
    store.close()


def _upstreams(folder: Path) -> None:
    table = folder / "train_imgs.tsv"
    with table.open("w") as stream:
        for index in range(PHOTOGRAPHS):
            buffer = io.BytesIO()
            with Image.open(folder / f"images/{index}.jpg") as image:
                image.save(buffer, format=image.format)
            encoded = base64.urlsafe_b64encode(buffer.getvalue()).decode()
            stream.write(f"P{index}\t{encoded}\t{encoded}\n")
    environment = lmdb.open(str(folder / "imgs"), map_size=1 << 33)
    with table.open() as stream, environment.begin(write=True) as transaction:
        for line in stream:
            patient, left, right = line.rstrip("\n").split("\t")
            transaction.put(patient.encode(), pickle.dumps((left, right)))
    environment.close()


def _cpu_seconds(work) -> float:
    before = resource.getrusage(resource.RUSAGE_SELF)
    work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


if __name__ == "__main__":
    main()
