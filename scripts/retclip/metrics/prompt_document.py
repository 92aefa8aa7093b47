"""prompts.json as dataclasses. config/schema says what each key means."""

from dataclasses import dataclass

from retclip.core.documents import Document
from retclip.metrics.estimates import Documented


@dataclass(frozen=True, kw_only=True)
class Template:
    """A single template, for all classes."""

    template: str
    value: float


@dataclass(frozen=True, kw_only=True)
class ClassPrompt:
    """One sentence of a class's ensemble. adds, adds_recall: the score and its class's recall with it, less those
    without it."""

    label: str
    prompt: str
    adds: float
    adds_recall: float | None


@dataclass(frozen=True, kw_only=True)
class PromptSensitivity(Document):
    """How far a model's zero-shot score on validation hangs on its class prompts."""

    SCHEMA = "prompts"

    metric: str
    ensemble: Documented
    templates: tuple[Template, ...]
    halves: tuple[float, ...]
    prompts: tuple[ClassPrompt, ...]
    units: int
