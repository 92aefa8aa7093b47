"""Reads a table of fundus photographs, splits it by patient, and stores the pixels where training reads them.

Every picture is turned upright, cropped to the fundus, made square and resized. Writes {split}.lmdb,
samples*.parquet and fingerprint.json; rows that cannot be used are listed there by line and reason.
"""

import argparse
from pathlib import Path

from retclip.core.logs import run_entry
from retclip.data.build import build, read_samples
from retclip.data.sources import READERS


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", choices=READERS, required=True, help="the form of the table")
    parser.add_argument("--manifest", type=Path, required=True, help="the table")
    parser.add_argument("--test-manifest", type=Path, help="a separate table of test samples")
    parser.add_argument("--image-root", type=Path, required=True, help="folder of the table's image paths")
    parser.add_argument("--image-size", type=int, required=True, help="pixels, square")
    parser.add_argument("--image-encoding", choices=("raw", "jpeg"), required=True)
    parser.add_argument("--test-fraction", type=float, required=True, help="of the patients")
    parser.add_argument("--val-fraction", type=float, required=True, help="of the patients not in test")
    parser.add_argument("--max-bad-fraction", type=float, required=True, help="of the rows")
    parser.add_argument("--seed", type=int, required=True, help="of the splits")
    parser.add_argument("--threads", type=int, default=1, help="processes that decode (default: 1)")
    parser.add_argument("--output-dir", type=Path, required=True, help="results/{run}/data")
    options = parser.parse_args(arguments)

    frame, problems, from_labels = read_samples(
        options.source,
        options.manifest,
        options.test_manifest,
        options.image_root,
        options.test_fraction,
        options.val_fraction,
        options.seed,
    )
    options.output_dir.mkdir(parents=True, exist_ok=True)
    build(
        frame,
        problems,
        from_labels,
        options.image_root,
        options.output_dir,
        options.image_size,
        options.image_encoding,
        options.threads,
        options.max_bad_fraction,
    )


if __name__ == "__main__":
    run_entry(main)
