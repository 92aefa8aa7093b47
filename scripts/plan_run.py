"""Prints what a run will do and cost before it starts: steps, warm-up, adjustments, device-hours, disk. Trains nothing.

Counts come from fingerprint.json once the data is built, before that from the table; the speed is what find_lr
measured, or check_gpu before that. Ends with an error, naming the key to change, where the run cannot mean anything.
"""

import argparse
import json
import os
import shutil
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from retclip.core.config import external_test, subsets
from retclip.core.data_settings import build_settings, image_root
from retclip.core.facts import DONE, TRAINS
from retclip.core.fetched import refuse_absent
from retclip.core.gpus import visible
from retclip.core.io import read_json
from retclip.core.logs import run_entry
from retclip.core.prompts import class_prompts, note_on_prompts
from retclip.core.source_facts import source_facts
from retclip.core.table_counts import estimated_counts
from retclip.data.preview import preview
from retclip.data.splits import refuse_fractions
from retclip.metrics.refusals import note_on_order, refuse_meaningless, refuse_unscorable
from retclip.search.budget import same_document
from retclip.search.clock import clock_seconds, waves_of
from retclip.search.dead_dimensions import dead_dimensions
from retclip.search.forecast import (
    FORK_SECONDS,
    START_SECONDS,
    Stage,
    belongs,
    forecast,
    seconds_to_come,
    trains_heads_alone,
)
from retclip.search.plan_text import (
    clock_lines,
    compile_lines,
    disk_lines,
    gpu_lines,
    outlook_lines,
    plan_lines,
    refuse_costly,
    submission_lines,
    upgrade_lines,
)
from retclip.search.speed import known_speed
from retclip.training.outlook import Present, outlook


def finished_training_runs(results_dir: Path) -> list[dict[str, Any]]:
    """metrics.json of every finished training, of earlier versions, too; one that two stages share is there once."""
    found = (read_json(path) for path in sorted(results_dir.glob("*/*/metrics.json")))
    return list({same_document(metrics["trial"]): metrics for metrics in found}.values())


def outlooks(stages: list[Stage], fingerprint: dict[str, Any], options: argparse.Namespace) -> dict[str, Counter[str]]:
    """Stage -> what will be done for how many of its training runs."""
    present = Present(
        state_dir=options.results_dir / "state",
        data={name: fingerprint["splits"][name]["sha256"] for name in ("train", "val")},
        encoders={name: Path(folder) for name, folder in options.encoder_dirs.items()},
        prompts=class_prompts(options.prompts, fingerprint["classes"]),
        code=options.code,
    )
    return {
        stage.name: Counter(
            outlook(options.results_dir / stage.name / name, present, partial(belongs, stage, config=options.config))
            for name in options.training_runs[stage.name]
        )
        for stage in stages
    }


def read_data(config: dict[str, Any], options: argparse.Namespace) -> tuple[dict[str, int], int, int | None, str]:
    """Samples by split, the number of classes, those that stand alone, and how these are known; prints what the tables
    hold.

    Raises ValueError where they are refused. Where there is no image yet, it is an estimate.
    """
    facts = source_facts(config["data"]["source"])
    if facts.is_drawn or ("hub_dataset" in config["data"] and not options.image_root.is_dir()):
        estimate = estimated_counts(config["data"])
        assert estimate is not None
        how = "data.demo_patients" if facts.is_drawn else "the table, since its images are not fetched yet"
        return estimate["splits"], estimate["labels"], None, f"estimated from {how}"
    tables = {name: external_test(config, name) for name in config["evaluation"].get("external_tests", {})}
    found = None
    for name, data in {"": config["data"], **tables}.items():
        images = Path(image_root(data)) if name else options.image_root
        class_map = options.class_maps.get(name)
        try:
            seen = preview(
                build_settings(config, name or None),
                Path(data["manifest"]),
                images,
                Path(data["test_manifest"]) if "test_manifest" in data else None,
                Path(class_map) if class_map else None,
            )
        except ValueError as error:
            raise ValueError(f"external data set {name}: {error}" if name else str(error)) from None
        print("\n".join([f"external data set {name}:" if name else "the data, as its table and files are:", *(
            f"  {line}" for line in seen.lines), *(f"  warning: {note}" for note in seen.notes), ""]))  # fmt: skip
        found = found or seen
    assert found is not None
    refuse_fractions(found.train_patients, subsets(config).values())
    tell_order(config, found.class_names)
    if options.prompts and (note := note_on_prompts(options.prompts, found.class_names)):
        print(f"warning: {note}\n")
    how = "every row was read; images that cannot be read and near-duplicates are found by the build"
    return found.counts, found.classes, found.single, how


