"""Finished runs beside each other: whether they have the same patients in the same splits, and what they differ by."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from retclip.metrics.estimates import Estimate
from retclip.metrics.registry import METRICS, SEVERAL_LABELS
from retclip.report.comparisons import difference, holm, score
from retclip.report.documents import plain_estimate
from retclip.report.encoder_choices import decision_of
from retclip.report.run_folder import FinalModel, RunFolder, read_run

SPLITS = ("train", "val", "test")


class Study(NamedTuple):
    """A finished run. name: what it is called beside the others."""

    name: str
    folder: Path
    run: RunFolder

    @property
    def answer(self) -> list[FinalModel]:
        """The final models of its answer: the tuned configuration with the recommended text encoder."""
        return self.run.tuned(self.run.answer_encoder)

    @property
    def model(self) -> str:
        """What its answer is called."""
        return f"{self.name}, {self.run.answer_encoder}"

    @property
    def cost(self) -> tuple[int, float]:
        """Trials, each once, and their device seconds."""
        paid = [finished for trials in self.run.paid().values() for finished in trials]
        return len(paid), sum(finished.metrics.device_seconds for finished in paid)


class Comparison(NamedTuple):
    """metric: the one that all have. reasons: study -> why it is not compared with the first. notes: sentences on
    studies that are compared all the same. gaps: study -> its answer less the first's, on the same patients.
    significant: those that differ when all are looked at."""

    studies: list[Study]
    metric: str
    reasons: dict[str, str]
    notes: list[str]
    gaps: dict[str, Estimate]
    significant: list[str]


def read_studies(folders: Sequence[Path]) -> list[Study]:
    """Raises ValueError where there are fewer than two, one twice, or one that has not ended."""
    if len(folders) < 2:
        raise ValueError("give two runs or more to compare, such as RUNS='a b'.")
    resolved = [folder.resolve() for folder in folders]
    twice = next((folder for folder in resolved if resolved.count(folder) > 1), None)
    if twice:
        raise ValueError(f"{twice}: is given twice.")
    runs = [read_run(folder) for folder in folders]
    for folder, run in zip(folders, runs, strict=True):
        if not run.is_decided:
            raise ValueError(f"{folder}: this run has chosen no configuration yet; finish it first.")
    names = [run.config["run"] for run in runs]
    return [
        Study(name if names.count(name) == 1 else str(folder), folder, run)
        for name, folder, run in zip(names, folders, runs, strict=True)
    ]


def compare(studies: list[Study]) -> Comparison:
    """Each study against the first."""
    metric = _metric(studies)
    reasons, notes = {}, []
    for study in studies[1:]:
        reason, note = _same_data(studies[0], study)
        if reason:
            reasons[study.name] = reason
        if note:
            notes.append(note)
    compared = [study for study in studies[1:] if study.name not in reasons]
    gaps = {study.name: difference(study.answer, studies[0].answer, metric) for study in compared}
    return Comparison(studies, metric, reasons, notes, gaps, holm(gaps))


def comparison_document(found: Comparison) -> dict[str, Any]:
    """The content of comparison.json, in full precision."""
    runs = {}
    for study in found.studies:
        trials, seconds = study.cost
        run = study.run
        runs[study.name] = {
            "text_encoder": run.answer_encoder,
            "configured": decision_of(run, run.answer_encoder)["configured"],
            "tuned": plain_estimate(score(study.answer, found.metric)),
            "baseline_text_encoder": run.search_encoder,
            "baseline": plain_estimate(score(run.baselines(), found.metric)),
            "gain": plain_estimate(difference(run.tuned(run.search_encoder), run.baselines(), found.metric)),
            "seeds": len(study.answer),
            "trials": trials,
            "device_seconds": seconds,
            "data": run.fingerprint["sha256"],
        }
    unknown = {name: {"value": None, "reason": reason} for name, reason in found.reasons.items()}
    known = {
        name: {"value": plain_estimate(gap), "significant": name in found.significant}
        for name, gap in found.gaps.items()
    }
    return {
        "metric": found.metric,
        "reference": found.studies[0].name,
        "runs": runs,
        "differences": {study.name: {**unknown, **known}[study.name] for study in found.studies[1:]},
        "notes": found.notes,
    }


def _metric(studies: list[Study]) -> str:
    """The metric that all compare their models by, or the first that all have."""
    wanted = [study.run.test_metric for study in studies]
    candidates = [*([wanted[0]] if len(set(wanted)) == 1 else []), *METRICS, *SEVERAL_LABELS]
    for metric in candidates:
        if all(score(study.answer, metric).value is not None for study in studies):
            return metric
    raise ValueError("no metric has a value in all of these runs: they have nothing to compare.")


def _same_data(first: Study, other: Study) -> tuple[str, str]:
    """(why the two are not compared, what to know where they are); empty where there is nothing to say."""
    ours, theirs = first.run.fingerprint, other.run.fingerprint
    if ours["classes"] != theirs["classes"]:
        return f"other classes than {first.name}", ""
    changed = [name for name in SPLITS if ours["splits"][name]["sha256"] != theirs["splits"][name]["sha256"]]
    moved = [name for name in changed if _samples(first.folder, name) != _samples(other.folder, name)]
    if moved:
        return f"other samples in {' and '.join(moved)} than {first.name}", ""
    if _scored(first) != _scored(other):
        return f"other scored units or labels in test than {first.name}", ""
    if changed:
        return "", (
            f"{other.name} has the samples of {first.name}, but other images, texts or labels in "
            f"{' and '.join(changed)}."
        )
    return "", ""


def _samples(folder: Path, split: str) -> set[tuple[str, str]]:
    """The samples of a split with their patients. Raises ValueError where the table was removed."""
    import pandas as pd

    path = folder / f"data/samples_{split}.parquet"
    if not path.is_file():
        raise ValueError(f"{path}: this file does not exist, so the splits of the runs cannot be compared.")
    frame = pd.read_parquet(path, columns=["sample_id", "patient_id"])
    return set(frame.itertuples(index=False, name=None))


def _scored(study: Study) -> set[tuple[Any, ...]]:
    """What of test is scored, with its class."""
    table = study.answer[0].predictions
    if table is None:
        return set()
    return set(table[["sample_id", "patient_id", "eye", "target"]].itertuples(index=False, name=None))
