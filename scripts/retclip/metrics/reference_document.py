"""reference_models.json as dataclasses. config/schema says what each key means."""

from dataclasses import dataclass
from typing import Any

from retclip.core.documents import Document
from retclip.metrics.evaluation_document import Scores


@dataclass(frozen=True, kw_only=True)
class ReferenceModel:
    """What needs no RET-CLIP, on test. strength, train_units: None where nothing is fitted."""

    name: str
    scores: Scores
    strength: float | None
    train_units: int | None
    test_units: int
    left_out: int


@dataclass(frozen=True, kw_only=True)
class Omitted:
    """A reference model that these data cannot give, and why."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class ReferenceModels(Document):
    """The reference models of a run's data."""

    SCHEMA = "reference_models"

    models: tuple[ReferenceModel, ...]
    omitted: tuple[Omitted, ...]
    code: str
    data: dict[str, Any]
