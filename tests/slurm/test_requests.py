"""What a site may say in slurm/config.yaml, said to a real sbatch: it takes the very words that our jobs ask with."""

import re
import shlex
import subprocess

import pytest
from recording_slurm import RecordingSlurm, pretend_finished, profile_with
from running import REPOSITORY

pytestmark = pytest.mark.slow

# the lab's GPUs are of the type fake
FORMS = [
    form.replace("a100", "fake")
    for form in re.findall(
        r"^  (?:# )?gpu_request: (\S+)", (REPOSITORY / "slurm/config.yaml").read_text(), re.MULTILINE
    )
]
TARGETS = ("results/demo/phase1/baseline/metrics.json", "results/demo/final/pubmedbert-s2001/evaluation.json",
           "resources/text_encoders/demo--biobert")  # fmt: skip


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("requests")
    (folder / "gpus.yaml").write_text("training: {gpus: 2}\n")
    pretend_finished(folder, REPOSITORY / "config/demo.yaml")
    return folder


def test_the_profile_shows_five_forms():
    assert len(FORMS) == 5


@pytest.mark.parametrize("form", FORMS)
def test_sbatch_takes_every_form(lab, work, tmp_path, form):
    """Of a training run with two GPUs, an evaluation with one, and a job that needs none."""
    recording = RecordingSlurm(tmp_path / "slurm")
    recording.submit(work, "--profile", profile_with(tmp_path / "profile", {"gpu_request": form}), "--configfile",
                     REPOSITORY / "config/demo.yaml", work / "gpus.yaml", "--rerun-triggers", "mtime",
                     "--allowed-rules", "train_phase1_trial", "evaluate_final", "make_demo_encoder", "--force", "--",
                     *TARGETS)  # fmt: skip
    lines = [line for _, line in recording.lines()]
    assert len(lines) == len(TARGETS)
    asked = {word for line in lines for word in line.split() if "gpu" in word and word.startswith("--")}
    assert asked == {form.replace("N", "1"), form.replace("N", "2")}
    for line in lines:
        command = ["sbatch", "--test-only", *shlex.split(line), "--wrap", "true"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}: {done.stderr}"
    # and it can say no: the machine has two
    command = ["sbatch", "--test-only", "--partition=gpu", form.replace("N", "3"), "--wrap", "true"]
    assert subprocess.run(command, capture_output=True).returncode
