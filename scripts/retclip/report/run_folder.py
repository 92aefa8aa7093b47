"""What the report is made of: every stage's JSON, CSV and parquet, read from the folder of a run.

Of an unfinished run, stages are missing: what has not been written is None, an empty table or an empty list, and the
page leaves out what needs it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from retclip.core.config import Config
from retclip.core.documents import Document
from retclip.core.facts import KINDS
from retclip.core.io import canonical_json, read_json
from retclip.core.qualitative_examples import read_examples
from retclip.metrics.evaluation_document import Evaluation
from retclip.metrics.finished import Finished
from retclip.metrics.metrics_document import Metrics
from retclip.metrics.prompt_document import PromptSensitivity
from retclip.metrics.reference_document import ReferenceModels
from retclip.metrics.registry import MULTI_LABEL, ZERO_SHOT
from retclip.report.provisional import provisional_board

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Kind = TypeVar("Kind", bound=Document)
STAGES = ("phase1", "phase2", "confirm")
# Before the name of a text encoder with a search of its own: its entry in decisions, and in boards its confirmation.
OWN = "encoders/"


@dataclass
class FinishedTrial(Finished):
    """One finished training run: its metrics.json (with its trial) and one row of history per epoch."""

    id: str
    metrics: Metrics
    history: "pd.DataFrame"
    folder: Path


@dataclass
class FinalModel(FinishedTrial):
    """A final model with its evaluation on test. predictions: None where they were removed. resampled: by metric."""

    evaluation: Evaluation
    predictions: "pd.DataFrame | None"
    resampled: "dict[str, np.ndarray]" = field(default_factory=dict, repr=False, compare=False)

    @property
    def encoder(self) -> str:
        return self.trial.text_encoder


@dataclass
class External:
    """A tuned model's evaluation on an external data set. name: of the data set, in evaluation.external_tests."""

    name: str
    model: FinalModel
    evaluation: Evaluation


