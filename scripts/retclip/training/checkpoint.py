"""The resumable state of one training run, in results/{run}/state/{key}/, and its results once it is complete.

The key is a hash of what determines the weights; who requests the training (a phase, a slot, an id) is not
part of it. So the same folder serves a killed job, a retry, the next rung, a trial that two phases share, other
class prompts and a needless rerun. Importing this module does not import torch.
"""

import math
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from retclip.core.io import atomic, file_sha256, read_json, remove_leftovers, sha256_of, whole_folder, write_json
from retclip.core.locks import held, try_hold
from retclip.core.logs import log
from retclip.core.trial import Trial
from retclip.metrics.metrics_document import Metrics

FORMAT_VERSION = 5
RESULTS = ("metrics.json", "history.csv", "val_predictions.parquet")
KEY = re.compile("[0-9a-f]{64}")
SEAL = "complete.json"  # name -> SHA-256 of each of RESULTS, written last


def state_key(trial: Trial, data: dict[str, str], encoder: dict[str, Any], code: str) -> str:
    """Hex digest of everything that determines the weights of a training run.

    The class prompts are part of it only where early stopping watches a score that they make: else the same weights
    are scored with other prompts. data: content hash per split that training reads. encoder: source.json of the
    text encoder's folder; its license is no part of the weights, and is unknown without a network.
    """
    watched = trial.selection_metric if trial.hyperparameters["early_stopping_patience"] else None
    budget, texts = trial.budget, trial.text_encoder_settings
    # all other weights keep the keys that they had before there were subsets
    subset = {"subset": trial.subset.fraction} if trial.subset else {}
    return sha256_of(
        {
            "format": FORMAT_VERSION,
            "hyperparameters": trial.hyperparameters,
            "seed": trial.seed,
            "image_encoder": trial.image_encoder,
            "image_size": trial.image_size,
            "encoder": {name: value for name, value in encoder.items() if name != "license"},
            "reading": texts.reading,
            "text_layers": texts.train_last_layers,
            "class_prompts": trial.class_prompts_sha256 if watched and watched.startswith("zero_shot") else None,
            "early_stopping_metric": watched,
            "shuffled_texts": trial.shuffled_texts,
            "samples": [budget.train_samples, budget.val_samples],
            "total_steps": budget.total_steps,
            "data": data,
            "code": code,
            **subset,
        }
    )


class StateFolder:
    """One training run's folder: a lock, a checkpoint, and per epoch at which it was stopped the weights that were
    scored, and complete results per set of class prompts."""

    def __init__(self, root: str | Path, key: str) -> None:
        self.root, self.key = Path(root), key
        self.path = self.root / key

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.pt"

    def best_weights(self, epoch: int) -> Path:
        """The weights after the best epoch so far, under early stopping."""
        return self.path / f"best-{epoch:03d}.pt"

    def kept_weights(self, stop_epoch: int) -> Path:
        """The weights that the results of stopping there were scored with."""
        return self.path / f"weights-{stop_epoch:03d}.pt"

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
        with held(self.path / "lock", "another process trains exactly this; waiting for it"):
            remove_leftovers(self.path, of_all=True)
            yield

    def results(self, trial: Trial) -> Path:
        """Where the results of the trial's stopping epoch and class prompts lie."""
        return self.path / f"epoch-{trial.budget.stop_epoch:03d}-{trial.class_prompts_sha256[:8]}"

    def complete(self, trial: Trial) -> None:
        """Seals the results, which are all written: what is not whole later on counts as not there."""
        folder = self.results(trial)
        write_json(folder / SEAL, {name: file_sha256(folder / name) for name in RESULTS})

    def is_complete(self, trial: Trial, with_model: bool) -> bool:
        """Whether there are results, just as they were written, and the model, which comes whole or not at all."""
        folder = self.results(trial)
        return _is_sealed(folder) and (not with_model or (folder / "model").is_dir())

    def scored(self, trial: Trial) -> Path | None:
        """Results of the same weights with these class prompts, or else with others; None where there are none."""
        folders = [self.results(trial), *sorted(self.path.glob(f"epoch-{trial.budget.stop_epoch:03d}-*"))]
        return next(filter(_is_sealed, folders), None)

    def publish(self, trial: Trial, folder: Path, with_model: bool) -> None:
        """Puts the results under the names that the workflow declared, metrics.json last."""
        source = self.results(trial)
        folder.mkdir(parents=True, exist_ok=True)
        if with_model:
            _link_tree(source / "model", folder / "model")
        for name in RESULTS[1:]:
            with atomic(folder / name, private=name.endswith(".parquet")) as temporary:  # rows of patients
                shutil.copyfile(source / name, temporary)
        # whoever trained it, these are now the results of the trial that requests them
        requested = replace(Metrics.read(source / "metrics.json"), trial=trial, trial_sha256=trial.sha256)
        write_json(folder / "metrics.json", requested.to_dict())

    def drop_best(self, but: int) -> None:
        """Deletes the weights of epochs that are no longer the best."""
        for path in self.path.glob("best-*.pt"):
            if path != self.best_weights(but):
                path.unlink()

    def drop_checkpoint(self) -> None:
        """Deletes what a finished training run resumed from; the weights that were scored are kept."""
        self.checkpoint.unlink(missing_ok=True)
        self.drop_best(but=0)


