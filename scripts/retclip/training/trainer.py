"""Trains one trial to its stopping epoch, resumably.

Every step seeds its own randomness from (seed, step), and the order of an epoch follows from (seed, epoch):
so a training run that was killed anywhere resumes bit for bit as if it had not been, with nothing to restore but
weights and optimizer.
"""

import math
import signal
import sys
import time
from dataclasses import asdict, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch

from retclip.core import slurm
from retclip.core.logs import log
from retclip.core.trial import Trial
from retclip.evaluation.validation import evaluate, no_predictions, standard_errors
from retclip.loading.dataset import Split, epoch_batches, prefetch
from retclip.loading.device import autocast, grad_scaler, is_out_of_memory, prepare_device, to_device
from retclip.metrics.metrics_document import Levels, Validation
from retclip.metrics.registry import SELECTABLE
from retclip.models.encode import OnBatches, has_batch_norm
from retclip.models.loss import tripartite_loss
from retclip.training import distributed
from retclip.training.attempts import Attempts
from retclip.training.checkpoint import StateFolder
from retclip.training.checkpoint_file import load_checkpoint
from retclip.training.compiled_steps import uncompiled
from retclip.training.crowding import refuse_crowded
from retclip.training.gradient_cache import backward
from retclip.training.optimizer import build_optimizer, learning_rate_at, learning_rate_of, restore, set_learning_rate
from retclip.training.progress import Outcome, Progress
from retclip.training.saving import Saver, on_host

if TYPE_CHECKING:
    import pandas as pd

    from retclip.models.retclip import RetClip


# A large model takes seconds to save; the next save waits for so many times as long.
SAVE_PAUSES = 30
# Halving of the batch stops here: a device without memory for four patients cannot train this trial.
SMALLEST_MICRO_BATCH = 4


