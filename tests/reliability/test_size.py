"""Two thousand trials: planned, run as jobs with a stand-in for the trainer that needs no torch, ranked and reported,
and twenty real trials beside them.

The stand-in belongs to this test alone: it takes the place of scripts/train_trial.py in a copy of the repository, and
hands every training run that it has no answer for to the real one. Plans are written in this process, by the code that
plan_trial runs: two thousand starts of python would show nothing more.
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
from running import REPOSITORY, planned_jobs, snakemake

from retclip.core.io import write_json, write_parquet
from retclip.search.budget import plan
from retclip.search.space import grid

pytestmark = pytest.mark.slow
TRIALS, REAL_TRIALS = 2000, 20
OWN = {
    "phase1": {
        "space": {
            "learning_rate": [round(1e-4 * (step + 1), 6) for step in range(50)],
            "batch_size": [16, 32, 64, 128],
            "warmup_steps": [0, 1, 2, 3, 4],
            "weight_decay": [0.1, 0.2],
        }
    },
    "phase2": {"trials": REAL_TRIALS, "space": {"weight_decay": [0.1, 0.2, 0.3], "temperature": [0.1, 0.2, 0.3]}},
}
STAND_IN = """
import runpy, shutil, sys
from pathlib import Path

folder = Path(sys.argv[sys.argv.index("--output-dir") + 1])
answer = Path({answers!r}) / folder.name
if answer.is_dir():
    shutil.copytree(answer, folder, dirs_exist_ok=True, copy_function=shutil.copyfile)
else:
    runpy.run_path(str(Path(__file__).with_name("the_real_one.py")), run_name="__main__")
"""
PLAN_SECONDS, TRAIN_SECONDS, RANK_SECONDS, REPORT_SECONDS = 60, 1200, 120, 240
MOST_BYTES = 4 * 2**30


def answer(folder: Path, trial: dict, like: Path) -> None:
    """A training run's results, with scores that follow from its learning rate alone."""
    folder.mkdir(parents=True)
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


def with_stand_in(answers: Path, target: Path) -> Path:
    """A copy of the repository whose trainer is the stand-in."""
    target.mkdir()
    for name in ("Snakefile", "config", "rules", "scripts", "envs"):
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, target / name)
    trainer = target / "scripts/train_trial.py"
    trainer.rename(trainer.with_name("the_real_one.py"))
    trainer.write_text(STAND_IN.format(answers=str(answers)))
    return target


@pytest.mark.skipif(MOMENTS == 1, reason="a quarter of an hour: make test-reliability")
def test_two_thousand_trials(small_run, small_config, tmp_path, capsys):
    run, answers = tmp_path / "run", tmp_path / "answers"
    shutil.copytree(small_run, run, symlinks=True)
    results = run / "results/small"
    own = tmp_path / "own.yaml"
    own.write_text(yaml.safe_dump(OWN))
    flags = [*small_config, str(own)]
    repository = with_stand_in(answers, tmp_path / "repository")
    points = grid(OWN["phase1"]["space"])
    assert len(points) == TRIALS

    baseline = results / "phase1/baseline"
    template = json.loads((baseline / "trial.json").read_text())
    counts = {"train": template["budget"]["train_samples"], "val": template["budget"]["val_samples"]}
    for name, point in points.items():
        specification = {**template, "id": name, "train_samples": None, "val_samples": None, "epochs": 1}
        trial = plan(specification, {**template["configured"], **point}, counts).to_dict()
        write_json(results / f"phase1/{name}/trial.json", trial)
        answer(answers / name, trial, baseline)
    plans = [f"results/small/phase1/{name}/trial.json" for name in points]
    snakemake(run, *flags, "--touch", "--", *plans, repository=repository)

    seconds = {}

    def timed(name: str, *arguments: str) -> None:
        started = time.monotonic()
        snakemake(run, *flags, *arguments, repository=repository)
        seconds[name] = time.monotonic() - started

    started = time.monotonic()
    jobs = planned_jobs(run, *flags, repository=repository)
    seconds["plan"] = time.monotonic() - started
    assert len(jobs["train_phase1_trial"]) == TRIALS + 1
    assert len(jobs["train_phase2_trial"]) == REAL_TRIALS
    timed("train", "--until", "train_phase1_trial")
    timed("rank", "--", "results/small/phase1/best.json")
    board = pd.read_csv(results / "phase1/leaderboard.csv")
    assert len(board) == TRIALS + 1
    best = json.loads((results / "phase1/best.json").read_text())
    assert best["configured"]["learning_rate"] > 1e-3
    timed("all the rest")
    timed("report", "--forcerun", "build_report", "--", "results/small/report/index.html")
    trials = pd.read_csv(results / "report/trials.csv")
    assert len(trials) >= TRIALS + 1 + REAL_TRIALS
    assert not planned_jobs(run, *flags, repository=repository)
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    with capsys.disabled():
        spent = ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items())
        page = (results / "report/index.html").stat().st_size
        print(f"\n{TRIALS} trials and {REAL_TRIALS} real ones: {spent}; {most / 1e9:.1f} GB at most; "
              f"a page of {page / 1e6:.1f} MB")  # fmt: skip
    assert seconds["plan"] < PLAN_SECONDS
    assert seconds["train"] < TRAIN_SECONDS
    assert seconds["rank"] < RANK_SECONDS
    assert seconds["report"] < REPORT_SECONDS
    assert most < MOST_BYTES
