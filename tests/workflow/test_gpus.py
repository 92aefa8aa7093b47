"""A workstation with GPUs, run by the real rules: parallel runs get a GPU each, and a CPU in its place is named."""

import ast
import json
import re
import subprocess
import sys

import pytest
from gpus import Machine
from running import REPOSITORY, merged, snakemake

from retclip.core.config import check_config
from retclip.core.gpu_lease import FOLDER

SCRIPTS = sorted((REPOSITORY / "scripts").glob("*.py"))
ENTRIES = [path for path in SCRIPTS if 'add_argument("--device"' in path.read_text()]


@pytest.fixture
def on_a_gpu(tmp_path):
    """The flags of a run whose config leaves the device to the machine, as config.yaml does."""
    path = tmp_path / "auto.yaml"
    path.write_text("training: {device: auto, gpus: 1}\n")
    return path


@pytest.fixture
def machine(tmp_path):
    """Two GPUs, which torch cannot use here: its jobs lease them nevertheless, and train on the CPU."""
    made = Machine(tmp_path / "machine", 2)
    yield made
    for name in made.names:
        for path in FOLDER.glob(f"*{name}*"):
            path.unlink()


@pytest.mark.slow
def test_trainings_at_once_have_a_gpu_each(small_config, on_a_gpu, machine, tmp_path):
    """Three at once on two GPUs, as with --resources gpu=4 on a machine of two: one of them waits, and none shares."""
    done = snakemake(tmp_path, *small_config, on_a_gpu, "--cores", 3, "--resources", "gpu=4", "--",
                     "results/small/phase1/leaderboard.csv", environment=machine.environment())  # fmt: skip
    logs = [path.read_text() for path in (tmp_path / "results/small/logs/train_phase1_trial").glob("*.log")]
    leased = [re.findall(r"leased GPU \d, NVIDIA A100-SXM4-40GB \((GPU-[0-9a-f-]+)\)", log) for log in logs]
    assert len(logs) == 3
    assert all(len(found) == 1 for found in leased), leased
    assert {name for found in leased for name in found} == set(machine.names)
    assert sum("waiting for a free one" in log for log in logs) == 1
    assert all("running on the CPU" in log for log in logs)
    assert (done.stdout + done.stderr).count("everything is trained on the CPU") == 1


@pytest.mark.slow
def test_a_training_of_two_gpus_leases_both_at_once(small_config, machine, tmp_path):
    """Two of two, by one process before torchrun's: they share the lease that it took for them."""
    overlay = tmp_path / "two.yaml"
    image_encoder = "{architecture: null, layers: 2, width: 64, head_width: 32, patch_size: 16, embed_dim: 32}"
    overlay.write_text(f"training: {{device: auto, gpus: 2}}\nmodel: {{image_encoder: {image_encoder}}}\n")
    snakemake(tmp_path, *small_config, overlay, "--resources", "gpu=2", "--",
              "results/small/phase1/baseline/metrics.json", environment=machine.environment())  # fmt: skip
    log = (tmp_path / "results/small/logs/train_phase1_trial/baseline.log").read_text()
    assert sorted(re.findall(r"leased GPU \d, .* \((GPU-[0-9a-f-]+)\)", log)) == sorted(machine.names)
    assert log.count("epoch 1/1") == 1


def test_a_run_without_a_gpu_says_so_once(small_config, on_a_gpu, tmp_path):
    """Before its first job, where the config asks for a GPU if there is one; not where it asks for the CPU."""
    bare = Machine(tmp_path / "machine", 0)
    for overlays, times in (([on_a_gpu], 1), ([], 0)):
        done = snakemake(tmp_path, *small_config, *overlays, "--forcerun", "record_run", "--",
                         "results/small/run.json", environment=bare.environment())  # fmt: skip
        assert (done.stdout + done.stderr).count("warning: no GPU is here") == times


@pytest.mark.parametrize("entry", ENTRIES, ids=[path.stem for path in ENTRIES])
def test_every_entry_leases_before_torch_can_look_for_gpus(entry):
    main = next(node for node in ast.parse(entry.read_text()).body if getattr(node, "name", "") == "main")
    calls = [node for node in ast.walk(main) if isinstance(node, ast.Call)]
    leases = [node.lineno for node in calls if getattr(node.func, "id", "") == "lease"]
    loads = [node.lineno for node in ast.walk(main) if isinstance(node, ast.ImportFrom) and "ml." in str(node.module)]
    loads += [node.lineno for node in calls if getattr(node.func, "id", "") in ("joined", "_train")]
    assert leases
    assert not loads or min(leases) < min(loads)


def test_only_the_lease_and_torch_are_between_a_job_and_its_gpus():
    """All the rules that take a GPU run entries that lease one."""
    rules = "".join(path.read_text() for path in (REPOSITORY / "rules").glob("*.smk"))
    named = dict(re.findall(r"^(\w+_FLAGS) = \((.*?)^\)", rules, re.MULTILINE | re.DOTALL))
    names = {
        entry
        for entry, words in re.findall(r'launch\(\s*"(\w+)"([^)]*)\)', rules)
        if any("--device" in text for text in (words, *map(named.get, re.findall(r"\*(\w+_FLAGS)", words))))
    }
    assert {"train_trial", "find_lr", "evaluate_final", "collect_examples"} <= names
    assert names <= {path.stem for path in ENTRIES}


def test_the_plan_says_which_gpus_are_here(machine, tmp_path):
    rows = "".join(f"P{i},{i}.jpg,left,{'xy'[i % 2]}\n" for i in range(500))
    (tmp_path / "table.csv").write_text(f"patient_id,image,eye,label\n{rows}")
    for i in range(500):
        (tmp_path / f"{i}.jpg").touch()
    config = merged()
    config["data"].update(manifest=str(tmp_path / "table.csv"), image_root=str(tmp_path))
    numbers = {"phase1": 17, "phase2": 20, "confirm": 6, "encoders": 0, "final": 12}
    training_runs = {stage: [f"t{k}" for k in range(number)] for stage, number in numbers.items()}
    flags = ["--training-runs", json.dumps(training_runs), "--code", "x", "--image-root", tmp_path]

    def plan(**variables):
        command = [sys.executable, REPOSITORY / "scripts/plan_run.py", "--config", json.dumps(check_config(config)),
                   "--results-dir", tmp_path / "results", *flags]  # fmt: skip
        done = subprocess.run(command, env=machine.environment(**variables), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    two = "GPUs: 2 here (2 x NVIDIA A100-SXM4-40GB): 2 training runs at a time on this machine, with --resources gpu=2"
    assert two in plan()
    one = "GPUs: 1 here (NVIDIA A100-SXM4-40GB; CUDA_VISIBLE_DEVICES=1): 1 training run at a time"
    assert one in plan(CUDA_VISIBLE_DEVICES="1")
    none = "GPUs: none here (CUDA_VISIBLE_DEVICES=): what is trained on this machine is trained on its CPU"
    assert none in plan(CUDA_VISIBLE_DEVICES="")
    config["training"]["gpus"] = 4
    assert "and each training run needs 4: none can be trained on this machine" in plan()
    config["training"].update(device="cpu", gpus=0)
    assert "GPUs:" not in plan()
