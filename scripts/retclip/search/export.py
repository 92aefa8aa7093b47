"""The whole of Phase 2 as one Optuna study on disk, for optuna-dashboard and for further searches."""

from pathlib import Path
from typing import Any

from retclip.core.io import atomic
from retclip.metrics.metrics_document import Metrics
from retclip.search.proposals import observations, optuna_trials


def export_study(documents: list[Metrics], space: dict[str, Any], metric: str, name: str, path: Path) -> int:
    """Writes an Optuna journal to `path`; returns the number of its trials.

    documents: metrics.json of every training run. space: absolute, as in bracket.json.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found = observations(documents, metric)
    with atomic(path) as temporary:
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(temporary)))
        study = optuna.create_study(storage=storage, study_name=name, direction="maximize")
        study.set_metric_names([metric])
        trials = optuna_trials(found, space, ordered=False)
        study.add_trials(trials)
    return len(trials)
