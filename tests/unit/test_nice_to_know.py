"""What is nice to know of a training run (its GPU's name, how busy it was, the commit) can never cost its results."""

import json
import subprocess
import sys

import pandas as pd
import pytest
import torch
from documents import VALUES, trial_of
from running import ENVIRONMENT, REPOSITORY

from retclip.models.provenance import ran_on
from retclip.training.attempts import Attempts
from retclip.training.progress import Outcome, Progress
from retclip.training.results import training_metrics
from retclip.training.trainer import _no_scores

# nobody can say anything of it where there is no CUDA: each question raises
LOST = torch.device("cuda", 0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the GPU that must be lost")
def test_a_finished_training_has_its_results_though_its_gpu_tells_nothing(capsys):
    trial = trial_of(hyperparameters={**VALUES, "batch_size": 4})
    progress = Progress(epoch=3, history=[{"train_loss": 0.5}], best_epoch=3, train_seconds=2.0, device_seconds=2.5)
    outcome = Outcome(progress, _no_scores(), pd.DataFrame(), None, 1, 0.0, None)
    document = training_metrics(trial, outcome, LOST, "bf16", 8, {}, "code").to_dict()
    assert document["train_loss"] == 0.5
    assert document["device"] == "cuda:0"
    assert document["utilization"] is None
    assert document["gpus"] == ["cuda:0"]
    json.dumps(document, allow_nan=False)
    assert "is not known" in capsys.readouterr().err


@pytest.mark.slow
def test_nvml_fails_in_its_own_way(tmp_path):
    """Its errors are plain Exceptions, not what torch says that it raises."""
    (tmp_path / "pynvml.py").write_text(
        "class NVMLError(Exception): pass\nclass NVMLError_DriverNotLoaded(NVMLError): pass\n"
        "def nvmlInit(): raise NVMLError('Driver/library version mismatch')\n"
    )
    asked = (
        "import torch; from retclip.training.results import utilization; print(utilization(torch.device('cuda', 0)))"
    )
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{tmp_path}:{REPOSITORY}/scripts"}
    done = subprocess.run([sys.executable, "-c", asked], env=environment, capture_output=True, text=True)
    assert done.stdout == "None\n", done.stderr
    assert "NVMLError: Driver/library version mismatch" in done.stderr


def test_a_package_or_a_git_that_fails_costs_no_evaluation(monkeypatch, tmp_path):
    """git as a folder of PATH: it can be found and not be run."""
    git = tmp_path / "git"
    git.write_text("no program\n")
    git.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("retclip.models.provenance.PACKAGES", ("torch", "a_package_that_is_not_installed"))
    found = ran_on(torch.device("cpu"), "fp32", "code")
    assert found["commit"] is None
    assert found["versions"]["torch"]
    assert found["versions"]["a_package_that_is_not_installed"] is None
    assert found["gpus"] == []


def test_a_list_of_attempts_that_cannot_be_written_stops_no_training(tmp_path, capsys):
    (tmp_path / "attempts.json").mkdir()
    attempts = Attempts(tmp_path / "attempts.json")
    attempts.beat(at_once=True)
    assert attempts.lost_seconds(0.0) == 0.0
    assert capsys.readouterr().err.count("attempts.json is not written any more") == 1
