"""Numbers and names as a person reads them; files keep full precision."""

import math
from typing import Any

from retclip.metrics.registry import METRICS, SEVERAL_LABELS

STAGE_NAMES = {
    "phase1": "Phase 1",
    "phase2": "Phase 2",
    "confirm": "Confirmation",
    "encoders": "Text encoders",
    "final": "Final",
}
# Kinds of models that are evaluated on test.
MODELS = {
    "tuned": "the tuned configuration (each text encoder and seed)",
    "baseline": "the baseline",
    "control": "the negative control (shuffled reports)",
    "ablation": "the ablation (the baseline with one tuned value)",
    "subset": "the tuned configuration on a fraction of the train patients (each fraction and seed)",
    "initial": "the untouched initial weights",
    "reference": "what needs no RET-CLIP (colors, age and sex, a second reader)",
}
MINUS = "\N{MINUS SIGN}"
NOTHING = "\N{EM DASH}"


def metric_name(metric: str) -> str:
    """The label that is declared for a metric; of any other key its words."""
    declared = {**METRICS, **SEVERAL_LABELS}.get(metric)
    return declared.label if declared else metric.replace("_", " ")


def score(value: float | None) -> str:
    """Three decimals; a dash where there is no value."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return f"{value:.3f}".replace("-", MINUS)


def signed(value: float | None) -> str:
    """Three decimals with its sign."""
    return score(value) if value is None or value < 0 else f"+{score(value)}"


def interval(low: float | None, high: float | None) -> str:
    """Both ends of a 95 % CI; empty where an end is missing."""
    if low is None or high is None:
        return ""
    return f"{score(low)} to {score(high)}"


def distance(value: float, low: float | None, high: float | None, reference: str) -> str:
    """How far a difference from a reference is above or below it, with its 95 % CI in that direction."""
    side = "above"
    if value < 0:
        side, low, high = "below", None if high is None else -high, None if low is None else -low
    ci = f" (95 % CI {interval(low, high)})" if low is not None else ""
    return f"{score(abs(value))} {side} {reference}{ci}"


def drawn(seeds: int) -> str:
    """What intervals of models with so many trials each are drawn over."""
    return "patients (one trial each: other seeds may differ by more)" if seeds == 1 else "patients and seeds"


def intervals_over(seeds: int) -> str:
    """What a caption says of the intervals of models with so many trials each."""
    return f"95 % CIs over {drawn(seeds)}"


def setting(value: Any) -> str:
    """A hyperparameter's value: 0.003 and 5e-06 as they are written in a config."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return NOTHING
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value).lower() if isinstance(value, bool) else str(value)
    return f"{value:.3g}" if isinstance(value, float) else f"{value:,}"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever leaves a short number."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def count(number: int, noun: str, nouns: str | None = None) -> str:
    """1 seed, 2 seeds; 2 classes where that is `nouns`."""
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"


def failed(trials: dict[str, str], planned: int) -> str:
    """How many of the planned trials failed, and which. trials: id -> its status; empty where none did."""
    if not trials:
        return ""
    named = ", ".join(f"{name} {status.replace('_', ' ')}" for name, status in trials.items())
    return f"{len(trials)} of {count(planned, 'seed')} failed: {named}"


def test_set_evaluations(models: dict[str, int]) -> str:
    """How many models were evaluated on test, as a sentence. models: how many of each kind; see MODELS."""
    listed = "; ".join(f"{number} of {MODELS[kind]}" for kind, number in models.items())
    return (
        f"Test-set evaluations: {count(sum(models.values()), 'model')}: {listed}. Each counts by its evaluation.json; "
        "a second evaluation of the same model replaces that file and cannot be seen."
    )


def percent(share: float) -> str:
    """A share of 1 as a percentage with one decimal."""
    return f"{share:.1%}"
