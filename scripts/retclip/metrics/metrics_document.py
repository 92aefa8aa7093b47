"""metrics.json as dataclasses: what a training gave and cost. config/schema says what each key means."""

from dataclasses import dataclass, field
from typing import Any

from retclip.core.documents import OPTIONAL, OTHERS, Document
from retclip.core.facts import FAILED
from retclip.core.schemas import check
from retclip.core.trial import Trial


@dataclass(frozen=True, kw_only=True)
class Levels:
    """Reference levels: what guessing and the largest class would score, per metric."""

    chance: dict[str, float | None]
    majority: dict[str, float | None]


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Scores on the validation split. standard_error: per metric, over patients; empty before it is known."""

    loss: float | None
    scores: dict[str, float | None] = field(metadata=OTHERS)
    levels: Levels
    standard_error: dict[str, float | None]


@dataclass(frozen=True, kw_only=True)
class Metrics(Document):
    """One training run: its trial, its scores on validation, its cost, and what it ran on."""

    SCHEMA = "metrics"

    trial: Trial
    trial_sha256: str
    status: str
    train_loss: float | None
    val: Validation
    best_epoch: int
    epochs: int
    steps: int
    train_samples: int | None = field(default=None, metadata=OPTIONAL)
    samples_per_second: float | None
    wall_seconds: float
    device_seconds: float
    peak_memory_bytes: int | None
    utilization: float | None
    device: str
    gpus: tuple[str, ...] | None = field(default=None, metadata=OPTIONAL)
    precision: str | None = field(default=None, metadata=OPTIONAL)
    versions: dict[str, Any]
    code: str
    commit: str | None = None
    machine: dict[str, Any] | None = field(default=None, metadata=OPTIONAL)
    data: dict[str, str]
    attempts: int
    lost_seconds: float
    job: dict[str, Any] | None
    resumed_from: float | None

    @property
    def failed(self) -> bool:
        """It ended without a score, whatever its weights would give."""
        return self.status in FAILED

    @classmethod
    def _check(cls, document: Any, origin: str) -> None:
        super()._check(document, origin)
        check(document["trial"], Trial.SCHEMA, f"{origin}, trial")  # a schema of its own
