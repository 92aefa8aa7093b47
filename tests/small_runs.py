"""As much of a finished run as the sentences of the report need, with predictions of two classes."""

import dataclasses

import numpy as np
import pandas as pd
from documents import evaluation_of, metrics_of, trial_of
from running import merged

from retclip.report.run_folder import FinalModel, RunFolder

METRIC = "zero_shot_balanced_accuracy"


def final(kind: str, right: float, seed: int = 1) -> FinalModel:
    """One of two classes for 60 patients, the first `right` of whom are named rightly."""
    target = np.arange(60) % 2
    hit = np.arange(60) < 60 * right
    named = np.where(hit, target, 1 - target)
    table = pd.DataFrame({"patient_id": [f"p{i}" for i in range(60)], "target": target,
                          "score_0": 1.0 - named, "score_1": 1.0 * named})  # fmt: skip
    levels = {"chance": {METRIC: 0.5}, "majority": {}}
    evaluation = evaluation_of(zero_shot={METRIC: {"value": right}}, levels=levels)
    metrics = metrics_of(trial_of(kind=kind, text_encoder="pubmedbert", seed=seed), gpus=None)
    return FinalModel(kind, metrics, None, None, evaluation=evaluation, predictions=table)


def run_of(*finals: FinalModel) -> RunFolder:
    """As much of a run as the sentences about its control need."""
    known = {"config": merged(), "finals": list(finals), "searched": {}, "decisions": {}}
    known["config"]["selection"]["metric"] = METRIC
    return RunFolder(**{field.name: known.get(field.name) for field in dataclasses.fields(RunFolder)})


def failing(final: FinalModel, status: str = "diverged") -> FinalModel:
    """The same training, had it failed; its weights still give scores on test."""
    final.metrics = dataclasses.replace(final.metrics, status=status)
    final.id = f"{final.encoder}-s{final.trial.seed}"
    return final
