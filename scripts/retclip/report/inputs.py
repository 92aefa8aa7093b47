"""What the report is made of: every stage's JSON, CSV and parquet, read from the folder of a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retclip.core.files import canonical_json, read_json
from retclip.core.scores import ZERO_SHOT

if TYPE_CHECKING:
    import pandas as pd

STAGES = ("phase1", "phase2", "confirm")


@dataclass
class Training:
    """One finished training: its metrics.json (with its trial) and one row of history per epoch."""

    id: str
    metrics: dict[str, Any]
    history: "pd.DataFrame"

    @property
    def trial(self) -> dict[str, Any]:
        return self.metrics["trial"]


@dataclass
class Final(Training):
    """A final training with its evaluation on test. kind: winner, baseline or control (shuffled texts)."""

    kind: str
    evaluation: dict[str, Any]
    predictions: "pd.DataFrame"

    @property
    def encoder(self) -> str:
        return self.trial["text_encoder"]


@dataclass
class RunFolder:
    """A whole run, read."""

    audit: dict[str, Any]
    fingerprint: dict[str, Any]
    curve: "pd.DataFrame"
    suggestion: dict[str, Any]
    boards: dict[str, "pd.DataFrame"]
    decisions: dict[str, dict[str, Any]]
    searched: dict[str, list[Training]]
    finals: list[Final]
    recommendation: dict[str, Any]

    @property
    def metric(self) -> str:
        """The one metric that every choice of this run was made by."""
        return self.decisions["best"]["metric_name"]

    @property
    def test_metric(self) -> str:
        """What models are compared by on test: the metric of the choice where that is zero-shot, or where there
        is nothing else because nothing is labelled."""
        unlabelled = self.fingerprint["label_level"] == "none"
        return self.metric if self.metric in ZERO_SHOT or unlabelled else "zero_shot_balanced_accuracy"

    def paid(self, stage: str) -> list[Training]:
        """A stage's trainings, each once: what stood still on a rung and went on is counted where it ended."""
        longest: dict[str, Training] = {}
        for training in self.searched[stage]:
            trial = training.metrics["trial"]
            key = canonical_json([trial["configured"], trial["seed"]])
            if key not in longest or training.metrics["epochs"] > longest[key].metrics["epochs"]:
                longest[key] = training
        return list(longest.values())

    def winners(self, encoder: str) -> list[Final]:
        """The winner's trainings with `encoder`, one per seed."""
        return [final for final in self.finals if final.kind == "winner" and final.encoder == encoder]

    def baselines(self) -> list[Final]:
        """The default config's trainings, one per seed."""
        return [final for final in self.finals if final.kind == "baseline"]

    @property
    def search_encoder(self) -> str:
        """The text encoder that the search tuned with; the baseline is trained with it, too."""
        return self.baselines()[0].encoder

    @property
    def encoders(self) -> list[str]:
        """All text encoders, the search's first."""
        names = dict.fromkeys(final.encoder for final in self.finals if final.kind == "winner")
        return sorted(names, key=lambda name: name != self.search_encoder)


def read_run(folder: Path) -> RunFolder:
    """Reads results/{run}. Raises FileNotFoundError, naming the file, where a stage has not been run."""
    import pandas as pd

    stages = [stage for stage in STAGES if (folder / stage / "leaderboard.csv").is_file() or stage != "confirm"]
    return RunFolder(
        audit=read_json(folder / "data/audit.json"),
        fingerprint=read_json(folder / "data/fingerprint.json"),
        curve=pd.read_csv(folder / "find_lr/curve.csv"),
        suggestion=read_json(folder / "find_lr/suggestion.json"),
        boards={stage: pd.read_csv(folder / stage / "leaderboard.csv") for stage in stages},
        decisions={
            "phase1": read_json(folder / "phase1/best.json"),
            "phase2": read_json(folder / "phase2/best.json"),
            "best": read_json(folder / "best.json"),
        },
        searched={
            stage: [_training(path) for path in sorted((folder / stage).glob("*/metrics.json"))] for stage in stages
        },
        finals=[_final(path) for path in sorted((folder / "final").glob("*/evaluation.json"))],
        recommendation=read_json(folder / "final/recommendation.json"),
    )


def _training(metrics: Path) -> Training:
    import pandas as pd

    try:
        history = pd.read_csv(metrics.with_name("history.csv"))
    except pd.errors.EmptyDataError:  # it diverged before its first evaluation
        history = pd.DataFrame({"epoch": []})
    return Training(metrics.parent.name, read_json(metrics), history)


def _final(evaluation: Path) -> Final:
    import pandas as pd

    training = _training(evaluation.with_name("metrics.json"))
    kind = training.id.split("-")[0]
    return Final(
        training.id,
        training.metrics,
        training.history,
        kind if kind in ("baseline", "control") else "winner",
        read_json(evaluation),
        pd.read_parquet(evaluation.with_name("predictions.parquet")),
    )
