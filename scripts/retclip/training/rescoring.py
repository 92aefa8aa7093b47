"""A finished training run scored once more from the weights that it kept: with other class prompts, without a step."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from retclip.core.trial import Trial
from retclip.evaluation.validation import evaluate, standard_errors
from retclip.loading.dataset import Split
from retclip.loading.device import prepare_device
from retclip.metrics.metrics_document import Metrics
from retclip.metrics.registry import MULTI_LABEL, ZERO_SHOT
from retclip.training.checkpoint_file import load_checkpoint, save_checkpoint

if TYPE_CHECKING:
    import pandas as pd

    from retclip.models.retclip import RetClip

BROKEN = ("diverged", "out_of_memory")


def keep_weights(model: "RetClip", path: Path) -> None:
    """Saves what training may have changed: a frozen encoder comes back with the untrained model."""
    save_checkpoint(path, {"model": model.trained_state()})


def restore_weights(model: "RetClip", path: Path) -> bool:
    """Puts kept weights into the untrained model of the same trial; False where they are gone or damaged."""
    kept = load_checkpoint(path)
    if kept is None:
        return False
    model.load_trained_state(kept["model"])
    return True


def rescore(
    scored: Path,
    trial: Trial,
    model: "RetClip",
    split: Split,
    tokenize: Any,
    device: torch.device,
    precision: str,
) -> tuple[Metrics, "pd.DataFrame", "pd.DataFrame"]:
    """metrics.json, history and predictions of `trial`, whose weights are in the model.

    scored: results of the same weights with other class prompts, from which all that prompts do not touch is taken.
    The zero-shot scores of epochs whose weights are gone are left empty.
    """
    import pandas as pd

    metrics = Metrics.read(scored / "metrics.json")
    try:
        history = pd.read_csv(scored / "history.csv", float_precision="round_trip")
    except pd.errors.EmptyDataError:  # it broke in its first epoch
        history = pd.DataFrame()
    if metrics.status in BROKEN:
        return metrics, history, pd.read_parquet(scored / "val_predictions.parquet")
    prepare_device(device, precision)
    found = evaluate(trial, model.to(device), split, tokenize, device, precision)
    assert found is not None, "weights that were scored with other prompts are finite"
    val, table = found
    names = [name for name in (*ZERO_SHOT, MULTI_LABEL) if name in history]
    history[names] = float("nan")
    for name in names:
        history.loc[history["epoch"] == metrics.best_epoch, name] = val.scores[name]
    val = replace(val, standard_error=standard_errors(table, split.classes))
    return replace(metrics, val=val), history, table
