"""Reads a table of fundus photographs, splits it by patient, and stores the pixels where training reads them.

Every picture is turned upright, cropped to the fundus, made square and resized. Writes {split}.lmdb, samples*.parquet,
pictures.parquet and fingerprint.json; rows that cannot be used are listed there by line and reason. Killed, it goes on
from the pictures that are ready in --work-dir.
"""

import argparse
from pathlib import Path

from retclip.core.locks import held
from retclip.core.logs import run_entry
from retclip.data.build import Settings, build
from retclip.data.source import Source
from retclip.data.sources.registry import SOURCES


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", choices=SOURCES, required=True, help="the form of the data")
    parser.add_argument("--manifest", type=Path, required=True, help="the table, or the folder of retclip_*")
    parser.add_argument("--test-manifest", type=Path, help="a separate table of test samples")
    parser.add_argument("--image-root", type=Path, required=True, help="folder of the table's image paths")
    parser.add_argument("--patient-id", default="patient_id", help="a column, none, or pattern:REGEX of image paths")
    parser.add_argument("--image-pattern", default="{dataset_index}.*", help="file names of prompts and odir")
    parser.add_argument("--class-map", type=Path, help="YAML, class: keywords (odir)")
    parser.add_argument("--eye-images", choices=("all", "first", "best"), default="all", help="several of one eye")
    parser.add_argument("--text-columns", nargs="+", default=[], help="further columns of the table that hold texts")
    parser.add_argument("--report-section", help="heading whose paragraph stands for the report")
    parser.add_argument("--near-duplicates", choices=("ignore", "warn", "group", "drop"), default="warn")
    parser.add_argument("--image-size", type=int, required=True, help="pixels, square")
    parser.add_argument("--image-encoding", choices=("raw", "jpeg"), required=True)
    parser.add_argument("--test-fraction", type=float, required=True, help="of the patients")
    parser.add_argument("--val-fraction", type=float, required=True, help="of the patients not in test")
    parser.add_argument("--max-bad-fraction", type=float, required=True, help="of the rows")
    parser.add_argument("--seed", type=int, required=True, help="of the splits")
    parser.add_argument("--threads", type=int, default=1, help="processes that decode (default: 1)")
    parser.add_argument("--only-test", action="store_true", help="all patients are test: data to evaluate on only")
    parser.add_argument("--work-dir", type=Path, required=True, help="what a killed build goes on from")
    parser.add_argument("--output-dir", type=Path, required=True, help="results/{run}/data")
    options = parser.parse_args(arguments)

    source = Source(
        options.source,
        options.manifest,
        options.image_root,
        options.test_manifest,
        options.patient_id,
        options.image_pattern,
        options.class_map,
        options.eye_images,
        tuple(options.text_columns),
    )
    settings = Settings(
        options.image_size,
        options.image_encoding,
        options.test_fraction,
        options.val_fraction,
        options.max_bad_fraction,
        options.near_duplicates,
        options.report_section,
        options.seed,
        options.threads,
        options.only_test,
    )
    # a snakemake that was killed may have left a build behind that still writes
    with held(options.work_dir / "build.lock", "another process builds this data; waiting for it"):
        build(source, settings, options.output_dir, options.work_dir)


if __name__ == "__main__":
    run_entry(main)
