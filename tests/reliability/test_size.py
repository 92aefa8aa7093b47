"""Two thousand trials: planned, run by a stand-in for the trainer that needs no torch, ranked and chosen.

The stand-in belongs to this test. It runs in this process and not as 2,000 jobs, which would take an hour of process
starts and show nothing of ours; snakemake is then told that the files are there (--touch).
"""

import json
import resource
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from reliability.faults import MOMENTS
from running import planned_jobs, snakemake

from retclip.core.files import write_json, write_parquet
from retclip.search.budget import plan
from retclip.search.space import grid

pytestmark = pytest.mark.slow
TRIALS = 2000
SPACE = {
    "learning_rate": [round(1e-4 * (step + 1), 6) for step in range(50)],
    "batch_size": [16, 32, 64, 128],
    "warmup_steps": [0, 1, 2, 3, 4],
    "weight_decay": [0.1, 0.2],
}
BOARD = "results/small/phase1/leaderboard.csv"
PLAN_SECONDS, RANK_SECONDS, MOST_BYTES = 120, 300, 4 * 2**30


def stand_in(folder: Path, like: Path) -> None:
    """metrics.json and predictions of one trial, with scores that follow from its learning rate alone."""
    trial = json.loads((folder / "trial.json").read_text())
    metrics = json.loads((like / "metrics.json").read_text())
    table = pd.read_parquet(like / "val_predictions.parquet")
    rate = trial["hyperparameters"]["learning_rate"]
    generator = np.random.default_rng(int(rate * 1e7))
    scores = [name for name in table if name.startswith("score_")]
    right = np.eye(len(scores))[table["target"].to_numpy()]
    table[scores] = generator.normal(size=right.shape) + right * 1e3 * rate
    guess = table[scores].to_numpy().argmax(1) == table["target"]
    value = float(np.mean([guess[table["target"] == label].mean() for label in table["target"].unique()]))
    metrics["val"]["zero_shot_balanced_accuracy"] = value
    write_json(folder / "metrics.json", {**metrics, "trial": trial, "trial_sha256": trial["sha256"]})
    write_parquet(folder / "val_predictions.parquet", table)
    shutil.copyfile(like / "history.csv", folder / "history.csv")


@pytest.mark.skipif(MOMENTS == 1, reason="minutes: make test-reliability")
def test_two_thousand_trials(small_run, small_config, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(small_run, run, symlinks=True)
    results = run / "results/small"
    overlay = tmp_path / "size.yaml"
    overlay.write_text(yaml.safe_dump({"phase1": {"space": SPACE}}))
    flags = [*small_config, str(overlay)]
    started = time.monotonic()
    jobs = planned_jobs(run, *flags)
    planning = time.monotonic() - started
    points = grid(SPACE)
    assert len(points) == TRIALS
    assert len(jobs["train_phase1_trial"]) == TRIALS
    assert planning < PLAN_SECONDS

    baseline = results / "phase1/baseline"
    template = json.loads((baseline / "trial.json").read_text())
    counts = {"train": template["budget"]["train_samples"], "val": template["budget"]["val_samples"]}
    for name, point in points.items():
        recipe = {**template, "id": name, "train_samples": None, "val_samples": None, "epochs": 1}
        write_json(results / f"phase1/{name}/trial.json", plan(recipe, {**template["configured"], **point}, counts))
        stand_in(results / f"phase1/{name}", baseline)
    snakemake(run, *flags, "--touch", "--", *(f"results/small/phase1/{name}/metrics.json" for name in points))
    assert set(planned_jobs(run, *flags, "--", BOARD)) == {"rank_phase1"}

    (results / "phase1/leaderboard.csv").unlink()
    started = time.monotonic()
    snakemake(run, *flags, "--", "results/small/phase1/best.json")
    ranking = time.monotonic() - started
    board = pd.read_csv(results / "phase1/leaderboard.csv")
    assert len(board) == TRIALS + 1
    best = json.loads((results / "phase1/best.json").read_text())
    assert best["hyperparameters"]["learning_rate"] > 1e-3
    assert ranking < RANK_SECONDS
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    assert most < MOST_BYTES
    with capsys.disabled():
        print(f"\n{TRIALS} trials: planned in {planning:.0f} s, ranked in {ranking:.0f} s, {most / 1e9:.1f} GB at most")
