"""Prints what was fetched and where it lies: text encoders, image weights, a data set. Copies it, where a folder is
given, for a machine without network. `make fetch TO=folder` gives it in the variable RETCLIP_TO.
"""

import argparse
import os
from pathlib import Path

from retclip.core.fetched import carry, fetched_lines
from retclip.core.logs import run_entry


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", type=Path, nargs="*", help="folders and files, relative to where the run is")
    parser.add_argument("--to", default=os.environ.get("RETCLIP_TO"), help="copy them below this folder")
    options = parser.parse_args(arguments)
    print("\n".join(fetched_lines(options.paths)))
    if options.to:
        print(carry(options.paths, Path(options.to)))


if __name__ == "__main__":
    run_entry(main)
