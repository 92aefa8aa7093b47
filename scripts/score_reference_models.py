"""Scores on test what needs no RET-CLIP: age and sex, the colors of the photographs, and a second reader.

A tuned model has to beat the first two. How far the second reader (the column label_2) agrees with the labels is what
no model can be asked to exceed. Logistic regressions are fitted on train; val chooses their penalty, test nothing.
"""

import argparse
from pathlib import Path

from retclip.core.io import read_json, write_json
from retclip.core.logs import log, run_entry
from retclip.evaluation.references import reference_models


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True, help="samples, LMDBs and fingerprint.json")
    parser.add_argument("--code", required=True, help="hash of this code, for the record")
    parser.add_argument("--output", type=Path, required=True, help="reference_models.json")
    options = parser.parse_args(arguments)

    found = reference_models(options.data_dir, read_json(options.data_dir / "fingerprint.json"), options.code)
    for one in found.models:
        log(f"{one.name}: {one.test_units:,} test units scored")
    for missing in found.omitted:
        log(f"{missing.name}: not measured, since {missing.reason}")
    write_json(options.output, found.to_dict())


if __name__ == "__main__":
    run_entry(main)
