"""The whole of Phase 2 as one Optuna study on disk, for optuna-dashboard and for further searches."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retclip.core.io import atomic, canonical_json
from retclip.metrics.metrics_document import Metrics
from retclip.search.proposals import observations, optuna_trials

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


def export_study(metrics: list[Path], space: dict[str, Any], metric: str, name: str, path: Path) -> int:
    """Writes an Optuna journal to `path`; returns the number of its trials.

    metrics: metrics.json of every trial, each with its history.csv beside it. space: absolute, as in bracket.json. A
    configuration is one trial of Optuna's, with all its rungs: their ids, from the start of the first to the end of
    the last, and the score after each epoch as intermediate value.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    documents = {path: Metrics.read(path) for path in metrics}
    rungs: dict[str, dict[Path, Metrics]] = {}
    for path_of_one, told in documents.items():
        rungs.setdefault(canonical_json(told.trial.configured), {})[path_of_one] = told
    # one by one, since those outside of the space are left out
    found = [one for one in observations(list(documents.values()), metric) if optuna_trials([one], space, False)]
    trials = optuna_trials(found, space, ordered=False)
    for one, trial in zip(found, trials, strict=True):
        _complete(trial, rungs[canonical_json(one.values)], metric)
    with atomic(path) as temporary:
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(temporary)))
        study = optuna.create_study(storage=storage, study_name=name, direction="maximize")
        study.set_metric_names([metric])
        study.add_trials(trials)
    return len(trials)


def _complete(trial: "FrozenTrial", rungs: dict[Path, Metrics], metric: str) -> None:
    """Gives a trial the ids, times and curve of its rungs: metrics.json -> its content."""
    import pandas as pd

    longest = max(rungs, key=lambda path: rungs[path].epochs)
    ends = {path: path.stat().st_mtime for path in rungs}
    trial.user_attrs = {
        "id": ", ".join(told.trial.id for told in rungs.values()),
        "status": rungs[longest].status,
    }
    trial.datetime_start = datetime.fromtimestamp(min(end - rungs[path].wall_seconds for path, end in ends.items()))
    trial.datetime_complete = datetime.fromtimestamp(max(ends.values()))
    try:
        history = pd.read_csv(longest.with_name("history.csv")).set_index("epoch")[metric].dropna()
    except (pd.errors.EmptyDataError, KeyError):  # it diverged before its first evaluation
        return
    curve = {int(epoch): float(score) for epoch, score in history.items()}
    # where it ended, what Optuna is told: the score of a broken trial is none that it was evaluated to
    trial.intermediate_values = curve | trial.intermediate_values
