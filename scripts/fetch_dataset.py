"""Fetches the images of a data set on the Hugging Face hub (data.hub_dataset) into a folder, once per revision.

Needs the network, so it runs on the login node. HF_ENDPOINT, HF_TOKEN, HF_HOME and the proxy variables are honoured.
"""

import argparse
from pathlib import Path

from retclip.core.logs import run_entry
from retclip.data.hub_dataset import fetch_dataset


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True, help="hub id, or a local folder")
    parser.add_argument("--revision", default="main", help="commit, tag or branch")
    parser.add_argument("--image-column", default="image", help="its column of images")
    parser.add_argument("--output", type=Path, required=True, help="folder of {split}/{index}.{ending}")
    options = parser.parse_args(arguments)
    fetch_dataset(options.source, options.revision, options.image_column, options.output)


if __name__ == "__main__":
    run_entry(main)