class Trainer:
    """The loop over epochs and steps of one trial."""

    def __init__(
        self,
        trial: Trial,
        model: "RetClip",
        train: Split,
        val: Split,
        tokenize: Any,
        device: torch.device,
        precision: str,
        folder: StateFolder,
        save_seconds: float,
    ) -> None:
        self.trial, self.hyperparameters, self.budget = trial, trial.hyperparameters, trial.budget
        self.model, self.train, self.val, self.tokenize = model.to(device), train, val, tokenize
        self.device, self.precision = device, precision
        self.folder, self.save_seconds = folder, save_seconds
        self.first = distributed.rank() == 0
        self.attempts = Attempts(folder.attempts, writes=self.first)
        prepare_device(device, precision)
        for split in (train, val):
            split.cache_on_device(device)
        self.micro_batch = self.hyperparameters["batch_size"] // distributed.world_size()
        self.parallel = distributed.parallel(OnBatches(self.model), self.hyperparameters["batch_size"], device)
        self.optimizer = build_optimizer(model, self.hyperparameters)
        self.scaler = grad_scaler(device, precision)
        self.progress = Progress()
        self.saver = Saver(device)
        # of the best epoch, until a checkpoint takes them to the disk
        self.best_weights: dict[str, torch.Tensor] | None = None
        self.latest: tuple[Validation, pd.DataFrame] | None = None
        self.stop_requested = False

    def run(self) -> Outcome | None:
        """Trains up to the budget's stop_epoch, or until early stopping or divergence ends it.

        None in all processes but the first.
        """
        resumed = self._resume()
        lost_seconds = self.attempts.lost_seconds(self.progress.device_seconds)
        signal.signal(signal.SIGTERM, self._stop)
        if self.folder.out_of_memory.exists():
            self.progress.status = "out_of_memory"
        try:
            while self.progress.epoch < self.budget.stop_epoch and self.progress.status == "completed":
                self._epoch()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            refuse_crowded(self.device)
            log("the device's memory does not hold this batch size: out_of_memory is this trial's result")
            if distributed.world_size() > 1:
                # the other processes wait for this one for ever: all must die, and the next start knows why
                self.folder.out_of_memory.touch()
                raise
            self.progress.status = "out_of_memory"
        if not self.first:
            return None
        if self.can_resume:
            # now: the best epoch's weights are about to replace those that the next rung resumes from
            self._save(0.0)
        self.saver.finish()
        val, table = self._result()
        attempts = self.attempts
        return Outcome(self.progress, val, table, resumed, len(attempts.entries), lost_seconds, attempts.job)

    @property
    def can_resume(self) -> bool:
        """Whether a later rung may resume from here: the schedule is longer than this rung, and nothing broke."""
        whole = self.budget.stop_epoch >= self.hyperparameters["epochs"]
        return not whole and self.progress.status in ("completed", "early_stopped")

    def _epoch(self) -> None:
        progress = self.progress
        started = saved = time.monotonic()
        pause = self.save_seconds
        loss_sum = torch.tensor(progress.epoch_loss_sum, dtype=torch.float64, device=self.device)
        self.model.train()
        order = epoch_batches(len(self.train), self.hyperparameters["batch_size"], self.trial.seed, progress.epoch)
        ahead = islice(order, progress.step_in_epoch, None)
        # a GPU must not wait for images; on a CPU a thread would only take the core that computes
        batches = prefetch(self._prefetch, ahead) if self.device.type == "cuda" else map(self._read, ahead)
        for position, batch in enumerate(batches, start=progress.step_in_epoch):
            loss_sum += self._step(progress.epoch * self.budget.steps_per_epoch + position, *batch)
            stop_requested = distributed.in_any(self.stop_requested)
            if self.first and (stop_requested or time.monotonic() - saved >= pause):
                saved = time.monotonic()
                progress.step_in_epoch, progress.epoch_loss_sum = position + 1, float(loss_sum)
                self._save(saved - started)
                pause = max(self.save_seconds, SAVE_PAUSES * (time.monotonic() - saved))
            self.attempts.beat()
            if stop_requested:
                self._leave()
        seconds = time.monotonic() - started
        progress.train_seconds += seconds
        train_loss = float(loss_sum) / self.budget.steps_per_epoch
        progress.epoch += 1
        progress.step_in_epoch, progress.epoch_loss_sum = 0, 0.0
        if self.first:
            self._finish_epoch(train_loss)
        self.progress = distributed.from_first(progress)
        self.progress.device_seconds += time.monotonic() - started

    def _leave(self) -> None:
        """Ends the process after its state was saved; in a Slurm job, requeues it."""
        self.saver.finish()
        distributed.from_first(None)  # the first process has saved; torchrun ends all as soon as one has left
        if self.first:
            self.attempts.beat(at_once=True)
            epoch = self.progress.epoch + 1
            log(f"stop requested in epoch {epoch}: the state is saved; the next start resumes from it")
            slurm.requeue()
        sys.exit(slurm.STOPPED)

    def _read(self, indices: Any) -> tuple[Any, list[dict[str, Any]]]:
        """The indices of a whole batch, and this process's share of it on the device, in micro-batches."""
        mine = distributed.share(indices)
        parts = [mine[start : start + self.micro_batch] for start in range(0, len(mine), self.micro_batch)]
        return indices, [self.train.batch(part, self.device) for part in parts]

    def _prefetch(self, indices: Any) -> tuple[Any, list[dict[str, Any]] | None]:
        """As _read, while a step is computed; None instead of the parts where memory does not hold them, too."""
        try:
            return self._read(indices)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return indices, None

    def _step(self, step: int, indices: Any, parts: list[dict[str, Any]] | None) -> torch.Tensor:
        """One optimizer step; returns the loss, still on the device: reading it here would stall a GPU."""
        set_learning_rate(self.optimizer, learning_rate_at(step, self.budget.total_steps, self.hyperparameters))
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._backward(step, indices, parts)
        self.scaler.unscale_(self.optimizer)  # the limit is for the gradients' own size
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.hyperparameters["max_grad_norm"])
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.model.clamp_logit_scales()
        return loss.double()

    def _backward(self, step: int, indices: Any, parts: list[dict[str, Any]] | None) -> torch.Tensor:
        """The gradients of one batch; where memory is short, again in smaller and smaller micro-batches."""
        while True:
            try:
                if parts is None or len(parts[0]["present"]) > self.micro_batch:
                    _, parts = self._read(indices)  # it was read before memory ran short
                return self._gradients(step, indices, parts)
            except (RuntimeError, MemoryError) as error:
                # several processes would have to agree on it: they end, and the next start knows why
                shared, smallest = distributed.world_size() > 1, self.micro_batch <= SMALLEST_MICRO_BATCH
                if shared or smallest or not is_out_of_memory(error):
                    raise
                if has_batch_norm(self.model):
                    log("an encoder with batch normalization cannot be trained in parts of a batch")
                    raise
            # here, not above: until the exception is gone it keeps the memory of the failed attempt
            self.optimizer.zero_grad(set_to_none=True)
            self.micro_batch = max(SMALLEST_MICRO_BATCH, math.ceil(self.micro_batch / 2))
            log(f"the device's memory does not hold this batch: continuing in micro-batches of {self.micro_batch}")

    def _gradients(self, step: int, indices: Any, parts: list[dict[str, Any]]) -> torch.Tensor:
        left, right = torch.from_numpy(self.train.present[indices]).unbind(1)
        labels = None
        if self.hyperparameters["same_class_negatives"] == "mask":
            codes = self.train.label_codes.items()
            labels = {view: to_device(torch.from_numpy(code[indices]), self.device) for view, code in codes}

        def encode(batch: dict[str, Any]) -> dict[str, torch.Tensor]:
            with autocast(self.device, self.precision):
                found: dict[str, torch.Tensor] = self.parallel(batch, self.hyperparameters["augment"])
            return found

        def loss_of(outputs: dict[str, torch.Tensor]) -> torch.Tensor:
            return tripartite_loss(distributed.gather(outputs), left, right, labels=labels)["total"]

        seed = self.trial.seed * 1_000_003 + step + (distributed.rank() << 40)
        seeds = [seed + (position << 48) for position in range(len(parts))]
        return backward(encode, parts, seeds, loss_of, self.scaler.scale)

    def _finish_epoch(self, train_loss: float) -> None:
        """Evaluates, writes the epoch's row of history, and decides whether to stop early."""
        progress, metric = self.progress, self.trial.selection_metric
        finite = math.isfinite(train_loss) and all(
            torch.isfinite(parameter).all() for parameter in self.model.parameters()
        )
        self.latest = self._evaluate() if finite else None
        if self.latest is None:
            log(f"epoch {progress.epoch}: loss, weights or features are not finite: diverged is this trial's result")
            progress.status = "diverged"
            return
        val = self.latest[0]
        scales = (self.model.logit_scale, self.model.logit_scale_left, self.model.logit_scale_right)
        temperatures = [scale.exp().reciprocal().item() for scale in scales]
        progress.history.append(
            {
                "epoch": progress.epoch,
                "step": progress.epoch * self.budget.steps_per_epoch,
                "learning_rate": learning_rate_of(self.optimizer),
                "train_loss": train_loss,
                "val_loss": val.loss,
                **val.scores,
                **dict(zip(("temperature", "temperature_left", "temperature_right"), temperatures, strict=True)),
            }
        )
        score = val.scores[metric]
        shown = "none" if score is None else f"{score:.3f}"
        log(f"epoch {progress.epoch}/{self.budget.stop_epoch}: loss {train_loss:.3f}, val {metric} {shown}")
        patience = self.hyperparameters["early_stopping_patience"]
        if patience is None:
            progress.best_epoch, progress.best_score = progress.epoch, score
            return
        improved = score is not None and (progress.best_score is None or score > progress.best_score)
        if improved or progress.best_epoch == 0:
            progress.best_epoch, progress.best_score = progress.epoch, score
            self.best_weights = on_host(self.model.trained_state())
        elif progress.epoch - progress.best_epoch >= patience and progress.epoch < self.hyperparameters["epochs"]:
            log(f"no better epoch since {progress.best_epoch}: stopping early")
            progress.status = "early_stopped"

    def _evaluate(self) -> tuple[Validation, "pd.DataFrame"] | None:
        with uncompiled(self.hyperparameters["compile"]):
            return evaluate(self.trial, self.model, self.val, self.tokenize, self.device, self.precision)

    def _result(self) -> tuple[Validation, "pd.DataFrame"]:
        """Loads the chosen epoch's weights; scores them, unless that epoch was evaluated last."""
        progress = self.progress
        if progress.status in ("out_of_memory", "diverged"):
            # judged as such, not by the epochs before it broke
            return _no_scores(), no_predictions(len(self.val.classes))
        if progress.best_epoch != progress.epoch:
            self.model.load_trained_state(self.best_weights or self._saved_best_weights())
            self.latest = None
        if self.latest is None:
            self.latest = self._evaluate()
        assert self.latest is not None, "an epoch that diverged is never the best one"
        val, table = self.latest
        return replace(val, standard_error=standard_errors(table, self.val.classes)), table

    def _saved_best_weights(self) -> dict[str, torch.Tensor]:
        best = load_checkpoint(self.folder.best_weights(self.progress.best_epoch))
        if best is None:
            raise ValueError(
                f"{self.folder.path}: the weights of the best epoch, {self.progress.best_epoch}, are lost; delete "
                "checkpoint.pt there and run again to train from the beginning."
            )
        weights: dict[str, torch.Tensor] = best["model"]
        return weights

    def _resume(self) -> float | None:
        """Takes up the saved state, if there is one; returns the epoch it stood at, in fractions."""
        saved = load_checkpoint(self.folder.checkpoint)
        if saved is None:
            return None
        progress = Progress(**saved["progress"])
        best = self.folder.best_weights(progress.best_epoch)
        if self.hyperparameters["early_stopping_patience"] and progress.best_epoch and load_checkpoint(best) is None:
            log(f"{best.name}, the best so far, is lost; starting from the beginning")
            return None
        self.model.load_trained_state(saved["model"])
        restore(self.optimizer, saved["optimizer"])
        if saved["scaler"]:  # empty where it was saved on a device that needs none
            self.scaler.load_state_dict(saved["scaler"])
        self.progress = progress
        at = self.progress.epoch + self.progress.step_in_epoch / self.budget.steps_per_epoch
        log(f"resuming at epoch {at:.2f}")
        return at

    def _stop(self, number: int, frame: Any) -> None:
        """A stop request of a time limit, a pre-emption or a person: the current step is finished and saved first."""
        self.stop_requested = True

    def _save(self, seconds_in_epoch: float) -> None:
        content = asdict(self.progress)
        content["device_seconds"] += seconds_in_epoch
        files = {}
        if self.best_weights is not None:
            # first: a checkpoint never names weights that are not there
            files[self.folder.best_weights(self.progress.best_epoch)] = {"model": self.best_weights}
            self.best_weights = None
        files[self.folder.checkpoint] = {
            "model": self.model.trained_state(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "progress": content,
        }
        self.saver.save(files, partial(self.folder.drop_best, but=self.progress.best_epoch))


def _no_scores() -> Validation:
    return Validation(
        loss=None,
        scores=dict.fromkeys(SELECTABLE),
        levels=Levels(chance={}, majority={}),
        standard_error=dict.fromkeys(SELECTABLE),
    )
