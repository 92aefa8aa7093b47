"""Every strategy of Phase 2 through the real workflow, from its proposals to the report."""

import json
import shutil

import pandas as pd
import pytest
import yaml
from running import planned_jobs, snakemake

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
    settings, trainings = STRATEGIES[strategy]
    work = tmp_path / "run"
    shutil.copytree(small_run, work, symlinks=True)
    own = {"phase2": {"strategy": strategy, **settings}, "confirm": {"top_k": 0}}
    own["model"] = {"text_encoders": {"bert_base": None}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own))
    flags = [*small_config, tmp_path / "own.yaml"]
    snakemake(work, *flags)
    results = work / "results/small"
    board = pd.read_csv(results / "phase2/leaderboard.csv")
    assert len(board) == trainings
    trials = pd.read_csv(results / "report/trials.csv")
    assert set(trials.loc[trials["stage"] == "phase2", "id"]) == set(board["id"])
    brackets = sorted((results / "phase2").glob("bracket-*.json"))
    last = brackets[len(set(board["id"].str.extract("b([0-9]+)r")[0])) - 1]
    proposed = json.loads(last.read_text())
    last.unlink()
    snakemake(work, *flags, "--", str(last.relative_to(work)))
    assert json.loads(last.read_text()) == proposed
    assert planned_jobs(work, *flags).keys() <= {"plan_phase2_trial"}
