"""What each tried configuration is expected to score: a model of all trials, instead of the one score that it drew.

A Gaussian process over the hyperparameters (Rasmussen and Williams, Gaussian processes for machine learning, 2006,
chapter 2), whose noise is fitted with it. The best of many single scores is the luckiest one, too; the process takes
from each score what its neighbors do not confirm. Phase 1 trains less and on less, so that its scores are centered by
themselves, and the phase is a coordinate like others: how far it tells of Phase 2 is fitted as well.

Where neighbors tell little, as around a narrow top, it smooths the top away: make check-statistics says how often.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from retclip.core.hyperparameters import HYPERPARAMETERS

if TYPE_CHECKING:
    import pandas as pd

# Of fewer trials of Phase 2 no length scale is known.
FEWEST_TRIALS = 8
# With a few dozen trials, shorter lengths and less noise are fitted to chance: the luckiest of equal configurations
# would keep most of its bias.
SHORTEST = 0.5  # of the range that was tried
LEAST_NOISE = 0.1  # of the variance of scores


def expected_scores(earlier: "pd.DataFrame", board: "pd.DataFrame") -> "pd.DataFrame | None":
    """expected and expected_se of each row of Phase 2's leaderboard, NaN where it may not be chosen; None where trials
    are too few. earlier: Phase 1's leaderboard.

    expected_se: of its difference from the highest.
    """
    import pandas as pd

    known = board[board["may_be_chosen"] & board["metric"].notna()]
    before = earlier[earlier["may_be_chosen"] & earlier["metric"].notna()]
    if len(known) < FEWEST_TRIALS:
        return None
    both = pd.concat([known, before], ignore_index=True)
    phase = np.repeat([0.0, 1.0], [len(known), len(before)])
    places = np.column_stack([*_coordinates(both), *([phase] if len(before) else [])])
    if places.shape[1] == 0:
        return None
    means = [float(part["metric"].mean()) if len(part) else 0.0 for part in (known, before)]
    centered = both["metric"].to_numpy() - np.repeat(means, [len(known), len(before)])
    expected, covariance = _fitted(places, centered, len(known))
    best = int(expected.argmax())
    variance = np.diag(covariance) + covariance[best, best] - 2 * covariance[best]
    found = pd.DataFrame(
        {"expected": means[0] + expected, "expected_se": np.sqrt(variance.clip(min=0.0))}, index=known.index
    )
    return found.reindex(board.index)


def with_expected(board: "pd.DataFrame", expected: "pd.DataFrame | None", decides: bool) -> "pd.DataFrame":
    """The leaderboard with what is expected; where that decides, in its order, and ties are judged by it."""
    if expected is None:
        return board
    joined = board.join(expected).assign(decided_by="expected" if decides else "metric")
    if not decides:
        return joined
    joined["difference"] = joined["expected"] - joined["expected"].max()
    joined["difference_se"] = joined["expected_se"]
    return joined.sort_values("expected", ascending=False, kind="stable", na_position="last", ignore_index=True)


def deciding(board: "pd.DataFrame") -> str:
    """The column that a leaderboard is decided by."""
    return str(board["decided_by"].iloc[0]) if "decided_by" in board and len(board) else "metric"


def estimate_of(scored: "pd.DataFrame") -> dict[str, Any] | None:
    """For best.json: whether the model decides, and the optimistic bias that it takes from the highest single score;
    None without a model. scored: the rows of a leaderboard that may be chosen."""
    if "expected" not in scored or not len(scored):
        return None
    luckiest = scored.loc[scored["metric"].idxmax()]
    bias = float(luckiest["metric"] - luckiest["expected"])
    return {"decides": deciding(scored) == "expected", "luckiest": luckiest["id"], "optimistic_bias": bias}


def _coordinates(table: "pd.DataFrame") -> list[np.ndarray]:
    """A column from 0 to 1 of each hyperparameter that varies: its place among the values that were tried; one for each
    choice where they have no order."""
    columns = []
    for name, declared in HYPERPARAMETERS.items():
        if name not in table or table[name].nunique() < 2:
            continue
        values = table[name]
        if declared.is_numeric or declared.kind == "boolean":
            columns.append((values.rank(method="dense").to_numpy(dtype=float) - 1) / (values.nunique() - 1))
        else:
            columns += [values.eq(choice).to_numpy(dtype=float) for choice in sorted(values.unique())]
    return columns


def _fitted(places: np.ndarray, scores: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the first `count` scores without their noise. places: [N, D]. scores: [N], centered."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    scale = float(scores.std()) or 1.0
    lengths = np.ones(places.shape[1])
    kernel: Any = ConstantKernel(0.5, (1e-3, 10.0)) * Matern(lengths, (SHORTEST, 20.0), nu=2.5)
    process = GaussianProcessRegressor(kernel + WhiteKernel(0.5, (LEAST_NOISE, 2.0)), random_state=0)
    with warnings.catch_warnings():
        # a length at its bound is a hyperparameter that does not matter
        warnings.simplefilter("ignore", ConvergenceWarning)
        process.fit(places, scores / scale)
        mean, covariance = process.predict(places[:count], return_cov=True)
    return mean * scale, (covariance - process.kernel_.k2.noise_level * np.eye(count)) * scale**2
