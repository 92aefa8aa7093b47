"""Dimensions of a search that cannot matter, named before device hours are spent on them."""

import itertools
from typing import Any

from retclip.core.config import Config
from retclip.core.hyperparameters import ends
from retclip.search.budget import plan, same_training
from retclip.search.forecast import BUDGETED, phase1_values
from retclip.search.jobs import epochs_of, section_of, specification
from retclip.search.space import Values, near_best

# A decay that moves the weights by less than this share from its lowest to its highest value changes no score: the
# optimizer's own steps move them hundreds of times as far.
LEAST_MOVED = 0.01


def dead_dimensions(config: Config, counts: dict[str, int]) -> list[str]:
    """A sentence for each dimension of both phases whose values make no difference, whatever Phase 1 selects.

    counts: samples per split.
    """
    compared = {*BUDGETED, "learning_rate", *config["phase2"]["space"]}
    different = {tuple(values[name] for name in sorted(compared)): values for values in phase1_values(config)}
    bests = list(different.values())
    found = []
    for stage, bases in (("phase1", bests[:1]), ("phase2", bests)):
        space = config[stage]["space"]
        spaces = [{name: ends(values) for name, values in _absolute(stage, space, base).items()} for base in bases]
        planned = specification(config, "planned", "planned", section_of(config, stage), epochs_of(config, stage))
        for name, given in space.items():
            if not _has_several(given):
                continue
            if name in BUDGETED:
                dead = all(
                    _ends_the_same(name, axes, base, planned, counts) for base, axes in zip(bases, spaces, strict=True)
                )
            else:
                dead = all(len(set(map(str, axes[name]))) < 2 for axes in spaces)
            if dead:
                found.append(f"{stage}.space.{name}: all of its values become the same; take it out")
        if _has_several(space.get("weight_decay")):
            steps = max(plan({**planned, "class_prompts": {}}, base, counts).budget.total_steps for base in bests)
            found += _decay(stage, spaces, bases, steps)
    return found


def _absolute(stage: str, space: dict[str, Any], base: Values) -> dict[str, Any]:
    """The space without what is relative or waits for the finder."""
    if stage == "phase2":
        return near_best(space, base)
    return {name: [base[name]] if values == "auto" else values for name, values in space.items()}


def _has_several(given: Any) -> bool:
    """Whether a space varies the hyperparameter at all."""
    if isinstance(given, dict):
        return len(given.get("times_best", "two")) > 1
    return isinstance(given, list) and len(given) > 1


def _ends_the_same(
    name: str, axes: dict[str, list[Any]], base: Values, planned: dict[str, Any], counts: dict[str, int]
) -> bool:
    """Whether all values give the same training, whatever else a budget cares for."""
    others = [other for other in BUDGETED if other in axes and other != name]
    for point in itertools.product(*(axes[other] for other in others)):
        values = {**base, **dict(zip(others, point, strict=True))}
        trials = (plan({**planned, "class_prompts": {}}, {**values, name: one}, counts) for one in axes[name])
        if len({same_training(trial) for trial in trials}) > 1:
            return False
    return True


def _decay(stage: str, spaces: list[dict[str, list[Any]]], bases: list[Values], steps: int) -> list[str]:
    """Where the decay's lowest and highest value differ by too little: a weight shrinks by learning rate times decay in
    each step, and the learning rate is at half of its peak on average."""
    rate = max(max(axes.get("learning_rate", [base["learning_rate"]]))
               for axes, base in zip(spaces, bases, strict=True))  # fmt: skip
    low = min(min(axes["weight_decay"]) for axes in spaces)
    high = max(max(axes["weight_decay"]) for axes in spaces)
    moved = rate * (high - low) * steps / 2
    if moved >= LEAST_MOVED:
        return []
    return [
        f"{stage}.space.weight_decay: from {low:g} to {high:g} the weights differ by {100 * moved:.1g} % after "
        f"{steps:,} steps at a learning rate of {rate:g}; take it out"
    ]
