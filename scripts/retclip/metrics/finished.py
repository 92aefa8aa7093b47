"""What every reader needs of a finished training: rankings, selections and the report alike."""

from retclip.core.trial import Trial
from retclip.metrics.metrics_document import Metrics


class Finished:
    """A finished training run. metrics: its metrics.json, with its trial."""

    metrics: Metrics

    @property
    def trial(self) -> Trial:
        return self.metrics.trial

    @property
    def kind(self) -> str:
        """What it is for; see core.facts."""
        return self.trial.kind

    @property
    def failed(self) -> bool:
        """It ended without a score, whatever its weights would give."""
        return self.metrics.failed

    def score(self, metric: str) -> float | None:
        """Of `metric` on validation; None where it has none."""
        return self.metrics.val.scores[metric]