def bound_weights(root: Path, gigabytes: float) -> None:
    """Drops weights under results/{run}/state until what finished training runs keep takes no more than that.

    Those of the lowest validation score go first. Without its weights a training run still has its results; it trains
    again only where other class prompts or a later rung need it.
    """
    with held(root / "weights.lock", "another process bounds the kept weights; waiting for it"):
        # others may keep weights there, too
        folders = [path for path in root.iterdir() if KEY.fullmatch(path.name)]
        found = [path for folder in folders for path in folder.glob("weights-[0-9][0-9][0-9]*.pt")]
        # a rung that ended keeps its checkpoint for the next one
        found += [path for folder in folders for path in folder.glob("checkpoint.pt") if _is_at_rest(folder)]
        kept = {path: path.stat().st_size for path in found}
        excess = sum(kept.values()) - gigabytes * 1e9
        if excess <= 0:
            return
        dropped = 0
        for path in sorted(kept, key=lambda path: (_score(path.parent), path)):
            if excess <= 0:
                break
            path.unlink(missing_ok=True)
            excess -= kept[path]
            dropped += 1
        log(f"training.kept_weights_gb = {gigabytes:g}: dropped {dropped} files of weights, lowest scores first")


def _is_sealed(folder: Path) -> bool:
    try:
        seal = read_json(folder / SEAL)
        return all(file_sha256(folder / name) == seal[name] for name in RESULTS)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False


def _is_at_rest(folder: Path) -> bool:
    """Whether it has results and no process is at work on it."""
    if not any(folder.glob(f"epoch-*/{SEAL}")):
        return False
    lock = try_hold(folder / "lock")
    if lock is None:
        return False
    lock.release()
    return True


def _score(folder: Path) -> float:
    """The best validation score of a training run, by its own selection metric; below all others where it has none."""
    scores = []
    for path in filter(_is_sealed, folder.glob("epoch-*")):
        with suppress(ValueError):  # of an earlier version: nothing reads it any more
            metrics = Metrics.read(path / "metrics.json")
            scores.append(metrics.val.scores[metrics.trial.selection_metric])
    return max((score for score in scores if score is not None), default=-math.inf)


def _link_tree(source: Path, target: Path) -> None:
    """Copies a folder by hard links where the file system has them: final models are large."""
    with whole_folder(target) as temporary:
        try:
            shutil.copytree(source, temporary, copy_function=os.link, dirs_exist_ok=True)
        except OSError:
            shutil.rmtree(temporary)
            shutil.copytree(source, temporary)
