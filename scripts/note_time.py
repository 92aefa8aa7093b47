"""Writes what time it is on this machine, for a job on another one to compare with its own clock."""

import argparse
import platform
import time
from pathlib import Path

from retclip.core.io import write_json
from retclip.core.logs import run_entry


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="JSON: host, time in Unix seconds")
    options = parser.parse_args(arguments)
    write_json(options.output, {"host": platform.node(), "time": time.time()})


if __name__ == "__main__":
    run_entry(main)
