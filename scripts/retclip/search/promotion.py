"""Which trials of a rung are promoted to the next: the best by validation, failed ones last."""

from typing import Any

from retclip.metrics.metrics_document import Metrics


def promoted(documents: list[Metrics], metric: str, slots: int) -> list[dict[str, Any]]:
    """The configured hyperparameters of the best `slots` of a rung's metrics.json, best first.

    Ties keep the order of the rung, so that the same scores always promote the same training runs.
    """
    order = sorted(range(len(documents)), key=lambda index: (-_score(documents[index], metric), index))
    return [documents[index].trial.configured for index in order[:slots]]


def _score(metrics: Metrics, metric: str) -> float:
    score = metrics.val.scores[metric]
    return float("-inf") if score is None else score
