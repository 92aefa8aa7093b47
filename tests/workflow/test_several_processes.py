"""Two processes that share each batch must be one process: the same loss, gradients, scores, and one set of files."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import training_arguments
from running import ENVIRONMENT, REPOSITORY, entry

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
LAYER_NORM = {"layers": 2, "width": 64, "head_width": 32, "patch_size": 16, "embed_dim": 32}


def one_step(folder: Path) -> None:
    """Loss and gradients of one batch of eight patients, three of whom lack an eye; each process saves its own."""
    from retclip.models.loss import tripartite_loss
    from retclip.training import distributed

    torch.manual_seed(0)
    towers = torch.nn.ModuleDict({name: torch.nn.Linear(6, 5) for name in ("image", "left", "right", "text")})
    parts = ("patient", "left", "right")
    scales = torch.nn.ParameterDict({part: torch.tensor(2.0 + i) for i, part in enumerate(parts)})
    inputs = torch.randn(4, 8, 6)
    present = torch.ones(8, 2, dtype=torch.bool)
    present[1, 0] = present[6, 1] = present[7, 1] = False

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.towers, self.scales = towers, scales

        def forward(self, x):
            features = [tower(rows) for tower, rows in zip(self.towers.values(), x, strict=True)]
            image, left, right, text = (torch.nn.functional.normalize(feature, dim=1) for feature in features)
            texts = dict.fromkeys(("text_features", "text_features_left", "text_features_right"), text)
            names = {"logit_scale": "patient", "logit_scale_left": "left", "logit_scale_right": "right"}
            return {"image_features": image, "left_features": left, "right_features": right, **texts,
                    **{name: self.scales[part].exp() for name, part in names.items()}}  # fmt: skip

    with distributed.joined():
        model = distributed.parallel(Model(), 8, torch.device("cpu"))
        mine = distributed.share(np.arange(8))
        losses = tripartite_loss(distributed.gather(model(inputs[:, mine])), *present.unbind(1))
        losses["total"].backward()
        found = {name.removeprefix("module."): value.grad for name, value in model.named_parameters()}
        name = f"{distributed.rank()}-of-{distributed.world_size()}.pt"
        torch.save({**{part: loss.detach() for part, loss in losses.items()}, **found}, folder / name)


def test_loss_and_gradients_of_two_processes_are_those_of_one(tmp_path):
    script = [str(REPOSITORY / "tests/workflow/test_several_processes.py"), str(tmp_path)]
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{REPOSITORY}/scripts:{REPOSITORY}/tests"}
    for command in ([sys.executable, *script], [*TORCHRUN, *script]):
        subprocess.run(command, env=environment, check=True)
    alone = torch.load(tmp_path / "0-of-1.pt")
    assert len(alone) == 4 + 4 * 2 + 3
    for rank in (0, 1):
        together = torch.load(tmp_path / f"{rank}-of-2.pt")
        for name, value in alone.items():
            torch.testing.assert_close(together[name], value, rtol=1e-5, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")
    assert alone["total"] > 1
    assert all(alone[name].abs().max() > 0 for name in alone if name != "total")


@pytest.mark.slow
def test_a_trial_on_two_processes(demo_data, plan_demo_trial, tmp_path):
    """The same entry under torchrun: the scores of one process, metrics and history written once."""
    values = {"epochs": 2, "train_samples": 200, "batch_size": 32}
    trial = plan_demo_trial(tmp_path / "trial", **values)
    content = json.loads(trial.read_text())
    trial.write_text(json.dumps({**content, "image_encoder": LAYER_NORM}))
    entry("train_trial", *training_arguments(demo_data, trial, tmp_path / "one"))
    alone = json.loads((trial.parent / "metrics.json").read_text())
    command = [*TORCHRUN, str(REPOSITORY / "scripts/train_trial.py")]
    command += map(str, training_arguments(demo_data, trial, tmp_path / "two"))
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    together = json.loads((trial.parent / "metrics.json").read_text())
    assert together["attempts"] == 1
    assert done.stderr.count("epoch 2/2") == 1
    assert together["val"]["loss"] == pytest.approx(alone["val"]["loss"], rel=1e-4)
    assert together["train_loss"] == pytest.approx(alone["train_loss"], rel=1e-4)
    again = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert again.stderr.count("already complete") == 1


@pytest.mark.slow
def test_what_two_processes_cannot_share(demo_data, plan_demo_trial, tmp_path):
    command = [*TORCHRUN, str(REPOSITORY / "scripts/train_trial.py")]
    for values, words in (({"batch_size": 31}, "cannot be shared evenly by 2 GPUs"), ({}, "batch normalization")):
        trial = plan_demo_trial(tmp_path / words.split()[0], epochs=1, train_samples=64, **values)
        arguments = map(str, training_arguments(demo_data, trial, tmp_path / "state"))
        done = subprocess.run([*command, *arguments], env=ENVIRONMENT, capture_output=True, text=True)
        assert done.returncode == 1
        assert f"error: a batch of 31 {words}" in done.stderr or f"this image encoder has {words}" in done.stderr


if __name__ == "__main__":
    one_step(Path(sys.argv[1]))
