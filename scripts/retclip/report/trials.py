"""Every trial of a run as one table, for whoever wants to look further than the page."""

from pathlib import Path

from retclip.core.config import HYPERPARAMETERS
from retclip.core.io import write_csv
from retclip.metrics.registry import METRICS
from retclip.report.run_folder import RunFolder


def write_trials(run: RunFolder, path: Path) -> None:
    """CSV, one row a trial: stage, id, configured hyperparameters, validation scores, and what it took."""
    import pandas as pd

    rows = []
    for stage, trials in run.trials().items():
        for finished in trials:
            metrics, trial = finished.metrics, finished.trial
            rows.append(
                {
                    "stage": stage,
                    "id": finished.id,
                    "status": metrics.status,
                    "text_encoder": trial.text_encoder,
                    "seed": trial.seed,
                    "shuffled_texts": trial.shuffled_texts,
                    **{name: trial.configured[name] for name in HYPERPARAMETERS},
                    "train_samples": trial.budget.train_samples,
                    "epochs_trained": metrics.epochs,
                    "steps": metrics.steps,
                    "loss": metrics.val.loss,
                    **{name: metrics.val.scores[name] for name in METRICS},
                    "device_seconds": metrics.device_seconds,
                    "wall_seconds": metrics.wall_seconds,
                }
            )
    write_csv(path, pd.DataFrame(rows))
