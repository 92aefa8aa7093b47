"""config/laptop.yaml on a cluster without GPUs: features are a job for each encoder, short trials share one, and a node
is checked."""

import json
import re
import subprocess
import sys

import pytest
import torch
from running import ENVIRONMENT, REPOSITORY, snakemake
from safetensors.torch import save_file

pytestmark = pytest.mark.slow

SIZES = {"layers": 2, "width": 64, "head_width": 32, "patch_size": 16, "embed_dim": 32}
# the demo's drawings and its text encoder, an image encoder of a file, and the baseline beside one trial of the grid
MINE = f"""
data: {{demo_patients: 130}}
model:
  text_encoders: {{biobert: null, bert_base: null}}
  image_encoder: {{architecture: null, weights: weights.safetensors, {str(SIZES)[1:-1].replace("'", "")}}}
phase1: {{epochs: 2, space: {{learning_rate: [3.0e-3], batch_size: [32], warmup_steps: [2]}}}}
"""
TARGETS = ("results/laptop/phase1/baseline/metrics.json", "results/laptop/phase1/leaderboard.csv", "check_gpu")


def test_the_laptop_config_needs_no_gpu(lab, tmp_path):
    from retclip.models.image_encoder import build_image_encoder

    torch.manual_seed(3)
    weights = {name: value.contiguous() for name, value in build_image_encoder(SIZES, 64)[0].state_dict().items()}
    save_file(weights, tmp_path / "weights.safetensors")
    (tmp_path / "mine.yaml").write_text(MINE)
    configs = ["--configfile", *(str(REPOSITORY / f"config/{name}.yaml") for name in ("demo", "laptop"))]
    configs += [str(tmp_path / "mine.yaml"), "--"]
    # what is the same on every cluster, without the queue
    snakemake(tmp_path, *configs, "results/laptop/data/audit.json", "results/laptop/phase1/baseline/trial.json")
    before = len(lab.jobs())
    command = [sys.executable, "-m", "snakemake", "--profile", "slurm", "--directory", str(tmp_path)]
    command += ["--slurm-init-seconds-before-status-checks", "1", *configs, *TARGETS]
    done = subprocess.run(command, env=ENVIRONMENT, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    jobs = lab.jobs()[before:]
    logs = re.findall(r"slurm_logs/([^/\s]+)\S*\.log", done.stdout + done.stderr)
    assert sorted(logs) == ["group_phase1_train_phase1_trial", "rule_cache_features", "rule_cache_features",
                            "rule_check_gpu"]  # fmt: skip
    assert [(job["JobState"], job["Partition"]) for job in jobs] == [("COMPLETED", "cpu")] * 4
    ids = {job["JobId"] for job in jobs}
    assert not any(gpus for _, _, job, _, gpus in lab.events() if job in ids)
    found = [json.loads(path.read_text()) for path in tmp_path.glob("results/laptop/phase1/*/metrics.json")]
    assert [one["device"] for one in found] == ["cpu", "cpu"]
    assert len({one["job"]["job_id"] for one in found}) == 1
    assert all(one["attempts"] == 1 for one in found)
    # the page comes from the node to the terminal, and its clock is compared with the one that submitted
    checked = json.loads((tmp_path / "results/laptop/check_gpu.json").read_text())
    assert checked["job"]["job_id"] in ids
    assert "NO GPU HERE" in done.stdout + done.stderr
    states = {line["name"]: line["state"] for line in checked["lines"]}
    assert states["clock"] == "ok"
    assert "broken" not in states.values()
