"""What every reader wants to know of a finished training run: rankings, selections and the report alike."""

from typing import Any

from retclip.core.facts import FAILED


class Finished:
    """A finished training run. metrics: its metrics.json, with its trial."""

    metrics: dict[str, Any]

    @property
    def trial(self) -> dict[str, Any]:
        return self.metrics["trial"]

    @property
    def kind(self) -> str:
        """What it is for; see core.facts."""
        return self.trial["kind"]

    @property
    def failed(self) -> bool:
        """It ended without a score, whatever its weights would give."""
        return self.metrics["status"] in FAILED

    def score(self, metric: str) -> float | None:
        """Of `metric` on validation; None where it has none."""
        return self.metrics["val"][metric]
