"""Draws Phase 2's configurations. Optuna samples; this module only refuses what was drawn before."""

from typing import Any

from retclip.core.files import canonical_json
from retclip.search.space import Values

# A finite space that is nearly used up needs many draws to hit its last points.
MAX_DRAWS_PER_SLOT = 1000


def propose(space: dict[str, Any], base: Values, slots: int, seed: int, strategy: str) -> list[Values]:
    """`slots` distinct configurations: `base` with the hyperparameters of `space` drawn anew.

    space: absolute (see space.near_best). The draw of slot i does not depend on how many slots follow.
    Raises ValueError where the space has fewer distinct points than slots.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=_sampler(strategy, seed))
    distributions = {name: _distribution(values) for name, values in space.items()}
    known: set[str] = set()
    proposals: list[Values] = []
    for _ in range(slots * MAX_DRAWS_PER_SLOT):
        if len(proposals) == slots:
            return proposals
        drawn = study.ask(distributions).params
        values = {**base, **{name: _plain(value) for name, value in drawn.items()}}
        identity = canonical_json(values)
        if identity not in known:
            known.add(identity)
            proposals.append(values)
    if len(proposals) == slots:
        return proposals
    raise ValueError(
        f"phase2.space gave only {len(proposals)} distinct configurations for {slots} trials; "
        "lower phase2.trials or widen phase2.space."
    )


def _sampler(strategy: str, seed: int) -> Any:
    import optuna

    assert strategy == "random", strategy
    return optuna.samplers.RandomSampler(seed=seed)


def _distribution(values: Any) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(values, list):
        return CategoricalDistribution(values)
    kind = IntDistribution if values.get("int") else FloatDistribution
    return kind(values["low"], values["high"], log=values.get("log", False))


def _plain(value: Any) -> Any:
    """Six significant digits are all a drawn number means; they keep files and tables readable."""
    return float(f"{value:.6g}") if isinstance(value, float) else value
