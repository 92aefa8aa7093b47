"""Recommends a text encoder by its final training runs, on validation alone; a seed that failed counts, too.

Who leaves out seeds that diverged recommends whatever was lucky once. So every planned seed is part of an encoder's
mean, and one that ended without a score stands there with the score of guessing: all that such a model is good for.
"""

from typing import Any

import numpy as np

from retclip.metrics.metrics_document import Metrics

RULE = "the highest mean validation score over all planned seeds; a seed that failed counts as chance"


def recommend_encoder(finals: list[Metrics], metric: str) -> dict[str, Any]:
    """The content of recommendation.json; the test split has no say.

    finals: metrics.json of every planned final model of a text encoder, in any order. val_scores: encoder -> its
    mean by RULE, null where nothing is known. seeds: encoder -> how many were planned, and those that failed with
    their status. Of equal means, that with fewer failed seeds is better.
    """
    seeds: dict[str, dict[str, Any]] = {}
    scores: dict[str, list[float | None]] = {}
    for metrics in finals:
        trial, score = metrics.trial, metrics.val.scores[metric]
        scores.setdefault(trial.text_encoder, []).append(score)
        counted = seeds.setdefault(trial.text_encoder, {"planned": 0, "failed": {}})
        counted["planned"] += 1
        if score is None:
            counted["failed"][trial.id] = metrics.status
    decision: dict[str, Any] = {"encoder": None, "metric_name": metric, "rule": RULE}
    if all(metrics.val.scores[metric] is None for metrics in finals):
        nothing: dict[str, None] = dict.fromkeys(scores)
        reason = "no training run ended with a score"
        return {**decision, "reason": reason, "chance": None, "val_scores": nothing, "seeds": seeds}
    chance = _chance(finals, metric) if any(entry["failed"] for entry in seeds.values()) else None
    means = {encoder: float(np.mean([chance if one is None else one for one in values]))
             for encoder, values in scores.items()}  # fmt: skip
    best = max(means, key=lambda encoder: (means[encoder], -len(seeds[encoder]["failed"])))
    reason = f"the best mean validation score over {_seeds(seeds[best])}"
    return {**decision, "encoder": best, "reason": reason, "chance": chance, "val_scores": means, "seeds": seeds}


def _chance(finals: list[Metrics], metric: str) -> float:
    """What guessing scores on validation for runs with scores; 0.0 where none says."""
    known = [metrics.val.levels.chance.get(metric) for metrics in finals if metrics.val.scores[metric] is not None]
    return next((level for level in known if level is not None), 0.0)


def _seeds(counted: dict[str, Any]) -> str:
    planned, failed = counted["planned"], counted["failed"]
    seeds = "1 seed" if planned == 1 else f"{planned} seeds"
    if not failed:
        return seeds
    names = ", ".join(f"{name} {status.replace('_', ' ')}" for name, status in failed.items())
    verb = "counts" if len(failed) == 1 else "count"
    return f"{seeds}, of which {len(failed)} failed and {verb} as chance: {names}"
