"""Draws Phase 2's configurations. Optuna samples; this module tells it what was seen, and refuses repetitions."""

import itertools
from typing import Any, NamedTuple

from retclip.core.io import canonical_json
from retclip.search.space import Values
from retclip.search.strategies import STRATEGIES, sampler_of

# A finite space that is nearly used up needs many draws to hit its last points.
MAX_DRAWS_PER_SLOT = 1000


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
    """`slots` distinct configurations: `base` with the hyperparameters of `space` drawn anew.

    space: absolute (see space.near_best). observed: what earlier brackets found; none of it is proposed again.
    The draw of slot i does not depend on how many slots follow. Raises ValueError where the space has fewer
    distinct points than slots.
    """
    seen = observed or []
    known = {canonical_json({**base, **{name: entry.values[name] for name in space}}) for entry in seen}
    proposals: list[Values] = []
    for drawn in _draws(space, slots, seed, strategy, seen):
        values = {**base, **drawn}
        identity = canonical_json(values)
        if identity not in known:
            known.add(identity)
            proposals.append(values)
        if len(proposals) == slots:
            return proposals
    raise ValueError(
        f"phase2.space gave only {len(proposals)} new configurations for {slots} trials; "
        "lower phase2.trials or widen phase2.space."
    )


def observations(documents: list[dict[str, Any]], metric: str) -> list[Observation]:
    """One entry per configuration of the metrics.json that are given, rungs of one training taken together."""
    found: dict[str, Observation] = {}
    for metrics in documents:
        trial = metrics["trial"]
        budget = trial["budget"]
        values = trial["configured"]
        broken = metrics["status"] in ("diverged", "out_of_memory")
        ended = metrics["status"] != "completed" or metrics["steps"] >= budget["total_steps"]
        known = found.get(canonical_json(values), Observation(values, {}, False))
        scores = {**known.scores, metrics["epochs"]: None if broken else metrics["val"][metric]}
        found[canonical_json(values)] = Observation(values, scores, known.finished or ended)
    return list(found.values())


def _draws(space: dict[str, Any], slots: int, seed: int, strategy: str, seen: list[Observation]):
    """Endless for samplers, in the space's own order for a grid."""
    declared = STRATEGIES[strategy]
    if declared.is_exhaustive:
        for point in itertools.product(*space.values()):
            yield dict(zip(space, point, strict=True))
        return
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=sampler_of(strategy, seed))
    ordered = declared.ordered
    distributions = {name: _distribution(values, ordered) for name, values in space.items()}
    if seen:
        study.add_trials(optuna_trials(seen, space, ordered))
    for _ in range(slots * MAX_DRAWS_PER_SLOT):
        drawn = study.ask(distributions).params
        yield {name: _decoded(value, space[name], ordered) for name, value in drawn.items()}


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
    """ordered: a list of numbers is drawn by its place, so that neighbours in it are neighbours to the sampler."""
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
