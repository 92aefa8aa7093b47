"""Runs a finished run once more from its recorded config, in a folder of its own, and compares every score.

Prints one line a training run and evaluation that differs, and ends with exit 1 if any does. On the same machine, on a
CPU, with as many threads, all are equal bit for bit.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from retclip.core.io import write_json
from retclip.core.logs import run_entry
from retclip.core.recorded import (
    compared_scores,
    link_resources,
    overlay_of,
    recorded_config,
    refuse_others_folder,
)

REPOSITORY = Path(__file__).resolve().parents[1]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run-folder", type=Path, required=True, help="results/{run}, finished, with its run.json")
    parser.add_argument("--output-dir", type=Path, required=True, help="where to run: gets results/{run} and a config")
    parser.add_argument("--cores", default="all", help="of snakemake (default: all)")
    options = parser.parse_args(arguments)

    import yaml

    base = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text(encoding="utf-8"))
    recorded = recorded_config(options.run_folder / "run.json", base)
    overlay = overlay_of(recorded, base)
    refuse_others_folder(options.output_dir, recorded["run"], overlay)
    config = options.output_dir / "config.json"
    write_json(config, overlay)
    link_resources(Path("resources"), options.output_dir / "resources")
    command = [sys.executable, "-P", "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")]
    command += ["--profile", "none", "--workflow-profile", "none"]  # here, whatever profile a site has
    command += ["--directory", str(options.output_dir), "--configfile", str(config), "--cores", options.cores]
    print(
        f"runs {recorded['run']} again, in {options.output_dir.resolve()}, and writes nothing outside of it", flush=True
    )
    done = subprocess.run([*command, "--rerun-incomplete", "--quiet", "rules"])
    if done.returncode:
        raise ValueError(f"the run of {config} failed; its message is above.")
    again = options.output_dir / "results" / recorded["run"]
    equal, different = compared_scores(options.run_folder, again)
    for line in different:
        print(f"different: {line}")
    print(f"{options.run_folder}: {equal} of {equal + len(different)} files of scores are equal in {again}")
    if different:
        sys.exit(1)


if __name__ == "__main__":
    run_entry(main)
