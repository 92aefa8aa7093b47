"""What is ranked: a configuration with its training runs, its score on validation, and how sure that score is."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from retclip.metrics import nulls
from retclip.metrics.differences import Seeds, mean_of
from retclip.metrics.finished import Finished
from retclip.metrics.metrics_document import Metrics
from retclip.metrics.scores import draws_of
from retclip.search.budget import planned_cost

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class Run(Finished):
    """One finished training run: its metrics.json and its val_predictions.parquet."""

    metrics: Metrics
    predictions: "pd.DataFrame"


@dataclass
class Candidate:
    """One configuration and its runs: one training run, or several with fresh seeds whose scores are averaged."""

    id: str
    runs: list[Run]
    score: float | None = None
    scores: list[float] = field(default_factory=list)
    standard_error: float | None = None
    draws: np.ndarray | None = field(default=None, repr=False)
    difference: float | None = None
    difference_se: float | None = None
    judgement: nulls.Judgement = nulls.NOTHING
    noise: float | None = None
    same_as: str | None = None

    @property
    def configured(self) -> dict[str, Any]:
        return self.runs[0].trial.configured

    @property
    def is_unfinished(self) -> bool:
        """It stopped on a rung below the last: its score is that of a schedule that has not ended."""
        return any(
            run.metrics.status == "completed" and run.metrics.steps < run.trial.budget.total_steps for run in self.runs
        )

    @property
    def may_be_chosen(self) -> bool:
        """It has a score, of a whole schedule, and is no other candidate's twin."""
        return self.score is not None and self.same_as is None and not self.is_unfinished

    @property
    def seeds(self) -> Seeds:
        """Its scores and what they are in resamples of the patients; only of one that has a score."""
        assert self.draws is not None
        return Seeds(self.scores, self.draws, min(run.predictions["patient_id"].nunique() for run in self.runs))

    @property
    def cost(self) -> int:
        return planned_cost(self.runs[0].trial)

    def give_score(self, metric: str) -> None:
        """Fills in its score, what that is in resamples of the patients, and its standard error; none of these where a
        run has no score."""
        scores = [run.score(metric) for run in self.runs]
        self.scores = [score for score in scores if score is not None]
        if len(self.scores) < len(scores):
            return
        self.score = float(np.mean(self.scores))
        # the same patients score every seed, so averaging seeds does not shrink their part
        classes = sorted(self.runs[0].trial.class_prompts)
        self.draws = np.array([draws_of(metric, run.predictions, classes=classes) for run in self.runs])
        self.standard_error = mean_of(self.seeds).standard_error
