"""A value with what is known of its spread, from its values in resamples of the patients."""

from dataclasses import dataclass, replace

import numpy as np

# An estimate as evaluation.json has it: value, low, high, standard_error.
Documented = dict[str, float | None]
INTERVAL = (0.025, 0.975)
# Half a 95 % CI of a normal value, in standard errors.
NORMAL = 1.959964
# Resamples of the patients of a test split.
DRAWS = 1000
NO_DRAWS = np.empty(0)
# With fewer seeds of a configuration no difference from it is called significant: what two or three degrees of freedom
# say rests on assumptions more than on data.
FEWEST_SEEDS = 3


@dataclass
class Estimate:
    """A value with its 95 % percentile interval and standard error; all None where the data cannot give it.

    p_value: of a difference, two-sided. seeds: of the side that has fewer; see differences.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    standard_error: float | None = None
    p_value: float | None = None
    seeds: int | None = None

    @property
    def document(self) -> Documented:
        """As evaluation.json has it."""
        return {"value": self.value, "low": self.low, "high": self.high, "standard_error": self.standard_error}

    def within(self, limits: tuple[float, float]) -> "Estimate":
        """The same value with another 95 % CI."""
        low, high = limits
        return replace(self, low=low, high=high, standard_error=(high - low) / (2 * NORMAL))

    @property
    def between_models(self) -> bool:
        """Of a difference: it is one between these models, and says nothing of their configurations."""
        return self.seeds is not None and self.seeds < FEWEST_SEEDS

    @property
    def excludes_zero(self) -> bool:
        """Of a difference: the 95 % CI leaves out zero."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high

    @property
    def is_significant(self) -> bool:
        """Of a difference: at 5 %, between configurations; never so of fewer than FEWEST_SEEDS seeds."""
        return self.excludes_zero and not self.between_models


def estimate(value: float | None = None, draws: np.ndarray = NO_DRAWS) -> Estimate:
    """draws: the value in resamples [draws]; what is not finite is left out, and fewer than two give no spread."""
    error = None if value is None else spread(draws)
    if error is None:
        return Estimate(value)
    low, high = np.quantile(draws[np.isfinite(draws)], INTERVAL)
    return Estimate(value, float(low), float(high), error)


def documented(value: float | None = None, draws: np.ndarray = NO_DRAWS) -> Documented:
    """The same as a document."""
    return estimate(value, draws).document


def spread(draws: np.ndarray) -> float | None:
    """The standard error of a value, from its finite values in resamples [draws]; None with fewer than two of them."""
    finite = draws[np.isfinite(draws)]
    return float(finite.std(ddof=1)) if len(finite) > 1 else None
