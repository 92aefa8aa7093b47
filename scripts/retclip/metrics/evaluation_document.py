"""evaluation.json, and the scores on an external data set, as dataclasses. config/schema says what each key means."""

from dataclasses import dataclass, field
from typing import Any

from retclip.core.documents import OPTIONAL, Document
from retclip.metrics.estimates import Documented
from retclip.metrics.metrics_document import Levels

# A row of a table: of a class, a bin or a group; the schema has its columns.
Row = dict[str, Any]
Scores = dict[str, Documented]


@dataclass(frozen=True, kw_only=True)
class Probe:
    """How the linear probe was trained."""

    features: str
    strength: float
    train_units: int
    seeds: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """matrix: counts, a row a true class, a column a named class; empty where nothing is labeled."""

    classes: tuple[str, ...]
    matrix: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Of the softmax over classes at the trained temperature."""

    expected_calibration_error: Documented
    expected_if_calibrated: Documented
    debiased_calibration_error: Documented
    bins: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True)
class MultiLabel:
    """All labeled units, those of several labels included, each class against the rest."""

    units: int
    patients: int
    joined: int
    macro_auroc: Documented
    macro_average_precision: Documented
    classes: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Of the split that was evaluated."""

    samples: int
    patients: int
    scored: int
    scored_patients: int


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Who is left out of an external data set's second scores."""

    samples: int
    patients: int


@dataclass(frozen=True, kw_only=True)
class ScoredCounts:
    """Of an external data set without those who are left out."""

    patients: int
    scored: int


@dataclass(frozen=True, kw_only=True)
class Without:
    """The scores of an external data set without those who are left out."""

    counts: ScoredCounts
    zero_shot: Scores


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """What an external data set shares with train and val of the run."""

    patients: int
    samples: int
    images: int
    same_id: int
    ids_confirmed: bool
    image_copies: int
    near_duplicates: int
    image_patients: int
    identical_texts: int | None
    left_out: LeftOut
    without: Without | None


@dataclass(frozen=True, kw_only=True)
class Evaluation(Document):
    """The scores of one model on the test split, or on an external data set."""

    SCHEMA = "evaluation"

    zero_shot: Scores
    zero_shot_single_template: Scores
    linear_probe: dict[str, dict[str, Any]]
    probe: Probe | None
    retrieval: Scores
    retrieval_omitted: str | None
    levels: Levels
    per_class: tuple[Row, ...]
    confusion: Confusion
    calibration: Calibration | None
    quadratic_kappa: Documented | None
    multi_label: MultiLabel | None
    subgroups: tuple[Row, ...]
    texts_from_labels: bool
    counts: Counts
    failed: str | None
    trial_sha256: str
    seed: int
    device: str
    gpus: tuple[str, ...] | None = field(default=None, metadata=OPTIONAL)
    precision: str
    versions: dict[str, Any]
    code: str
    commit: str | None
    machine: dict[str, Any]
    data: dict[str, str]
    overlap: Overlap | None = field(default=None, metadata=OPTIONAL)
