"""Writes a W&B sweep file over the guide's five hyperparameters, and what wandb_trial needs to know of the run.

wandb sweep results/demo/sweep/sweep.yaml
wandb agent ENTITY/PROJECT/ID              in the same folder, once for each GPU
"""

import argparse
import json
from pathlib import Path

from retclip.core.io import atomic, read_json, write_json
from retclip.core.logs import log, run_entry
from retclip.search.wandb_sweep import sweep


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--setup", type=json.loads, required=True, help="JSON: trial specification, paths")
    parser.add_argument("--space", type=json.loads, required=True, help="JSON: phase2.space of the config")
    parser.add_argument("--best", type=Path, help="phase1/best.json, where the space is relative to it")
    parser.add_argument("--program", required=True, help="path of wandb_trial.py")
    parser.add_argument("--output-sweep", type=Path, required=True, help="the sweep file")
    parser.add_argument("--output-setup", type=Path, required=True, help="JSON that the sweep's command names")
    options = parser.parse_args(arguments)

    import yaml

    setup = options.setup
    specification = setup["specification"]
    if options.best:
        specification["values"] = read_json(options.best)["configured"]
    # the agent's own python may be another one
    command = ["${env}", setup.pop("interpreter"), "${program}", "--setup", str(options.output_setup), "${args}"]
    content = sweep(
        options.space,
        specification["values"],
        specification["selection_metric"],
        setup["group"],
        setup["project"],
        command,
        options.program,
    )
    write_json(options.output_setup, setup)
    with atomic(options.output_sweep) as path:
        path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    log(f"next: wandb sweep {options.output_sweep}, then wandb agent with the id that it prints, in this folder")


if __name__ == "__main__":
    run_entry(main)
