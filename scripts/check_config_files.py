"""Reads config files before snakemake does, which names no line of what is no YAML; says nothing where all is well.

check_config_files.py config/laptop.yaml my.yaml
"""

import argparse
from pathlib import Path

from retclip.core.bounded import read_yaml
from retclip.core.logs import run_entry


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", help="config files in YAML")
    options = parser.parse_args(arguments)
    for file in options.files:
        if not isinstance(read_yaml(file), dict):
            raise ValueError(f"{file}: has no keys; a config is a mapping of keys to values.")


if __name__ == "__main__":
    run_entry(main)
