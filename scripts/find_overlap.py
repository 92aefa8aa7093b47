"""Searches train and val of a run for people of an external data set: copied images, images of one eye, ids and texts.

Scores on people whom the model was trained or chosen on are not external. Writes counts, and the samples to leave out.
"""

import argparse
from pathlib import Path

from retclip.core.io import write_json
from retclip.core.logs import log, run_entry
from retclip.data.overlap import find_overlap


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True, help="results/{run}/data")
    parser.add_argument("--external-dir", type=Path, required=True, help="results/{run}/external/{name}")
    parser.add_argument("--threads", type=int, default=1, help="processes that compare (default: 1)")
    parser.add_argument("--output", type=Path, required=True, help="overlap.json")
    options = parser.parse_args(arguments)

    found = find_overlap(options.data_dir, options.external_dir, options.threads)
    log(
        f"of {found['patients']} patients, {found['image_patients']} have images of train or val, "
        f"{found['same_id']} an id"
    )
    write_json(options.output, found, private=True)  # which lists ids of samples


if __name__ == "__main__":
    run_entry(main)
