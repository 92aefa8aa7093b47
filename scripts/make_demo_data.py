"""Draws the demo's data: fundus photographs of two eyes per patient, ten classes, and a report for each.

Writes JPEG files and manifest.csv in the form of a user's own table. Patient i depends on (seed, i) alone.
"""

import argparse
from pathlib import Path

from retclip.core.logs import run_entry


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--patients", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--threads", type=int, default=1, help="processes that draw (default: 1)")
    parser.add_argument("--output-manifest", type=Path, required=True, help="manifest.csv")
    parser.add_argument("--output-images", type=Path, required=True, help="folder of the photographs")
    options = parser.parse_args(arguments)

    from retclip.data.demo_patients import make_patients

    make_patients(
        options.patients, options.seed, options.threads, options.output_manifest, options.output_images
    )


if __name__ == "__main__":
    run_entry(main)