@dataclass(eq=False)
class RunFolder:
    """A whole run, or as much of it as there is, read.

    planned: stage -> id -> epochs that this trial adds (a later rung resumes an earlier one). audit,
    fingerprint, suggestion, bracket, recommendation, initial (JSON; the last is of the initial weights),
    curve, importances (tables), references, prompts (dataclasses) and examples (QualitativeExamples): None where they
    lack. external_fingerprints: name of an external data set -> its fingerprint.json.
    """

    config: Config
    planned: dict[str, dict[str, int]]
    interim: bool
    audit: Any
    fingerprint: Any
    curve: Any
    suggestion: Any
    boards: dict[str, "pd.DataFrame"]
    encoder_boards: dict[str, "pd.DataFrame"]
    decisions: dict[str, dict[str, Any]]
    bracket: Any
    importances: Any
    searched: dict[str, list[FinishedTrial]]
    finals: list[FinalModel]
    external: list[External]
    external_fingerprints: dict[str, Any]
    recommendation: Any
    initial: Evaluation | None
    references: ReferenceModels | None
    prompts: PromptSensitivity | None
    examples: Any

    @property
    def metric(self) -> str:
        """The one metric that every choice of this run was made by."""
        return self.config["selection"]["metric"]

    @property
    def test_metric(self) -> str:
        """What models are compared by on test: where units have several labels, a metric that knows them; else the
        metric of the choice where that is zero-shot, or where there is nothing else because nothing is labeled."""
        if any(final.evaluation.multi_label for final in self.finals):
            return MULTI_LABEL
        unlabeled = self.fingerprint is not None and self.fingerprint["label_level"] == "none"
        return self.metric if self.metric in ZERO_SHOT or unlabeled else "zero_shot_balanced_accuracy"

    @property
    def is_decided(self) -> bool:
        """A configuration was chosen, and it and the baseline were evaluated on test."""
        return "best" in self.decisions and bool(self.baselines()) and bool(self.tuned(self.search_encoder))

    def chance(self, metric: str) -> float | None:
        """What guessing gives: on test where that was opened, before on validation."""
        if self.finals:
            return self.finals[0].evaluation.levels.chance.get(metric)
        for trials in self.searched.values():
            for finished in trials:
                return finished.metrics.val.levels.chance.get(metric)
        return None

    @property
    def test_set_evaluations(self) -> int:
        """How many models were evaluated on test, as far as their files tell: see opened."""
        return sum(self.evaluated_on_test.values())

    @property
    def evaluated_on_test(self) -> dict[str, int]:
        """What was evaluated on test -> how many models: final models by kind, the initial weights, and what needs no
        RET-CLIP.

        Each has one file; an evaluation that was run again has replaced its file and cannot be seen.
        """
        kinds = [final.kind for final in self.finals]
        order = ("tuned", *(kind for kind in KINDS if kind != "tuned"))
        found = {kind: kinds.count(kind) for kind in order}
        found["initial"] = int(self.initial is not None)
        found["reference"] = len(self.references.models) if self.references else 0
        return {kind: number for kind, number in found.items() if number}

    def trials(self) -> dict[str, Sequence[FinishedTrial]]:
        """Stage -> all its trials, in the order of the stages."""
        return {**self.searched, "final": self.finals}

    def paid(self) -> dict[str, list[FinishedTrial]]:
        """Stage -> its trials, each once in the run: what a later rung or stage resumed is counted where it ended."""
        longest: dict[str, tuple[str, FinishedTrial]] = {}
        for stage, trials in self.trials().items():
            for finished in trials:
                budget = finished.trial.budget
                budgeted = [budget.train_samples, budget.val_samples, budget.total_steps]
                names = ("text_encoder", "hyperparameters", "seed", "shuffled_texts")
                key = canonical_json([budgeted, *(getattr(finished.trial, name) for name in names)])
                if key not in longest or finished.metrics.epochs >= longest[key][1].metrics.epochs:
                    longest[key] = stage, finished
        return {stage: [finished for where, finished in longest.values() if where == stage] for stage in self.trials()}

    def models(self) -> dict[str, list[FinalModel]]:
        """What a final model is, in words -> its trials, which differ in the seed alone."""
        found = {f"the tuned configuration with {encoder}": self.tuned(encoder) for encoder in self.encoders}
        found |= {"the baseline": self.baselines(), "the control on shuffled texts": self.controls()}
        found |= {f"the ablation of {name}": [final] for name, final in self.ablations().items()}
        found |= {f"the tuned configuration on {size:,} patients": finals for size, finals in self.subsets().items()}
        return {name: finals for name, finals in found.items() if finals}

    def tuned(self, encoder: str) -> list[FinalModel]:
        """The tuned configuration's trials with `encoder`, one per seed."""
        return [final for final in self.finals if final.kind == "tuned" and final.encoder == encoder]

    def baselines(self) -> list[FinalModel]:
        """The baseline's trials, one per seed."""
        return [final for final in self.finals if final.kind == "baseline"]

    def controls(self) -> list[FinalModel]:
        """The tuned configuration trained on texts shuffled between patients, where that was asked for."""
        return [final for final in self.finals if final.kind == "control"]

    def subsets(self) -> dict[int, list[FinalModel]]:
        """Number of train patients, fewer than all -> the tuned configuration's trials on them, one per seed."""
        parts = [(final.trial.subset.patients, final) for final in self.finals if final.trial.subset]
        return {size: [final for own, final in parts if own == size] for size in sorted({own for own, _ in parts})}

    def ablations(self) -> dict[str, FinalModel]:
        """Hyperparameter -> the baseline's training with the tuned configuration's value of it alone."""
        return {final.trial.ablated: final for final in self.finals if final.trial.ablated}

    @property
    def seeds_each(self) -> int:
        """How many final models each configuration and text encoder has at least, which differ in the seed alone."""
        groups = [self.baselines(), *(self.tuned(encoder) for encoder in self.encoders)]
        return min((len(group) for group in groups if group), default=1)

    @property
    def shown_seed(self) -> str:
        """Behind what shows one trial of each model: which seed it has, where there are several."""
        tuned = self.tuned(self.search_encoder)
        return f" (seed {tuned[0].trial.seed}, the first of {len(tuned)})" if len(tuned) > 1 else ""

    @property
    def search_encoder(self) -> str:
        """The text encoder that the search tuned with; the baseline is trained with it, too."""
        return self.config["model"]["search_encoder"]

    @property
    def answer_encoder(self) -> str:
        """The text encoder of the answer: the recommended one, or the search's where none could be recommended."""
        return (self.recommendation or {}).get("encoder") or self.search_encoder

    @property
    def scored_patients(self) -> int:
        """Test patients whose scores models are compared by; all of them where nobody has a label."""
        counts = self.finals[0].evaluation.counts
        return counts.scored_patients or counts.patients

    @property
    def encoders(self) -> list[str]:
        """All text encoders that final models have, the search's first."""
        names = dict.fromkeys(final.encoder for final in self.finals if final.kind == "tuned")
        return sorted(names, key=lambda name: name != self.search_encoder)


