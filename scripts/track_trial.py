"""Logs one finished training run to Weights & Biases and records the outcome; an unreachable server fails nothing."""

import argparse
from pathlib import Path

from retclip.core.io import sha256_of, write_json
from retclip.core.logs import run_entry
from retclip.metrics.metrics_document import Metrics
from retclip.search.wandb_runs import Place, log_run


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--metrics", type=Path, required=True, help="metrics.json of the training")
    parser.add_argument("--history", type=Path, required=True, help="history.csv of the training")
    parser.add_argument("--files", type=Path, nargs="*", default=[], help="more of its files for the artifact")
    parser.add_argument("--mode", choices=["offline", "online"], required=True, help="tracking.wandb of the config")
    parser.add_argument("--project", required=True, help="tracking.project of the config")
    parser.add_argument("--group", required=True, help="name of the run; its training runs are one group")
    parser.add_argument("--name", required=True, help="stage/trial")
    parser.add_argument("--folder", type=Path, required=True, help="W&B writes to its subfolder wandb/")
    parser.add_argument("--output", type=Path, required=True, help="JSON: id, mode, error")
    options = parser.parse_args(arguments)

    import pandas as pd

    metrics = Metrics.read(options.metrics)
    # the same training is the same run, so that logging it once more adds none
    identity = sha256_of([options.group, options.name, metrics.trial_sha256, metrics.code])[:16]
    place = Place(options.mode, options.folder, options.project, options.group, options.name, identity)
    history = pd.read_csv(options.history) if options.history.stat().st_size > 1 else pd.DataFrame()
    files = [options.metrics, options.history, *options.files]
    write_json(options.output, log_run(place, metrics, history, files))


if __name__ == "__main__":
    run_entry(main)
