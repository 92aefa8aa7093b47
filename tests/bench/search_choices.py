"""What the product makes of the trials of one replay: its choice by a model of all trials, and whether it says flat."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from documents import VALUES, metrics_of, trial_of
from search_table import Answers, Values

from retclip.search.candidates import Candidate, Run
from retclip.search.expected_scores import expected_scores
from retclip.search.flatness import ends_search
from retclip.search.selection import leaderboard, rank, select

METRIC = "zero_shot_balanced_accuracy"


class Reached(NamedTuple):
    """A training run that reached its end. spent: epochs of the search so far. row: its configuration."""

    spent: int
    row: int
    score: float


def by_score(runs: Sequence[Reached]) -> int:
    """The configuration that selection.estimate: single ends with: all cost the same, so the highest score decides."""
    return max(runs, key=lambda run: run.score).row


def by_model(points: Sequence[Values], runs: Sequence[Reached]) -> int:
    """As selection.estimate: model has it; of too few trials there is no model."""
    board = pd.DataFrame([{**points[run.row], "metric": run.score, "may_be_chosen": True} for run in runs])
    expected = expected_scores(board.iloc[:0], board)
    return by_score(runs) if expected is None else runs[int(expected["expected"].to_numpy().argmax())].row


class Said(NamedTuple):
    """learned: whether best.json says that anything was learned. is_flat: that configurations differ by no more than
    noise. ends: whether phase2.stop_when_flat would end the search."""

    learned: bool
    is_flat: bool
    ends: bool


def stop_rule(points: Sequence[Values], runs: Sequence[Reached], answers: Answers, defaults: Values) -> Said:
    """What best.json says of these trials, by the functions that write it."""
    classes = {str(k): [str(k)] for k in range(int(answers.views.target.max()) + 1)}
    chance = {METRIC: 1 / len(np.unique(answers.views.target))}
    patients = answers.views.patient.astype(str)
    candidates = []
    for row in dict.fromkeys(run.row for run in runs):
        values = {**VALUES, **points[row]}
        trial = trial_of(id=f"t{row}", hyperparameters=values, configured=values, class_prompts=classes)
        scores = (answers.named[row][:, None] == np.arange(len(classes))).astype(float)
        table = pd.DataFrame(scores, columns=[f"score_{k}" for k in range(len(classes))])
        table = table.assign(sample_id=patients, patient_id=patients, target=answers.views.target)
        val = {METRIC: float(answers.seen[row, -1]), "levels": {"chance": chance, "majority": {}}}
        candidates.append(Candidate(trial.id, [Run(metrics_of(trial, val), table)]))
    board = leaderboard(rank(candidates, METRIC), METRIC)
    decision = select(board, METRIC, {**VALUES, **defaults}, {})
    flatness = decision["flatness"]
    return Said(decision["id"] != "defaults", bool(flatness and flatness["is_flat"]), ends_search(decision))
