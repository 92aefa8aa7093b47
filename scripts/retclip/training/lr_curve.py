"""What a curve of losses at rising learning rates suggests."""

import numpy as np

# Each step's loss is smoothed by a line through so many steps around it: symmetric, so that it does not lag behind. A
# running mean lags by 19 steps where a new loss counts a twentieth, which is twice the learning rate and more.
WINDOW = 21
FEWEST_STEPS = 17
# The smoothed loss must fall from its start by so many standard errors of a window's mean, of both ends together. The
# lowest of a flat curve's many windows lies two to three below its start.
FALL_ERRORS = 4.0


def smoothed(losses: np.ndarray) -> np.ndarray:
    """The losses [N] of each step by a straight line through its neighbors (Savitzky and Golay 1964)."""
    from scipy.signal import savgol_filter

    return losses if len(losses) < FEWEST_STEPS else savgol_filter(losses, _window(len(losses)), 1)


def suggest(learning_rates: np.ndarray, losses: np.ndarray) -> float | None:
    """The learning rate [N] at the steepest fall of the losses [N], one a step; None with too few steps, or where they
    do not fall more than their noise explains."""
    from scipy.signal import savgol_filter

    finite = np.isfinite(losses)
    end = len(losses) if finite.all() else int(np.argmin(finite))
    learning_rates, losses = learning_rates[:end], losses[:end]
    if len(losses) < FEWEST_STEPS:
        return None
    window = _window(len(losses))
    level = smoothed(losses)
    lowest = int(level.argmin())
    # of neighbors' differences, so that the course of the curve does not count as noise; half a window at each end
    noise = float(np.median(np.abs(np.diff(losses)))) / (0.6745 * np.sqrt(2))
    start = losses[: window // 2].mean()
    if lowest == 0 or start - level[lowest] <= FALL_ERRORS * noise * np.sqrt(2 / (window // 2)):
        return None
    slope = savgol_filter(losses, window, 1, deriv=1)
    return float(learning_rates[: lowest + 1][int(slope[: lowest + 1].argmin())])


def _window(steps: int) -> int:
    """An odd number of steps; of a short curve half of it."""
    return min(WINDOW, steps // 2 | 1)
