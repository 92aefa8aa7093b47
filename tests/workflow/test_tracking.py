"""W&B without a network: what is written is read back by W&B's own reader, and its agent calls our program."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pandas as pd
import pytest
import running
import yaml
from running import REPOSITORY, planned_jobs, snakemake

from retclip.search.wandb_sweep import GUIDE

pytestmark = pytest.mark.slow
NOWHERE = {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "a" * 40}


def overlay(folder: Path, **content) -> Path:
    path = folder / f"{len(list(folder.glob('own*.yaml')))}own.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def read_back(run_file: Path) -> tuple[dict, list[dict]]:
    """The summary and the records of a .wandb file, by W&B's own reader."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(run_file)]
    summary, records = (
        subprocess.run([*command, *flags], capture_output=True, text=True, check=True).stdout
        for flags in (["--summary"], [])
    )
    return json.loads(summary), [json.loads(line) for line in records.splitlines()]


@pytest.fixture(scope="module")
def work(small_run, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tracked") / "run"
    shutil.copytree(small_run, folder, symlinks=True)
    return folder


def test_trainings_are_logged_and_nothing_is_trained_for_it(work, small_config, tmp_path):
    flags = [*small_config, overlay(tmp_path, tracking={"wandb": "offline"})]
    jobs = planned_jobs(work, *flags)
    training_runs = list((work / "results/small").glob("*/*/metrics.json"))
    assert {rule: len(found) for rule, found in jobs.items()} == {"track_trial": len(training_runs)}

    snakemake(work, *flags, "--", "results/small/tracking/phase1/baseline.json")
    outcome = json.loads((work / "results/small/tracking/phase1/baseline.json").read_text())
    assert (outcome["mode"], outcome["error"]) == ("offline", None)
    [run_file] = (work / "results/small/wandb").glob(f"offline-run-*-{outcome['id']}/run-*.wandb")
    folder = work / "results/small/phase1/baseline"
    metrics = json.loads((folder / "metrics.json").read_text())
    run, records = read_back(run_file)
    summary, config = run["summary"], run["config"]
    assert summary["zero_shot_balanced_accuracy"] == metrics["val"]["zero_shot_balanced_accuracy"]
    assert summary["device_seconds"] == metrics["device_seconds"]
    assert config["learning_rate"] == metrics["trial"]["configured"]["learning_rate"]
    text = json.dumps(records)
    assert '"gpu_utilization"' in text, "null on a CPU, which the summary leaves out"
    assert '"small"' in text, "the group"
    assert '"small-phase1-baseline"' in text, "the artefact"
    curve = pd.read_csv(folder / "history.csv")
    assert sum(record["type"] == "history" for record in records) == len(curve)


def test_an_unreachable_server_fails_nothing(work, small_config, tmp_path, monkeypatch):
    for name, value in NOWHERE.items():
        monkeypatch.setitem(running.ENVIRONMENT, name, value)
    flags = [*small_config, overlay(tmp_path, tracking={"wandb": "online"})]
    snakemake(work, *flags, "--", "results/small/tracking/phase2/b0r0s00.json")
    outcome = json.loads((work / "results/small/tracking/phase2/b0r0s00.json").read_text())
    assert outcome["mode"] == "offline"
    assert "connection refused" in outcome["error"]
    assert list((work / "results/small/wandb").glob(f"offline-run-*-{outcome['id']}/run-*.wandb"))


@pytest.fixture(scope="module")
def sweep(work, small_config, tmp_path_factory) -> dict:
    """The sweep file over the wide ranges, on the small run's data."""
    space = yaml.safe_load((REPOSITORY / "config/wide.yaml").read_text())["phase2"]["space"]
    space["learning_rate"].update({"low": 1.0e-4, "high": 1.0e-2})
    own = overlay(tmp_path_factory.mktemp("sweep"), phase2={"space": {**space, "epochs": None}})
    snakemake(work, *small_config, own, "--", "sweep")
    return yaml.safe_load((work / "results/small/sweep/sweep.yaml").read_text())


def test_wandbs_own_schema_accepts_the_sweep(sweep, tmp_path):
    assert sweep["method"] == "bayes"
    assert set(sweep["parameters"]) == set(GUIDE)
    # by itself: the whole of it wants an older numpy than ours
    command = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        tmp_path,
        "sweeps==0.2.0",
    ]
    if subprocess.run([str(part) for part in command], capture_output=True).returncode:
        pytest.skip("the package sweeps cannot be fetched")
    schema = json.loads((tmp_path / "sweeps/config/schema.json").read_text())
    validator = jsonschema.Draft7Validator(schema)
    assert [error.message for error in validator.iter_errors(sweep)] == []
    broken = {**sweep, "parameters": {"learning_rate": {"distribution": "uniform", "min": "low", "max": 1}}}
    assert list(validator.iter_errors(broken))


def test_wandbs_agent_calls_the_program(sweep, work, monkeypatch):
    """W&B's own agent builds the command and starts the process; only its server is missing."""
    from wandb.wandb_agent import Agent

    monkeypatch.chdir(work)
    for name, value in {"WANDB_MODE": "offline", "WANDB_SWEEP_ID": "s1", "WANDB_RUN_ID": "", "WANDB_DIR": str(work),
                        "WANDB_SWEEP_PARAM_PATH": ""}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    values = {"learning_rate": 0.003, "batch_size": 32, "warmup_steps": 2, "temperature": 0.1, "weight_decay": 0.2}
    agent = Agent(api=None, queue=None, sweep_id="s1")
    agent._sweep_command = sweep["command"]
    agent._command_run({"run_id": "r1", "program": sweep["program"],
                        "args": {name: {"value": value} for name, value in values.items()}})  # fmt: skip
    assert agent._run_processes["r1"].wait() == 0
    metrics = json.loads((work / "results/small/sweep/r1/metrics.json").read_text())
    assert {name: metrics["trial"]["configured"][name] for name in values} == values
    [run_file] = (work / "results/small/sweep/wandb").glob("offline-run-*-r1/run-r1.wandb")
    run, _ = read_back(run_file)
    metric = sweep["metric"]["name"]
    assert run["summary"][metric] == metrics["val"][metric]
    assert run["config"]["learning_rate"] == 0.003
    assert os.environ["WANDB_RUN_ID"] == "r1"
