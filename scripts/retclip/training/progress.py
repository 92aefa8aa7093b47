"""Where a training run stands, and how it ended."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from retclip.metrics.metrics_document import Validation

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class Progress:
    """Where a training run stands; plain values only, so that a checkpoint holds no code."""

    epoch: int = 0
    step_in_epoch: int = 0
    epoch_loss_sum: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_score: float | None = None
    train_seconds: float = 0.0
    device_seconds: float = 0.0
    status: str = "completed"


@dataclass
class Outcome:
    """A finished training run: the chosen weights are in the model; val and predictions belong to them."""

    progress: Progress
    val: Validation
    predictions: "pd.DataFrame"
    resumed_from_epoch: float | None
    attempts: int
    lost_seconds: float
    job: dict[str, Any] | None
