"""Writes the bill of materials of requirements.lock: each package with version, hashes, license and needs (CycloneDX).

write_sbom.py --output results/sbom.cdx.json
"""

import argparse
from pathlib import Path

from retclip.core.bill_of_materials import bill_of_materials
from retclip.core.io import write_json
from retclip.core.logs import run_entry
from retclip.core.provenance import REPOSITORY


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="a JSON file")
    options = parser.parse_args(arguments)
    write_json(options.output, bill_of_materials(REPOSITORY / "requirements.lock"))
    print(options.output)


if __name__ == "__main__":
    run_entry(main)
