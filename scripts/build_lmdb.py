"""Reads a table of fundus photographs, splits it by patient, and stores the pixels where training reads them.

Every image is turned upright, cropped to the fundus, made square and resized. Writes {split}.lmdb, samples*.parquet,
pictures.parquet and fingerprint.json; rows that cannot be used are listed there by line and reason. Killed, it resumes
from the images that are ready in --work-dir.
"""

import argparse
from pathlib import Path

from retclip.core.locks import held
from retclip.core.logs import run_entry
from retclip.core.modes import private_folder
from retclip.core.preprocessing import with_weights_settings
from retclip.data.build import Settings, build
from retclip.data.settings import described, read_settings
from retclip.data.source import Source


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=described(), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--settings", required=True, help="JSON: how the table becomes stores, its keys are below")
    parser.add_argument("--manifest", type=Path, required=True, help="the table, or the folder of retclip_*")
    parser.add_argument("--test-manifest", type=Path, help="a separate table of test samples")
    parser.add_argument("--image-root", type=Path, required=True, help="folder of the table's image paths")
    parser.add_argument("--class-map", type=Path, help="YAML, class: keywords (odir)")
    parser.add_argument("--image-weights", type=Path, help="as fetched: they know how images are interpolated")
    parser.add_argument("--threads", type=int, default=1, help="processes that decode (default: 1)")
    parser.add_argument("--work-dir", type=Path, required=True, help="what a killed build resumes from")
    parser.add_argument("--output-dir", type=Path, required=True, help="results/{run}/data")
    options = parser.parse_args(arguments)

    given = read_settings(options.settings)
    chosen = {"interpolation": given["interpolation"]} if given["interpolation"] else {}
    given["interpolation"] = with_weights_settings(chosen, options.image_weights)["interpolation"]
    source = Source(
        given["source"],
        options.manifest,
        options.image_root,
        options.test_manifest,
        given["patient_id"],
        given["image_pattern"],
        options.class_map,
        given["eye_images"],
        tuple(given["text_columns"]),
        given["columns"],
        given["values"],
        given["follow_links"],
    )
    settings = Settings(**{name: given[name] for name in Settings._fields if name in given}, threads=options.threads)
    for folder in (options.work_dir, options.output_dir):
        private_folder(folder)
    # a snakemake that was killed may have left a build behind that still writes
    with held(options.work_dir / "build.lock", "another process builds this data; waiting for it"):
        build(source, settings, options.output_dir, options.work_dir)


if __name__ == "__main__":
    run_entry(main)
