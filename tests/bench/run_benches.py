"""Every speed that this project claims, each as a ratio measured in one run; prints a table, writes summary.json.

  make bench                            all cases, about a quarter of an hour on two cores
  python tests/bench/run_benches.py loading stepping      some of them

Benches of their own: bench-data (preparing), bench-slurm (Slurm's part), bench-gpu (what a GPU makes of a step).
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # every figure is per core; before torch is imported

import argparse
import importlib
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
sys.path[:0] = [str(HERE), str(REPOSITORY / "tests"), str(REPOSITORY / "scripts")]

CASES = ("loading", "stepping", "compiling", "frozen", "page_faults", "threads", "starting", "planning", "growth")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=CASES, help=f"of {', '.join(CASES)}; all where none is named")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "results/bench/summary.json")
    options = parser.parse_args()

    from figures import HEADER

    print(HEADER, flush=True)
    found = []
    for case in options.cases:
        with tempfile.TemporaryDirectory() as folder:
            for figure in importlib.import_module(case).measure(Path(folder)):
                print(figure.row(), flush=True)
                found.append(figure)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps([asdict(figure) for figure in found], indent=1) + "\n")
    missed = [figure.name for figure in found if figure.met is False]
    print(
        f"\n{len(found)} figures in {options.output}"
        + (f"; short of their goal: {', '.join(missed)}" if missed else "")
    )


if __name__ == "__main__":
    main()
