"""A value with what is known of its spread, from its values in resamples of the patients."""

from dataclasses import dataclass

import numpy as np

# An estimate as evaluation.json has it: value, low, high, standard_error.
Documented = dict[str, float | None]
INTERVAL = (0.025, 0.975)
# Resamples of the patients of a test split.
DRAWS = 1000
NO_DRAWS = np.empty(0)


@dataclass
class Estimate:
    """A value with its 95 % percentile interval and standard error; all None where the data cannot give it.

    p_value: of a difference, two-sided: the share of draws on the far side of zero, twice.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    standard_error: float | None = None
    p_value: float | None = None

    @property
    def is_significant(self) -> bool:
        """Of a difference: the interval leaves out zero."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def estimate(value: float | None = None, draws: np.ndarray = NO_DRAWS) -> Estimate:
    """draws: the value in resamples [draws]; what is not finite is left out, and fewer than two give no spread."""
    error = None if value is None else spread(draws)
    if error is None:
        return Estimate(value)
    low, high = np.quantile(draws[np.isfinite(draws)], INTERVAL)
    return Estimate(value, float(low), float(high), error)


def documented(value: float | None = None, draws: np.ndarray = NO_DRAWS) -> Documented:
    """The same as a document."""
    found = estimate(value, draws)
    return {"value": found.value, "low": found.low, "high": found.high, "standard_error": found.standard_error}


def spread(draws: np.ndarray) -> float | None:
    """The standard error of a value, from its finite values in resamples [draws]; None with fewer than two of them."""
    finite = draws[np.isfinite(draws)]
    return float(finite.std(ddof=1)) if len(finite) > 1 else None
