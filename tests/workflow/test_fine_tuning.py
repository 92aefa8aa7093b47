"""Layer-wise rates, last layers and adapters on two processes that share each batch, and through the whole trainer."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from running import ENVIRONMENT, REPOSITORY, declared_defaults

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
WAYS = {
    "layer_decay": {"layer_decay": 0.65},
    "last_layers": {"layer_decay": 0.65, "image_layers": 3, "text_layers": 2},
    "adapters": {"layer_decay": 0.65, "lora_rank": 4},
}


def three_steps(folder: Path, way: str) -> None:
    """Of SGD on batches of four patients; each process saves its own weights."""
    from fine_tuned import batch_of, pretrained

    from retclip.models.encode import OnBatches
    from retclip.models.loss import tripartite_loss
    from retclip.training import distributed
    from retclip.training.optimizer import build_optimizer

    with distributed.joined():
        given = {name: value for name, value in WAYS[way].items() if name != "layer_decay"}
        model = pretrained(folder, "vit", **given)
        values = {**declared_defaults(), **WAYS[way], "learning_rate": 1e-2, "weight_decay": 0.1, "optimizer": "sgd"}
        optimizer = build_optimizer(model, values)
        parallel = distributed.parallel(OnBatches(model), 4, torch.device("cpu"))
        whole, count = batch_of(4), 4 // distributed.world_size()
        rows = slice(distributed.rank() * count, (distributed.rank() + 1) * count)
        images = whole["images"][whole["eyes"][:, rows].flatten()]
        ids, mask = whole["texts"][0]
        mine = {"images": images, "eyes": torch.arange(2 * count).view(2, count), "texts": [(ids[rows], mask[rows])],
                "text_rows": {view: torch.arange(count) for view in ("patient", "left", "right")}}  # fmt: skip
        for _ in range(3):
            optimizer.zero_grad()
            tripartite_loss(distributed.gather(parallel(mine, False)))["total"].backward()
            optimizer.step()
        torch.save(model.trained_state(), folder / f"{distributed.rank()}-of-{distributed.world_size()}.pt")


@pytest.mark.parametrize("way", WAYS)
def test_two_processes_are_one(tmp_path, way):
    if way == "adapters" and find_spec("peft") is None:
        pytest.skip("peft is not installed: make env makes the environment of this lock")
    from fine_tuned import pretrained

    pretrained(tmp_path, "vit")  # the files that all processes read
    script = [str(REPOSITORY / "tests/workflow/test_fine_tuning.py"), str(tmp_path), way]
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{REPOSITORY}/scripts:{REPOSITORY}/tests"}
    for command in ([sys.executable, *script], [*TORCHRUN, *script]):
        subprocess.run(command, env=environment, check=True)
    alone, untouched = torch.load(tmp_path / "0-of-1.pt"), pretrained(tmp_path, "vit").state_dict()
    assert any(not torch.equal(value, untouched[name]) for name, value in alone.items() if name in untouched)
    for rank in (0, 1):
        together = torch.load(tmp_path / f"{rank}-of-2.pt")
        assert together.keys() == alone.keys()
        for name, value in alone.items():
            torch.testing.assert_close(together[name], value, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


if __name__ == "__main__":
    three_steps(Path(sys.argv[1]), sys.argv[2])
