"""What the state of a finished training run gives again without a step: other prompts, another metric, a model."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import yaml
from reliability.faults import content, copy_of, made_by, without_outputs
from running import REPOSITORY, snakemake

pytestmark = pytest.mark.slow
RESULTS = ("metrics.json", "history.csv", "val_predictions.parquet")


def of(flags: list[str], name: str) -> str:
    return flags[flags.index(name) + 1]


@pytest.fixture
def run(small_run, tmp_path):
    return copy_of(small_run, tmp_path / "run")


def plan_again(jobs, entries, run, tmp_path, prompts: dict[str, list[str]]) -> None:
    """The trial of train_phase1_trial, with other class prompts."""
    name, flags = jobs["plan_phase1_trial"]
    (tmp_path / "prompts.yaml").write_text(yaml.safe_dump(prompts))
    flags = [*flags, "--prompts", str(tmp_path / "prompts.yaml")]
    code, log = entries.run(name, flags, run)
    assert code == 0, log
    _, training = jobs["train_phase1_trial"]
    assert of(flags, "--output") == of(training, "--trial")


def test_new_class_prompts_score_kept_weights(jobs, entries, run, tmp_path):
    """Bit for bit what a training with those prompts gives, but for scores of epochs whose weights are gone."""
    prompts = yaml.safe_load((REPOSITORY / "config/prompts.yaml").read_text())
    prompts = {label: [f"{sentences[0]} Or so."] for label, sentences in prompts.items()}
    plan_again(jobs, entries, run, tmp_path, prompts)
    name, flags = jobs["train_phase1_trial"]
    results = run / of(flags, "--output-dir")
    before = content(results / "metrics.json")
    code, log = entries.run(name, flags, run)
    assert code == 0, log
    assert "these weights are trained already" in log
    assert "steps on" not in log
    again = {file: content(results / file) for file in RESULTS}
    assert again["metrics.json"]["val"] != before["val"]
    shutil.rmtree(run / "results/small/state")
    code, log = entries.run(name, flags, run)
    assert "steps on" in log
    assert again == {file: content(results / file) for file in RESULTS}


def test_dropped_weights_are_trained_again(jobs, entries, run, tmp_path):
    """training.kept_weights_gb bounds the disk; what it drops costs a training run, and no result."""
    name, flags = jobs["train_phase1_trial"]
    shutil.rmtree(run / "results/small/phase2")  # its training runs have no say in this
    code, log = entries.run(name, [*flags, "--kept-weights-gb", "0"], run)
    assert code == 0, log
    assert "lowest scores first" in log
    assert not list(run.glob("results/small/state/*/weights-*.pt"))
    prompts = yaml.safe_load((REPOSITORY / "config/prompts.yaml").read_text())
    plan_again(jobs, entries, run, tmp_path, {label: sentences[:1] for label, sentences in prompts.items()})
    code, log = entries.run(name, flags, run)
    assert code == 0, log
    assert "steps on" in log


def test_the_lowest_scores_lose_their_weights_first(jobs, entries, run):
    state = run / "results/small/state"
    scores, sizes = {}, {}
    for path in state.glob("*/weights-*.pt"):
        (metrics,) = path.parent.glob("epoch-*/metrics.json")
        scores[path] = json.loads(metrics.read_text())["val"]["zero_shot_balanced_accuracy"]
        sizes[path] = path.stat().st_size
    bound = sum(sizes.values()) - 1
    name, flags = jobs["train_phase1_trial"]
    code, log = entries.run(name, [*flags, "--kept-weights-gb", str(bound / 1e9)], run)
    assert code == 0, log
    (lost,) = set(scores) - set(state.glob("*/weights-*.pt"))
    assert scores[lost] == min(scores.values())


def test_a_new_metric_publishes_the_same_training(jobs, entries, run):
    """Where early stopping does not watch it, no weight depends on it."""
    name, flags = jobs["train_phase1_trial"]
    path = run / of(flags, "--trial")
    path.write_text(json.dumps({**json.loads(path.read_text()), "selection_metric": "zero_shot_macro_f1"}))
    code, log = entries.run(name, flags, run)
    assert code == 0, log
    assert "already complete" in log
    metrics = json.loads((run / of(flags, "--output-dir") / "metrics.json").read_text())
    assert metrics["trial"]["selection_metric"] == "zero_shot_macro_f1"
    assert metrics["trial_sha256"] == metrics["trial"]["sha256"]


def test_a_new_metric_that_early_stopping_watches_trains_again(jobs, entries, run):
    """Another epoch may be the best one, and its weights are not kept."""
    name, flags = jobs["train_phase1_trial"]
    path = run / of(flags, "--trial")
    trial = json.loads(path.read_text())
    trial["hyperparameters"]["early_stopping_patience"] = 1
    for metric in ("zero_shot_balanced_accuracy", "zero_shot_macro_f1"):
        path.write_text(json.dumps({**trial, "selection_metric": metric}))
        code, log = entries.run(name, flags, run)
        assert code == 0, log
        assert "already complete" not in log
        assert "these weights are trained already" not in log
        assert "steps on" in log


def test_a_model_is_exported_from_kept_weights(jobs, entries, run):
    """A final that shares its training with a trial of the search needs no training of its own."""
    name, flags = jobs["train_final"]
    model = run / of(flags, "--output-dir") / "model"
    before = {path.relative_to(model): path.read_bytes() for path in model.rglob("*") if path.is_file()}
    shutil.rmtree(model)
    for path in run.glob("results/small/state/*/epoch-*/model"):
        shutil.rmtree(path)
    code, log = entries.run(name, flags, run)
    assert code == 0, log
    assert "steps on" not in log
    after = {path.relative_to(model): path.read_bytes() for path in model.rglob("*") if path.is_file()}
    assert after == {path: content for path, content in before.items() if path.name != ".snakemake_timestamp"}
    assert of(flags, "--trial").split("/")[-2] not in after[Path("README.md")].decode(), "the training may have others"


WRITERS = ["make_demo_data", "make_demo_encoder", "build_lmdb", "plan_phase1_trial", "train_phase1_trial",
           "train_final", "evaluate_final", "collect_examples", "rank_phase1", "build_report"]  # fmt: skip


@pytest.mark.parametrize("rule", WRITERS)
def test_a_file_is_as_open_as_the_umask_says(rule, jobs, entries, run):
    """Nobody else may read what the user wants kept alone: no library opens what it writes, or copies other rights."""
    name, flags = jobs[rule]
    results = [run / "results", run / "resources"]
    without_outputs(rule, flags, run)
    for path in [path for top in results for path in (top, *top.rglob("*"))]:
        if not path.is_symlink():
            path.chmod(0o700 if path.is_dir() else 0o600)
    code, log = entries.run(name, flags, run, (os.umask, (0o077,)))
    assert code == 0, log
    assert made_by(flags, run)
    for path in [path for top in results for path in top.rglob("*")]:
        if not path.is_symlink():
            assert not path.stat().st_mode & 0o077, path


def test_no_file_is_left_behind(small_run):
    hidden = {path.name for path in (small_run / "results").rglob(".*")}
    assert hidden <= {".snakemake_timestamp"}
    assert not list((small_run / "results").rglob("*.partial*"))
    assert len(pd.read_csv(small_run / "results/small/phase1/leaderboard.csv"))


def test_all_output_can_be_deleted(small_run, small_config, tmp_path):
    """Every file that a rule declared is gone; logs, benchmarks and the state are left, for make clean."""
    run = tmp_path / "run"
    shutil.copytree(small_run, run, symlinks=True)
    snakemake(run, *small_config, "--delete-all-output")
    left = {path.relative_to(run / "results/small").parts[0] for path in run.rglob("*") if path.is_file()
            and path.is_relative_to(run / "results")}  # fmt: skip
    assert left == {"state", "logs", "benchmarks"}
    subprocess.run(["make", "-f", REPOSITORY / "Makefile", "clean", "RUN=small"], cwd=run, check=True)
    assert not (run / "results/small").exists()
