"""The resumable state of one training, in results/{run}/state/{key}/, and its results once it is complete.

The key is a hash of what determines the weights; who asks for the training (a phase, a slot, an id) is not
part of it. So the same folder serves a killed job, a retry, the next rung, a trial that two phases share and
a needless rerun. Importing this module does not import torch.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from retclip.core.files import atomic, read_json, sha256_of, write_json
from retclip.core.logs import say

FORMAT_VERSION = 3
RESULTS = ("metrics.json", "history.csv", "val_predictions.parquet")


def state_key(trial: dict[str, Any], data: dict[str, str], encoder: dict[str, Any], code: str) -> str:
    """Hex digest of everything that determines the weights and the scores of a training.

    data: content hash per split that training reads. encoder: source.json of the text encoder's folder.
    """
    watched = trial["selection_metric"] if trial["hyperparameters"]["patience"] else None
    budget = trial["budget"]
    return sha256_of(
        {
            "format": FORMAT_VERSION,
            "hyperparameters": trial["hyperparameters"],
            "seed": trial["seed"],
            "vision": trial["vision"],
            "image_size": trial["image_size"],
            "encoder": encoder,
            "reading": [trial["encoder"][name] for name in ("texts", "long_texts", "from_checkpoint")],
            "class_prompts": trial["class_prompts_sha256"],
            "early_stopping_metric": watched,
            "shuffled_texts": trial["shuffled_texts"],
            "samples": [budget["train_samples"], budget["val_samples"]],
            "total_steps": budget["total_steps"],
            "data": data,
            "code": code,
        }
    )


class StateFolder:
    """One training's folder: a lock, a checkpoint, and complete results per epoch at which it was stopped."""

    def __init__(self, root: str | Path, key: str) -> None:
        self.path = Path(root) / key
        self.path.mkdir(parents=True, exist_ok=True)

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.pt"

    @property
    def best_weights(self) -> Path:
        return self.path / "best.pt"

    @property
    def out_of_memory(self) -> Path:
        """Left by one of several processes that had to die of it together."""
        return self.path / "out_of_memory"

    @property
    def attempts(self) -> Path:
        return self.path / "attempts.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the folder alone: an orphaned trainer and its replacement must never both write."""
        with (self.path / "lock").open("w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("another process trains exactly this; waiting for it")
                fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def results(self, stop_epoch: int) -> Path:
        """Where the results of stopping after `stop_epoch` epochs lie."""
        return self.path / f"epoch-{stop_epoch:03d}"

    def is_complete(self, stop_epoch: int, with_model: bool) -> bool:
        """metrics.json is written last, so its presence says that the rest is whole."""
        folder = self.results(stop_epoch)
        return (folder / "metrics.json").is_file() and (not with_model or (folder / "model").is_dir())

    def publish(self, stop_epoch: int, trial: dict[str, Any], folder: Path, with_model: bool) -> None:
        """Puts the results under the names that the workflow declared, metrics.json last."""
        source = self.results(stop_epoch)
        folder.mkdir(parents=True, exist_ok=True)
        if with_model:
            _link_tree(source / "model", folder / "model")
        for name in RESULTS[1:]:
            with atomic(folder / name) as temporary:
                shutil.copyfile(source / name, temporary)
        write_json(folder / "metrics.json", {**read_json(source / "metrics.json"), "trial": trial})

    def drop_weights(self) -> None:
        """Forgets the weights of a training that is over: a losing trial must not keep gigabytes."""
        self.checkpoint.unlink(missing_ok=True)
        self.best_weights.unlink(missing_ok=True)


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Writes tensors and plain Python values, whole or not at all."""
    import torch

    with atomic(path) as temporary:
        torch.save(content, temporary)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """The saved content on the CPU; None, with a line saying so, if there is none or it is damaged."""
    import torch

    if not path.is_file():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file; all mean: start afresh
        say(f"the saved state {path.name} cannot be read ({type(error).__name__}); starting from the beginning")
        return None


def _link_tree(source: Path, target: Path) -> None:
    """Copies a folder by hard links where the file system has them: final models are large."""
    if target.exists():
        shutil.rmtree(target)
    try:
        shutil.copytree(source, target, copy_function=os.link)
    except OSError:
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
