"""Every strategy of Phase 2 through the real workflow, from its proposals to the report."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import yaml
from running import ENVIRONMENT, REPOSITORY, planned_jobs, snakemake

pytestmark = pytest.mark.slow
STRATEGIES = {
    "grid": ({}, 6),
    "qmc": ({"trials": 3}, 3),
    "tpe": ({"trials": 4, "trials_per_round": 2}, 4),
    "gp": ({"trials": 3, "trials_per_round": 2}, 3),
    "tpe_halving": ({"brackets": 2, "epochs": 2, "rungs": {"slots": [2, 1], "epochs": [1, 2]}}, 6),
}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_strategy_runs_to_its_report(small_run, small_config, tmp_path, strategy):
    """Its trials are those that were planned, and a round that is lost is proposed again as it was."""
    settings, training_runs = STRATEGIES[strategy]
    work = tmp_path / "run"
    shutil.copytree(small_run, work, symlinks=True)
    own = {"phase2": {"strategy": strategy, **settings}, "confirm": {"top_k": 0}}
    own["model"] = {"text_encoders": {"bert_base": None}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own))
    flags = [*small_config, tmp_path / "own.yaml"]
    snakemake(work, *flags)
    results = work / "results/small"
    board = pd.read_csv(results / "phase2/leaderboard.csv")
    assert len(board) == training_runs
    trials = pd.read_csv(results / "report/trials.csv")
    assert set(trials.loc[trials["stage"] == "phase2", "id"]) == set(board["id"])
    first = json.loads((results / "phase2/bracket-0.json").read_text())
    # Phase 1 trained as long on as much, so those that learn begin with what it found
    assert first["observed"] == (3 if strategy in ("tpe", "gp") else 0)
    brackets = sorted((results / "phase2").glob("bracket-*.json"))
    last = brackets[len(set(board["id"].str.extract("b([0-9]+)r")[0])) - 1]
    proposed = json.loads(last.read_text())
    last.unlink()
    snakemake(work, *flags, "--", str(last.relative_to(work)))
    assert json.loads(last.read_text()) == proposed
    assert planned_jobs(work, *flags).keys() <= {"plan_phase2_trial"}


def test_a_round_that_was_killed_ends_as_if_it_had_not_been(small_run, small_config, tmp_path):
    (tmp_path / "own.yaml").write_text("phase2: {strategy: tpe, trials: 4, trials_per_round: 2}\n")
    flags = [*small_config, tmp_path / "own.yaml"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    board = "results/small/phase2/leaderboard.csv"
    for folder in (whole, killed):
        shutil.copytree(small_run, folder, symlinks=True)
    command = [sys.executable, "-m", "snakemake", "--snakefile", REPOSITORY / "Snakefile", "--directory", killed,
               "--cores", 2, *flags, "--", board]  # fmt: skip
    process = subprocess.Popen([str(part) for part in command], env=ENVIRONMENT, start_new_session=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    # in the second round, when a trial is planned and at most begun
    while not (killed / "results/small/phase2/b1r0s00/trial.json").exists():
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    snakemake(killed, *flags, "--unlock")
    snakemake(killed, *flags, "--", board)
    snakemake(whole, *flags, "--", board)
    for number in range(2):
        rounds = [folder / f"results/small/phase2/bracket-{number}.json" for folder in (whole, killed)]
        assert rounds[0].read_text() == rounds[1].read_text()
    boards = [pd.read_csv(folder / board).drop(columns="device_seconds") for folder in (whole, killed)]
    pd.testing.assert_frame_equal(*boards)
