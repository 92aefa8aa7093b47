"""How what a person waits for grows with trials and patients: the exponent of the processor time beyond the smallest
size, whose time is nearly all start.

2 would be all with all; n log n is 1.16 from 200 to 2,000 and 1.10 from 10,000 to 100,000. Trials are copies of a small
run's with other values and scores; patients are noise of 16 px, one image each.
"""

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from conftest import SMALL
from figures import Figure, cpu_seconds
from planning import PHASE2, plan_of
from prepare_data import command_of, tiny_pictures
from running import ENVIRONMENT, REPOSITORY, snakemake

TRIALS = (20, 200, 2000)
PATIENTS = (1_000, 10_000, 100_000)
STEEPEST = "<= 1.2"
METRIC = "zero_shot_balanced_accuracy"


def measure(folder: Path) -> list[Figure]:
    """Planning, ranking and reporting by trials; building and auditing by patients."""
    (folder / "small.yaml").write_text(SMALL)
    snakemake(folder, "--configfile", REPOSITORY / "config/demo.yaml", folder / "small.yaml")
    encoder = next((folder / "resources/text_encoders").iterdir())
    studies = {trials: _study(folder / "results/small", folder / f"study{trials}", trials) for trials in TRIALS}
    data = {patients: _data(folder / f"data{patients}", patients) for patients in PATIENTS}
    return [
        _grown("a dry run", "trials", {trials: partial(_plan, folder / f"plan{trials}", trials) for trials in TRIALS}),
        _grown("ranking", "trials", {trials: partial(_rank, study) for trials, study in studies.items()}),
        _grown("the report", "trials", {trials: partial(_report, study) for trials, study in studies.items()}),
        _grown("the build", "patients", {patients: partial(_build, place) for patients, place in data.items()}),
        _grown("the audit", "patients", {n: partial(_audit, place, encoder) for n, place in data.items()}),
    ]


def _grown(what: str, unit: str, work: dict[int, Callable[[], None]]) -> Figure:
    """CPU seconds of the largest size beside the smallest, and the exponent beyond it, from the one in the middle."""
    seconds = {}
    for size, run in work.items():
        before = cpu_seconds()
        run()
        seconds[size] = cpu_seconds() - before
    smallest, middle, largest = seconds
    last, first = ((seconds[size] - seconds[smallest], size - smallest) for size in (largest, middle))
    exponent = math.log(last[0] / first[0]) / math.log(last[1] / first[1])
    name = f"{what} of {largest:,} {unit}, beside {smallest:,}: exponent from {middle:,}"
    return Figure(name, seconds[largest], "CPU s", seconds[smallest], exponent, STEEPEST, (exponent, exponent))


def _study(small: Path, folder: Path, trials: int) -> tuple[Path, list[str]]:
    """A finished run whose Phase 2 had so many trials, and their ids."""
    ignored = ("*.lmdb", "model", "state", "logs", "benchmarks", "report", "b0r0s*")
    shutil.copytree(small, folder, ignore=shutil.ignore_patterns(*ignored))
    generator = np.random.default_rng(trials)
    first, names = small / "phase2/b0r0s00", [f"b0r0s{slot:02d}" for slot in range(trials)]
    for name in names:
        place = folder / "phase2" / name
        place.mkdir()
        for file in ("history.csv", "val_predictions.parquet"):
            shutil.copy(first / file, place / file)
        metrics = json.loads((first / "metrics.json").read_text())
        rate, score = 10 ** generator.uniform(-4, -2), generator.uniform(0.1, 0.6)
        metrics["trial"] |= {"id": name}
        for values in ("hyperparameters", "configured"):
            metrics["trial"][values]["learning_rate"] = rate
        metrics["val"][METRIC] = score
        (place / "metrics.json").write_text(json.dumps(metrics))
    record = json.loads((folder / "run.json").read_text())
    (epochs, *_), (told, *_) = record["training_runs"]["phase2"].values(), record["facts"]["phase2"].values()
    record["training_runs"]["phase2"] = dict.fromkeys(names, epochs)
    record["facts"]["phase2"] = {name: {**told, "slot": slot} for slot, name in enumerate(names)}
    (folder / "run.json").write_text(json.dumps(record))
    return folder, names


def _plan(folder: Path, trials: int) -> None:
    folder.mkdir()
    (folder / "own.yaml").write_text(PHASE2 % trials)
    files = ["--snakefile", REPOSITORY / "Snakefile", "--configfile", REPOSITORY / "config/demo.yaml"]
    plan_of(folder, *files, folder / "own.yaml")


def _rank(study: tuple[Path, list[str]]) -> None:
    folder, names = study
    _entry("rank_trials", "--stage-dir", folder / "phase2", "--candidates", *names, "--metric", METRIC,
           "--output", folder / "phase2/leaderboard.csv")  # fmt: skip


def _report(study: tuple[Path, list[str]]) -> None:
    folder, _ = study
    _entry("build_report", "--run-folder", folder, "--output-folder", folder / "report")


def _data(folder: Path, patients: int) -> Path:
    tiny_pictures(folder, patients)
    return folder


def _build(folder: Path) -> None:
    subprocess.run(command_of(folder, folder / "table.csv", 16, 1), env=ENVIRONMENT, check=True, capture_output=True)


def _audit(folder: Path, encoder: Path) -> None:
    _entry("audit_data", "--data-dir", folder / "data", "--encoder", f"bert={encoder}", "--context-length", 77,
           "--selection-metric", METRIC, "--output", folder / "audit.json")  # fmt: skip


def _entry(name: str, *flags: object) -> None:
    command = [sys.executable, REPOSITORY / f"scripts/{name}.py", *flags]
    subprocess.run([*map(str, command)], env=ENVIRONMENT, check=True, capture_output=True)
