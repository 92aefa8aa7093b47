"""The leaderboard of a stage that has not ended, for an interim page."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from retclip.core.hyperparameters import HYPERPARAMETERS
from retclip.metrics.finished import Finished

if TYPE_CHECKING:
    import pandas as pd


def provisional_board(trials: Mapping[str, Finished], metric: str) -> "pd.DataFrame":
    """What a leaderboard says, of the trials that have finished (id -> trial): by score, with nothing compared or
    chosen."""
    import pandas as pd

    rows = [
        {
            "id": name,
            "status": finished.metrics.status,
            "kind": finished.kind,
            "may_be_chosen": finished.score(metric) is not None,
            **{key: finished.trial.configured[key] for key in HYPERPARAMETERS},
            "metric": finished.score(metric),
            "standard_error": finished.metrics.val.standard_error.get(metric),
            "difference": float("nan"),
            "difference_se": float("nan"),
            "epochs_trained": finished.metrics.epochs,
            "device_seconds": finished.metrics.device_seconds,
            "note": "",
        }
        for name, finished in trials.items()
    ]
    board = pd.DataFrame(rows).sort_values("metric", ascending=False, na_position="last", ignore_index=True)
    board[["metric", "standard_error"]] = board[["metric", "standard_error"]].astype(float)
    board.insert(0, "rank", range(1, len(board) + 1))
    return board
