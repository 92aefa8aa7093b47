"""Prints what a run will do and cost before it starts: steps, warm-up, adjustments, device-hours, disk. Trains nothing.

Counts come from fingerprint.json once the data is built, before that from the table; the speed is what find_lr
measured, once it has. Ends with an error, naming the key to change, where the run cannot mean anything.
"""

import argparse
import json
import os
import shutil
from pathlib import Path
from typing import Any

from retclip.core.gpus import visible
from retclip.core.io import read_json
from retclip.core.logs import run_entry
from retclip.core.table_counts import estimated_counts
from retclip.metrics.metrics_document import Metrics
from retclip.search.budget import same_document
from retclip.search.forecast import count_finished, device_seconds, forecast, refuse_meaningless
from retclip.search.plan_text import disk_lines, gpu_lines, plan_lines, refuse_costly, upgrade_lines


def finished_training_runs(results_dir: Path) -> list[dict[str, Any]]:
    """metrics.json of every finished training, of earlier versions, too; one that two stages share is there once."""
    found = (read_json(path) for path in sorted(results_dir.glob("*/*/metrics.json")))
    return list({same_document(metrics["trial"]): metrics for metrics in found}.values())


def planned_and_finished(options: argparse.Namespace) -> dict[str, list[Metrics]]:
    """Stage -> metrics.json of those training runs of the plan that have one, of the code that is here now."""
    folders = {
        stage: [options.results_dir / stage / name for name in ids] for stage, ids in options.training_runs.items()
    }
    paths = {stage: [folder / "metrics.json" for folder in entries] for stage, entries in folders.items()}
    return {
        stage: [Metrics.read(path) for path in entries if path.is_file() and read_json(path)["code"] == options.code]
        for stage, entries in paths.items()
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=json.loads, required=True, help="JSON: the checked config")
    parser.add_argument("--training-runs", type=json.loads, required=True, help="JSON: stage -> ids of training runs")
    parser.add_argument("--results-dir", type=Path, required=True, help="results/{run}; may not exist yet")
    parser.add_argument("--code", required=True, help="hash of the training code")
    options = parser.parse_args(arguments)
    config = options.config

    numbers = {stage: len(ids) for stage, ids in options.training_runs.items()}
    built, measured = options.results_dir / "data/fingerprint.json", options.results_dir / "find_lr/suggestion.json"
    if built.is_file():
        fingerprint = read_json(built)
        counts = {name: split["samples"] for name, split in fingerprint["splits"].items()}
        data = {name: fingerprint["splits"][name]["sha256"] for name in ("train", "val")}
        refuse_meaningless(config["selection"]["metric"], len(fingerprint["classes"]))
    else:
        estimate = estimated_counts(config["data"])
        if estimate is None:
            raise ValueError("the plan needs the data built first, which takes no GPU: snakemake -- " + str(built))
        counts = estimate["splits"]
        refuse_meaningless(config["selection"]["metric"], estimate["labels"])
    stages = forecast(config, counts, numbers)
    if built.is_file():
        stages = count_finished(stages, planned_and_finished(options), config, options.code, data)
    speed = read_json(measured) if measured.is_file() else None
    seconds = None
    if speed:
        seconds = device_seconds(stages, speed["samples_per_second"]) * max(1, config["training"]["gpus"])
    print("\n".join(plan_lines(config["run"], counts, built.is_file(), stages, speed, seconds)))
    place = next(path for path in (options.results_dir, *options.results_dir.absolute().parents) if path.exists())
    files = os.statvfs(place)
    free = {"bytes": shutil.disk_usage(place).free, "files": files.f_favail if files.f_files else None}
    lines = disk_lines(config, counts, sum(numbers.values()), free)
    lines = [*gpu_lines(config["training"], visible()), *lines]
    print("\n".join([*lines, *upgrade_lines(finished_training_runs(options.results_dir), options.code)]))
    refuse_costly(config, seconds)


if __name__ == "__main__":
    run_entry(main)
