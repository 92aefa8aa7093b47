"""Every strategy of Phase 2, declared once: who draws its configurations, whether it learns, whether it has rungs.

The enum of phase2.strategy in config/schema, with what core and the report ask of a strategy, is made of these entries
(make reference). Optuna is imported where a sampler is made: a plan needs none.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

# A model of what was seen draws at random until it has seen so many trials.
STARTUP_TRIALS = 8


class Strategy(NamedTuple):
    """sampler(optuna.samplers, seed) -> Optuna's sampler; None: every point of the space, in the space's own order.

    learns: from what was tried, so it proposes phase2.trials_per_round at a time. has_rungs: brackets of rungs, of
    which the best resume, in place of phase2.trials. ordered: a list of numbers is drawn by its place, so that
    neighbors in it are neighbors to the sampler. most_repetitions: how often in a row the sampler may name what is
    known, before it gets the nearest point that is left. about: what is to know of it, for the table of strategies.
    """

    sampler: Callable[[Any, int], Any] | None
    about: str = ""
    learns: bool = False
    has_rungs: bool = False
    ordered: bool = True
    most_repetitions: int = 50

    @property
    def is_exhaustive(self) -> bool:
        return self.sampler is None


def _qmc(samplers: Any, seed: int) -> Any:
    return samplers.QMCSampler(qmc_type="sobol", scramble=True, seed=seed, warn_independent_sampling=False)


def _tpe(samplers: Any, seed: int) -> Any:
    # constant_liar: the trials of a round are asked for before any of them is told
    return samplers.TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS, multivariate=True, constant_liar=True)


def _gp(samplers: Any, seed: int) -> Any:
    return samplers.GPSampler(seed=seed, n_startup_trials=STARTUP_TRIALS, deterministic_objective=False)


STRATEGIES = {
    "random": Strategy(
        lambda samplers, seed: samplers.RandomSampler(seed=seed),
        "the default; trial k does not depend on how many follow",
        ordered=False,
    ),
    "grid": Strategy(None),
    "qmc": Strategy(_qmc, "spread more evenly than at random"),
    "tpe": Strategy(_tpe, "a model of what earlier rounds found: where good trials lie", learns=True),
    "gp": Strategy(
        _gp,
        "a model of what earlier rounds found: a Gaussian process",
        learns=True,
        # a draw takes a tenth of a second or more, and where the best points are known, it names them over and over
        most_repetitions=5,
    ),
    "tpe_halving": Strategy(
        _tpe,
        "only the best of a rung are promoted, and resume from their saved state; the schedule is laid out for the "
        "full length from the start",
        learns=True,
        has_rungs=True,
    ),
}


def sampler_of(strategy: str, seed: int) -> Any:
    """Optuna's sampler of a strategy that has one."""
    import warnings

    import optuna

    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    make = STRATEGIES[strategy].sampler
    assert make is not None, strategy
    return make(optuna.samplers, seed)