def tell_order(config: dict[str, Any], classes: list[str]) -> None:
    """Prints which of the ordered classes the data does not have. Raises ValueError where no two are there."""
    if note := note_on_order(config["evaluation"].get("ordered_classes", []), classes):
        print(f"warning: {note}\n")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=json.loads, required=True, help="JSON: the checked config")
    parser.add_argument("--training-runs", type=json.loads, required=True, help="JSON: stage -> ids of training runs")
    parser.add_argument("--results-dir", type=Path, required=True, help="results/{run}; may not exist yet")
    parser.add_argument("--code", required=True, help="hash of the training code")
    parser.add_argument("--prompts", type=Path, help="YAML, class name: descriptions; read once the data is built")
    parser.add_argument("--encoder-dirs", type=json.loads, default={}, help="JSON: text encoder -> its folder")
    parser.add_argument("--image-weights", type=Path, help="where the image encoder's are fetched to")
    parser.add_argument("--groups", type=json.loads, default={}, help="JSON: stage -> how many share a job of Slurm's")
    parser.add_argument("--forks", action="store_true", help="training runs are forks of a process with all imported")
    parser.add_argument("--cores", type=int, help="of this machine, where it trains on its CPU")
    parser.add_argument("--image-root", type=Path, default=Path(), help="folder of the table's image paths")
    parser.add_argument("--class-maps", type=json.loads, default={}, help="JSON: external data set, or '' -> its file")
    options = parser.parse_args(arguments)
    config = options.config
    refuse_absent(config["model"], options.encoder_dirs, options.image_weights)

    numbers = {stage: len(ids) for stage, ids in options.training_runs.items()}
    known = ""
    built = options.results_dir / "data/fingerprint.json"
    if built.is_file():
        import pandas as pd

        fingerprint = read_json(built)
        counts = {name: split["samples"] for name, split in fingerprint["splits"].items()}
        refuse_unscorable(config["selection"]["metric"], fingerprint)
        tell_order(config, fingerprint["classes"])
        if fractions := subsets(config).values():
            patients = pd.read_parquet(built.with_name("samples_train.parquet"), columns=["patient_id"])
            refuse_fractions(patients["patient_id"], fractions)
    else:
        counts, classes, single, known = read_data(config, options)
        refuse_meaningless(config["selection"]["metric"], classes, single)
    stages = forecast(config, counts, numbers)
    found = {stage.name: Counter({TRAINS: stage.training_runs}) for stage in stages}
    if built.is_file():
        found = outlooks(stages, fingerprint, options)
        stages = [stage._replace(finished=stage.training_runs - found[stage.name][TRAINS]) for stage in stages]
    speed = known_speed(config, options.results_dir)
    start = FORK_SECONDS if options.forks else START_SECONDS
    seconds = seconds_to_come(config, stages, speed.samples_per_second if speed else None, start)
    of_heads = start if trains_heads_alone(config) else None
    print("\n".join(plan_lines(config["run"], counts, known, stages, speed, seconds, of_heads)))
    if options.cores:
        waves = waves_of(config, options.cores)
        clock = clock_seconds(config, waves, stages, speed.samples_per_second if speed else None, start)
        print("\n".join(clock_lines(options.cores, waves, stages, clock)))
    print("\n".join(outlook_lines(sum(found.values(), Counter()))))
    to_come = {stage: expected.total() - expected[DONE] for stage, expected in found.items()}
    print("\n".join(submission_lines(to_come, options.groups)))
    place = next(path for path in (options.results_dir, *options.results_dir.absolute().parents) if path.exists())
    files = os.statvfs(place)
    free = {"bytes": shutil.disk_usage(place).free, "files": files.f_favail if files.f_files else None}
    lines = disk_lines(config, counts, sum(numbers.values()), free)
    dead = [f"cannot matter: {sentence}" for sentence in dead_dimensions(config, counts)]
    lines = [*compile_lines(config), *dead, *gpu_lines(config["training"], visible()), *lines]
    print("\n".join([*lines, *upgrade_lines(finished_training_runs(options.results_dir), options.code)]))
    refuse_costly(config, seconds)


if __name__ == "__main__":
    run_entry(main)