def read_run(folder: Path, interim: bool = False) -> RunFolder:
    """Reads results/{run}. What else lies there than run.json lists is left from an earlier config.

    Raises ValueError, naming the file, where a stage has not been run, or by an earlier version; unless interim, where
    it is left out.
    """
    import pandas as pd

    record = read_json(folder / "run.json")
    if not {"facts", "training_runs"} <= record.keys():
        raise ValueError(f"{folder / 'run.json'}: is of an earlier version; run snakemake again, which remakes it.")
    planned, known = record["training_runs"], record["facts"]
    stages = [stage for stage in STAGES if planned[stage]]
    encoders = sorted({told["text_encoder"] for told in known["encoders"].values()})

    def document(name: str) -> Any:
        return None if interim and not (folder / name).is_file() else read_json(folder / name)

    def table(name: str) -> "pd.DataFrame | None":
        return None if interim and not (folder / name).is_file() else pd.read_csv(folder / name)

    def finished(stage: str, file: str) -> list[Path]:
        paths = [folder / stage / name / file for name in planned[stage]]
        # of a trial that ends just now, one file may be there before the other
        whole = [path for path in paths if path.is_file() and path.with_name("history.csv").is_file()]
        return whole if interim else paths

    searched = {
        stage: [one for path in finished(stage, "metrics.json") if (one := _finished_trial(path, interim))]
        for stage in [*stages, *(["encoders"] if encoders else [])]
    }
    own = sorted({f"{OWN}{told['text_encoder']}" for told in known["encoders"].values() if told["slot"] is not None})
    choices = ("phase1", "phase2", "best", *own)
    decisions = {name: document(f"{name}/best.json".removeprefix("best/")) for name in choices}
    boards = {stage: table(f"{stage}/leaderboard.csv") for stage in stages}
    metric = record["config"]["selection"]["metric"]
    for stage, board in boards.items():
        if board is None and searched[stage]:
            boards[stage] = provisional_board({one.id: one for one in searched[stage]}, metric)
    finals = [one for path in finished("final", "evaluation.json") if (one := _final_model(path, interim))]
    places = record["config"]["evaluation"].get("external_tests", {})
    external = [
        External(place, final, Evaluation.from_dict(found, name))
        for place in places
        for final in finals
        if final.kind == "tuned" and (found := document(name := f"final/{final.id}/external/{place}.json")) is not None
    ]
    importances = folder / "phase2/importances.csv"
    first = "tuned", record["config"]["model"]["search_encoder"]
    shown = next(name for name, told in known["final"].items() if (told["kind"], told["text_encoder"]) == first)
    initial = folder / f"final/{record['initial']}/evaluation.json"
    examples = folder / f"final/{shown}/qualitative_examples.npz"
    return RunFolder(
        config=record["config"],
        planned=planned,
        interim=interim,
        audit=document("data/audit.json"),
        fingerprint=document("data/fingerprint.json"),
        curve=table("find_lr/curve.csv"),
        suggestion=document("find_lr/suggestion.json"),
        boards=_known(boards | {name: table(f"{name}/confirm.csv") for name in own if planned["confirm"]}),
        encoder_boards=_known({name: table(f"encoders/{name}/leaderboard.csv") for name in encoders}),
        decisions={name: found for name, found in _known(decisions).items() if "configured" in found},
        bracket=document("phase2/bracket-0.json"),
        importances=pd.read_csv(importances) if importances.is_file() else None,
        searched=searched,
        finals=finals,
        external=external,
        external_fingerprints={
            place: read_json(path)
            for place in places
            if (path := folder / f"external/{place}/fingerprint.json").is_file()
        },
        recommendation=document("final/recommendation.json"),
        initial=Evaluation.read(initial) if initial.is_file() else None,
        references=_document(ReferenceModels, folder / "final/reference_models.json", interim),
        prompts=_document(PromptSensitivity, folder / f"final/{shown}/prompts.json", interim),
        examples=read_examples(examples) if examples.is_file() else None,
    )


def _document(kind: type[Kind], path: Path, interim: bool) -> Kind | None:
    return None if interim and not path.is_file() else kind.read(path)


def _known(entries: dict[str, Any]) -> dict[str, Any]:
    return {name: entry for name, entry in entries.items() if entry is not None}


def _finished_trial(path: Path, interim: bool) -> FinishedTrial | None:
    """None, or in a finished run ValueError, where an earlier version wrote it: the same command remakes it."""
    import pandas as pd

    document = read_json(path)
    try:
        metrics = Metrics.from_dict(document, str(path))
    except ValueError:
        if interim:
            return None
        raise ValueError(f"{path}: is of an earlier version; run snakemake again, which remakes it.") from None
    try:
        history = pd.read_csv(path.with_name("history.csv"))
    except pd.errors.EmptyDataError:  # it diverged before its first evaluation
        history = pd.DataFrame({"epoch": []})
    return FinishedTrial(path.parent.name, metrics, history, path.parent)


def _final_model(evaluation: Path, interim: bool) -> FinalModel | None:
    import pandas as pd

    predictions = evaluation.with_name("predictions.parquet")
    if not predictions.is_file() and not interim:
        raise ValueError(f"{predictions}: this file does not exist.")
    finished = _finished_trial(evaluation.with_name("metrics.json"), interim)
    if finished is None:
        return None
    return FinalModel(
        finished.id,
        finished.metrics,
        finished.history,
        finished.folder,
        Evaluation.read(evaluation),
        pd.read_parquet(predictions) if predictions.is_file() else None,
    )
