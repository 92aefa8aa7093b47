"""trial.json as a dataclass: one trial, complete, so that the trainer has no defaults of its own.

config/schema says what each key means. Hyperparameters stay a mapping by name, since they are declared once, in
core/hyperparameters.py; the image encoder's settings are the config's own.
"""

from dataclasses import dataclass, field, fields
from typing import Any, Protocol

from retclip.core.documents import OPTIONAL, Document, build, plain

Values = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class TextEncoder:
    """The text encoder as the config describes it, keys in alphabetical order, as a trial specification has them.

    texts: view -> column; None: as the data has them. train_last_layers: None trains all, unless it is frozen.
    """

    from_checkpoint: bool
    pooling: str | None = field(default=None, metadata=OPTIONAL)
    revision: str | None
    source: str
    texts: dict[str, str] | None
    train_last_layers: int | None = field(default=None, metadata=OPTIONAL)
    truncation_side: str

    @property
    def reading(self) -> list[Any]:
        """What changes the features of a text, beside the encoder and the tokens that it reads."""
        chosen = [] if self.pooling is None else [self.pooling]
        return [self.texts, self.truncation_side, self.from_checkpoint, *chosen]


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A hyperparameter that the budget did not allow as configured."""

    key: str
    configured: float
    used: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Samples (patients), epochs and optimizer steps of a trial; total_steps: of its whole schedule."""

    train_samples: int
    val_samples: int
    stop_epoch: int
    steps_per_epoch: int
    total_steps: int
    cuts: tuple[Cut, ...]


@dataclass(frozen=True, kw_only=True)
class Subset:
    """The train patients that a trial sees, where they are not all: the fraction asked for, and how many it is."""

    fraction: float
    patients: int


class ModelSpecification(Protocol):
    """What it takes to build an untrained model."""

    @property
    def text_encoder(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def hyperparameters(self) -> Values: ...
    @property
    def image_encoder(self) -> Values: ...
    @property
    def text_encoder_settings(self) -> TextEncoder: ...
    @property
    def image_size(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class Trial(Document):
    """One trial: a configuration at one budget and seed.

    hyperparameters: what the training uses, after the budget's cuts; configured: the same in the units of a full run.
    image_encoder: that section of the config. class_prompts: class -> sentences. subset: None where it sees all
    train patients. sha256: of all the rest.
    """

    SCHEMA = "trial"

    id: str
    phase: str
    kind: str
    bracket: int | None
    rung: int | None
    slot: int | None
    candidate: str | None
    ablated: str | None
    text_encoder: str
    seed: int
    hyperparameters: Values
    configured: Values
    image_encoder: Values
    text_encoder_settings: TextEncoder
    image_size: int
    class_prompts: dict[str, list[str]]
    class_prompts_sha256: str
    selection_metric: str
    shuffled_texts: bool
    subset: Subset | None = field(default=None, metadata=OPTIONAL)
    budget: Budget
    sha256: str

    def to_dict(self) -> dict[str, Any]:
        """The content of the file, unchecked: a plan compares thousands, and checks those that it writes."""
        document: dict[str, Any] = plain(self)
        return document


@dataclass(frozen=True, kw_only=True)
class FeaturesSpecification:
    """Of a trial, what the features of frozen encoders depend on: a ModelSpecification that no trial differs in."""

    text_encoder: str
    text_encoder_settings: TextEncoder
    image_encoder: Values
    image_size: int
    seed: int
    hyperparameters: Values

    @classmethod
    def from_dict(cls, document: Any) -> "FeaturesSpecification":
        """Of a trial specification or a whole trial, from which only these keys are taken."""
        return build(cls, {one.name: document[one.name] for one in fields(cls)})
