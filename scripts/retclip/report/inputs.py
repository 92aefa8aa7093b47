"""What the report is made of: every stage's JSON, CSV and parquet, read from the folder of a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retclip.core.files import canonical_json, read_json
from retclip.core.scores import ZERO_SHOT

if TYPE_CHECKING:
    import pandas as pd

STAGES = ("phase1", "phase2", "confirm")
# How the id of a final training begins that is no winner's.
KINDS = ("baseline", "control", "ablation")


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
    """A final training with its evaluation on test. kind: winner, baseline, control (shuffled texts), or
    ablation (the default config with one of the winner's values)."""

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
    encoder_boards: dict[str, "pd.DataFrame"]
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

    def trainings(self) -> dict[str, Sequence[Training]]:
        """Stage -> all its trainings, in the order of the stages."""
        return {**self.searched, "final": self.finals}

    def paid(self) -> dict[str, list[Training]]:
        """Stage -> its trainings, each once in the whole run: what stood still on a rung and went on, or what a
        later stage asked for again, is counted where it ended."""
        longest: dict[str, tuple[str, Training]] = {}
        for stage, trainings in self.trainings().items():
            for training in trainings:
                budget = {key: training.trial["budget"][key] for key in ("train_samples", "val_samples", "total_steps")}
                names = ("text_encoder", "hyperparameters", "seed", "shuffled_texts")
                key = canonical_json([budget, *(training.trial[name] for name in names)])
                if key not in longest or training.metrics["epochs"] >= longest[key][1].metrics["epochs"]:
                    longest[key] = stage, training
        return {
            stage: [training for where, training in longest.values() if where == stage] for stage in self.trainings()
        }

    def winners(self, encoder: str) -> list[Final]:
        """The winner's trainings with `encoder`, one per seed."""
        return [final for final in self.finals if final.kind == "winner" and final.encoder == encoder]

    def baselines(self) -> list[Final]:
        """The default config's trainings, one per seed."""
        return [final for final in self.finals if final.kind == "baseline"]

    def ablations(self) -> dict[str, Final]:
        """Hyperparameter -> the default config's training with the winner's value of it alone."""
        return {
            final.id.removeprefix("ablation_").split("-")[0]: final for final in self.finals if final.kind == "ablation"
        }

    @property
    def search_encoder(self) -> str:
        """The text encoder that the search tuned with; the baseline is trained with it, too."""
        return self.baselines()[0].encoder

    @property
    def encoders(self) -> list[str]:
        """All text encoders, the search's first."""
        names = dict.fromkeys(final.encoder for final in self.finals if final.kind == "winner")
        return sorted(names, key=lambda name: name != self.search_encoder)


def read_run(folder: Path, trainings: dict[str, list[str]]) -> RunFolder:
    """Reads results/{run}. trainings: stage -> ids; what else lies there is left from an earlier config.

    Raises FileNotFoundError, naming the file, where a stage has not been run.
    """
    import pandas as pd

    stages = [stage for stage in STAGES if trainings[stage]]
    encoders = sorted({name.split("-")[0] for name in trainings["encoders"]})
    return RunFolder(
        audit=read_json(folder / "data/audit.json"),
        fingerprint=read_json(folder / "data/fingerprint.json"),
        curve=pd.read_csv(folder / "find_lr/curve.csv"),
        suggestion=read_json(folder / "find_lr/suggestion.json"),
        boards={stage: pd.read_csv(folder / stage / "leaderboard.csv") for stage in stages},
        encoder_boards={name: pd.read_csv(folder / "encoders" / name / "leaderboard.csv") for name in encoders},
        decisions={
            "phase1": read_json(folder / "phase1/best.json"),
            "phase2": read_json(folder / "phase2/best.json"),
            "best": read_json(folder / "best.json"),
        },
        searched={
            stage: [_training(folder / stage / name / "metrics.json") for name in trainings[stage]]
            for stage in [*stages, *(["encoders"] if encoders else [])]
        },
        finals=[_final(folder / "final" / name / "evaluation.json") for name in trainings["final"]],
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
    kind = training.id.split("-")[0].split("_")[0]
    return Final(
        training.id,
        training.metrics,
        training.history,
        kind if kind in KINDS else "winner",
        read_json(evaluation),
        pd.read_parquet(evaluation.with_name("predictions.parquet")),
    )
