"""Real training runs on the demo's data: they learn, survive kill -9, and are never done twice."""

import json
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
from conftest import training_arguments
from running import ENVIRONMENT, REPOSITORY, entry

pytestmark = pytest.mark.slow
TIMES = {"wall_seconds", "device_seconds", "samples_per_second", "peak_memory_bytes", "attempts", "lost_seconds",
         "resumed_from"}  # fmt: skip
# what a sensible person picks for a CLIP from scratch; the demo's defaults
SENSIBLE = {"learning_rate": 3e-4, "batch_size": 128, "temperature": 0.07}


def metrics(trial) -> dict:
    return json.loads((trial.parent / "metrics.json").read_text())


def in_second_epoch(command: list[str]) -> subprocess.Popen[str]:
    """A training of two epochs, started, that has just finished its first."""
    process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "epoch 1/2" in line:
            break
    return process


def test_the_demo_is_learned_and_shuffled_texts_are_not(demo_data, plan_demo_trial, tmp_path):
    trials = {
        "tuned": plan_demo_trial(tmp_path / "tuned"),
        "default": plan_demo_trial(tmp_path / "default", **SENSIBLE),
        "shuffled": plan_demo_trial(tmp_path / "shuffled", shuffled_texts=True),
    }
    found = {}
    for name, trial in trials.items():
        entry("train_trial", *training_arguments(demo_data, trial, tmp_path / "state"), "--export")
        entry("evaluate_final", "--trial", trial, "--model-dir", trial.parent / "model", "--data-dir",
              demo_data / "data", "--code", "test", "--output-evaluation", trial.parent / "evaluation.json",
              "--output-predictions", trial.parent / "predictions.parquet")  # fmt: skip
        evaluation = json.loads((trial.parent / "evaluation.json").read_text())
        found[name] = evaluation["zero_shot"]["zero_shot_balanced_accuracy"]
    gap = found["tuned"]["value"] - found["default"]["value"]
    error = (found["tuned"]["standard_error"] ** 2 + found["default"]["standard_error"] ** 2) ** 0.5
    assert found["tuned"]["value"] >= 0.6
    assert gap > 2 * error
    # with the pairing lost, balanced accuracy is that of a guess among ten classes
    assert abs(found["shuffled"]["value"] - 0.1) < 0.08
    # only zero-shot and retrieval tell: the image encoder has learned all the same
    shuffled = json.loads((trials["shuffled"].parent / "evaluation.json").read_text())
    assert shuffled["linear_probe"]["zero_shot_balanced_accuracy"]["low"] > 0.5
    for name, recall in shuffled["retrieval"].items():
        assert recall["value"] < 2 * shuffled["levels"]["chance"][name] + 0.01, name
    table = pd.read_parquet(trials["tuned"].parent / "predictions.parquet")
    assert set(table["eye"]) == {"left", "right"}


def test_killed_in_mid_epoch_it_ends_as_if_it_had_not_been(demo_data, plan_demo_trial, tmp_path):
    whole = plan_demo_trial(tmp_path / "trial", epochs=2, train_samples=400)
    entry("train_trial", *training_arguments(demo_data, whole, tmp_path / "state"))
    undisturbed = metrics(whole)
    (tmp_path / "again").mkdir()
    trial = tmp_path / "again/trial.json"
    trial.write_bytes(whole.read_bytes())
    command = [sys.executable, str(REPOSITORY / "scripts/train_trial.py"), "--save-seconds", "0"]
    command += map(str, training_arguments(demo_data, trial, tmp_path / "second"))
    process = in_second_epoch(command)
    time.sleep(0.4)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (trial.parent / "metrics.json").exists()
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert "resuming at epoch 1." in done.stderr
    disturbed = metrics(trial)
    assert 1 < disturbed["resumed_from"] < 2
    assert {k: v for k, v in disturbed.items() if k not in TIMES} == {
        k: v for k, v in undisturbed.items() if k not in TIMES
    }
    one, two = (pd.read_parquet(path.parent / "val_predictions.parquet") for path in (whole, trial))
    pd.testing.assert_frame_equal(one, two, check_exact=True)


def test_a_stop_request_saves_and_the_next_start_resumes(demo_data, plan_demo_trial, tmp_path):
    """SIGTERM, as Slurm sends before a time limit: no step is lost, though no regular checkpoint was due."""
    trial = plan_demo_trial(tmp_path / "trial", epochs=2, train_samples=400)
    command = [sys.executable, str(REPOSITORY / "scripts/train_trial.py"), "--save-seconds", "9999"]
    command += map(str, training_arguments(demo_data, trial, tmp_path / "state"))
    process = in_second_epoch(command)
    process.send_signal(signal.SIGTERM)
    assert "stop requested in epoch 2" in process.stderr.read()
    assert process.wait() == 128 + signal.SIGTERM
    entry("train_trial", *training_arguments(demo_data, trial, tmp_path / "state"))
    stopped = metrics(trial)
    assert 1 < stopped["resumed_from"] < 2
    assert stopped["attempts"] == 2
    entry("train_trial", *training_arguments(demo_data, trial, tmp_path / "fresh"))
    assert stopped["val"] == metrics(trial)["val"]


def test_a_complete_training_is_published_without_torch(demo_data, plan_demo_trial, tmp_path):
    trial = plan_demo_trial(tmp_path / "trial", epochs=1, train_samples=64)
    arguments = training_arguments(demo_data, trial, tmp_path / "state")
    entry("train_trial", *arguments)
    first = metrics(trial)
    (trial.parent / "metrics.json").unlink()
    command = [sys.executable, "-X", "importtime", str(REPOSITORY / "scripts/train_trial.py"), *map(str, arguments)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "already complete" in done.stderr
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "json" in imported
    assert not imported & {"torch", "open_clip", "transformers"}
    assert metrics(trial) == first


def test_a_diverged_training_is_a_result(demo_data, plan_demo_trial, tmp_path):
    trial = plan_demo_trial(tmp_path / "trial", optimizer="sgd", learning_rate=1e12, max_grad_norm=1e12, epochs=1,
                            train_samples=128, warmup_steps=0)  # fmt: skip
    entry("train_trial", *training_arguments(demo_data, trial, tmp_path / "state"))
    found = metrics(trial)
    assert found["status"] == "diverged"
    assert found["val"]["zero_shot_balanced_accuracy"] is None


def test_early_stopping_keeps_the_best_epoch(demo_data, plan_demo_trial, tmp_path):
    trial = plan_demo_trial(
        tmp_path / "trial", epochs=6, early_stopping_patience=1, learning_rate=1e-6, train_samples=128
    )
    entry("train_trial", *training_arguments(demo_data, trial, tmp_path / "state"))
    found, history = metrics(trial), pd.read_csv(trial.parent / "history.csv")
    scores = history["zero_shot_balanced_accuracy"]
    assert found["status"] == "early_stopped"
    assert found["epochs"] == len(history) < 6
    assert found["best_epoch"] == scores.idxmax() + 1
    assert found["val"]["zero_shot_balanced_accuracy"] == pytest.approx(scores.max())
