"""Draws Phase 2's configurations. Optuna samples; this module tells it what was seen, and refuses repetitions."""

import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from retclip.core.io import canonical_json
from retclip.metrics.metrics_document import Metrics
from retclip.search.space import Values
from retclip.search.strategies import STRATEGIES, sampler_of

# Of a finite space with so many points, those that are left are looked through; of any other, chance draws until one is
# new.
MOST_LISTED = 10_000
MAX_DRAWS = 10_000


class Observation(NamedTuple):
    """What is known of a configuration: its score per epoch at which it stood still, and whether that is the end.

    scores: epoch -> validation score; None in place of a score where the training diverged.
    """

    values: Values
    scores: dict[int, float | None]
    finished: bool


def propose(
    space: dict[str, Any],
    base: Values,
    slots: int,
    seed: int,
    strategy: str,
    observed: list[Observation] | None = None,
) -> list[Values]:
    """`slots` distinct configurations: `base` with the hyperparameters of `space` drawn from it.

    space: absolute (see space.near_best). observed: what earlier brackets found; none of it is proposed again.
    The draw of slot i does not depend on how many slots follow. A sampler that only names what is known, as in a
    finite space that is nearly used up, gets the nearest point that is left. Raises ValueError where the space has
    fewer distinct points than slots.
    """
    seen, declared = observed or [], STRATEGIES[strategy]
    known = {canonical_json({**base, **{name: entry.values[name] for name in space}}) for entry in seen}

    def is_new(drawn: Values) -> bool:
        return canonical_json({**base, **drawn}) not in known

    proposals: list[Values] = []
    repetitions = 0
    for named in _points(space) if declared.is_exhaustive else _draws(space, seed, strategy, seen):
        drawn: Values | None = named
        if not is_new(named):
            repetitions += 1
            if declared.is_exhaustive or repetitions < declared.most_repetitions:
                continue
            drawn = _nearest_new(named, space, seed, is_new)
        if drawn is None:
            break
        repetitions = 0
        proposals.append({**base, **drawn})
        known.add(canonical_json(proposals[-1]))
        if len(proposals) == slots:
            return proposals
    raise ValueError(
        f"phase2.space gave only {len(proposals)} new configurations for {slots} trials; "
        "lower phase2.trials or widen phase2.space."
    )


def observations(documents: list[Metrics], metric: str) -> list[Observation]:
    """One entry per configuration of the metrics.json that are given, rungs of one training run taken together."""
    found: dict[str, Observation] = {}
    for metrics in documents:
        trial = metrics.trial
        budget = trial.budget
        values = trial.configured
        broken = metrics.status in ("diverged", "out_of_memory")
        ended = metrics.status != "completed" or metrics.steps >= budget.total_steps
        known = found.get(canonical_json(values), Observation(values, {}, False))
        scores = {**known.scores, metrics.epochs: None if broken else metrics.val.scores[metric]}
        found[canonical_json(values)] = Observation(values, scores, known.finished or ended)
    return list(found.values())


def _draws(space: dict[str, Any], seed: int, strategy: str, seen: list[Observation]) -> Iterator[Values]:
    """What a strategy's sampler names, without an end."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=sampler_of(strategy, seed))
    ordered = STRATEGIES[strategy].ordered
    distributions = {name: _distribution(values, ordered) for name, values in space.items()}
    if seen:
        study.add_trials(optuna_trials(seen, space, ordered))
    while True:
        drawn = study.ask(distributions).params
        yield {name: _decoded(value, space[name], ordered) for name, value in drawn.items()}


def _points(space: dict[str, Any]) -> Iterator[Values]:
    """Every point of a finite space, in the space's own order."""
    return (dict(zip(space, point, strict=True)) for point in itertools.product(*map(_listed, space.values())))


def _listed(values: Any) -> Sequence[Any]:
    """A list, or the whole numbers of a range."""
    return values if isinstance(values, list) else range(values["low"], values["high"] + 1)


def _nearest_new(named: Values, space: dict[str, Any], seed: int, is_new: Callable[[Values], bool]) -> Values | None:
    """The new point next to the named one, the seed deciding among equals; None where none is left."""
    finite = all(isinstance(values, list) or values.get("int") for values in space.values())
    if not finite or math.prod(len(_listed(values)) for values in space.values()) > MOST_LISTED:
        return next(filter(is_new, itertools.islice(_draws(space, seed, "random", []), MAX_DRAWS)), None)
    left = list(filter(is_new, _points(space)))
    random.Random(seed).shuffle(left)
    return min(left, key=lambda point: _distance(space, point, named), default=None)


def _distance(space: dict[str, Any], one: Values, other: Values) -> float:
    """Between two points of a finite space: of each hyperparameter 0 to 1, by places where its values have an order."""
    total = 0.0
    for name, values in space.items():
        if isinstance(values, list) and not _is_scale(values):
            total += one[name] != other[name]
        else:
            places = sorted(_listed(values))
            total += abs(places.index(one[name]) - places.index(other[name])) / max(1, len(places) - 1)
    return total


def optuna_trials(seen: list[Observation], space: dict[str, Any], ordered: bool = True) -> list[Any]:
    """Optuna's trials of the observations that lie in the space; see _distribution for `ordered`.

    A diverged training is told the worst score of all (Optuna would drop it, and propose its like again); one
    that was not promoted is told as pruned, with its curve.
    """
    import optuna

    distributions = {name: _distribution(values, ordered) for name, values in space.items()}
    finite = [score for entry in seen for score in entry.scores.values() if score is not None]
    worst = min(finite, default=0.0)
    trials = []
    for entry in seen:
        params = {name: _encoded(entry.values[name], values, ordered) for name, values in space.items()}
        curve = {epoch: worst if score is None else score for epoch, score in sorted(entry.scores.items())}
        states = optuna.trial.TrialState
        try:
            told = optuna.trial.create_trial(
                params=params,
                distributions=distributions,
                value=list(curve.values())[-1],
                intermediate_values=curve,
                state=states.COMPLETE if entry.finished else states.PRUNED,
            )
        except ValueError:  # it lies outside of the space, as Phase 1's trials may
            continue
        trials.append(told)
    return trials


def _is_scale(values: Any) -> bool:
    """A list of numbers, whose order means something."""
    return isinstance(values, list) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in values
    )


def _distribution(values: Any, ordered: bool) -> Any:
    """ordered: a list of numbers is drawn by its place, so that neighbors in it are neighbors to the sampler."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(values, list):
        return IntDistribution(0, len(values) - 1) if ordered and _is_scale(values) else CategoricalDistribution(values)
    kind = IntDistribution if values.get("int") else FloatDistribution
    return kind(values["low"], values["high"], log=values.get("log", False))


def _decoded(value: Any, values: Any, ordered: bool) -> Any:
    if ordered and _is_scale(values):
        return sorted(values)[value]
    # six significant digits are all a drawn number means; they keep files and tables readable
    return float(f"{value:.6g}") if isinstance(value, float) and not isinstance(values, list) else value


def _encoded(value: Any, values: Any, ordered: bool) -> Any:
    """What Optuna is told of a value: its place in a list of numbers, -1 where it is not there."""
    if ordered and _is_scale(values):
        return sorted(values).index(value) if value in values else -1
    return value
