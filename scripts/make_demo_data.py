"""Draws the demo: fundus photographs of invented patients, and the report on each eye and each patient.

Reads nothing; writes JPEG images and a manifest in the format that users write for their own data, so that the demo
runs through the same code. Ten classes, as in the public 16,000-image set and about as long-tailed (the first 120
patients have each class equally often, so that a small run has all of them); severities from mild to severe; a fellow
eye that has the same disease or is healthy. Patient i depends on the seed and on i alone, so more patients, or more
threads, change nothing about those who were there.

    make_demo_data.py --patients 1400 --seed 1 --output-manifest demo/manifest.csv --output-images demo/images
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from retclip.core.io import whole_folder, write_csv
from retclip.core.logs import log, run_entry
from retclip.demo.patients import make_patient


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, required=True, help="how many to invent (two images each)")
    parser.add_argument("--seed", type=int, required=True, help="another seed, other patients")
    parser.add_argument("--threads", type=int, default=1, help="processes that draw (default: 1)")
    parser.add_argument("--output-manifest", type=Path, required=True, help="CSV, one row a patient")
    parser.add_argument("--output-images", type=Path, required=True, help="folder for {patient}_{side}.jpg")
    options = parser.parse_args(arguments)
    if options.patients < 1:
        raise ValueError(f"--patients is {options.patients}: give 1 or more.")
    if options.seed < 0:
        raise ValueError(f"--seed is {options.seed}: give 0 or more.")
    if options.threads < 1:
        raise ValueError(f"--threads is {options.threads}: give 1 or more.")

    # imported here, so that --help and a wrong option answer at once
    import pandas as pd

    rows = []
    with whole_folder(options.output_images) as folder, ProcessPoolExecutor(options.threads) as pool:
        make = partial(make_patient, options.seed, folder=folder)
        for row in pool.map(make, range(options.patients), chunksize=25):
            rows.append(row)
            if len(rows) % 500 == 0:
                log(f"{len(rows)} of {options.patients} patients drawn")
    write_csv(options.output_manifest, pd.DataFrame(rows))
    log(f"{options.patients} patients drawn: {options.output_manifest}")


if __name__ == "__main__":
    run_entry(main)
