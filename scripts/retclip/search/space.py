"""What may be tried: grids of Phase 1, and the distributions of Phase 2 around a best configuration."""

import itertools
import math
from typing import Any

from retclip.core.hyperparameters import HYPERPARAMETERS
from retclip.core.io import sha256_of

Values = dict[str, Any]

# Phase 1's `learning_rate: auto` is a grid of four around the learning-rate finder's suggestion.
AUTO_FACTORS = (1 / 9, 1 / 3, 1.0, 3.0)
# A best value in this outer share of its range says that better ones may lie beyond.
BORDER = 0.05


def grid(space: dict[str, Any]) -> dict[str, Values]:
    """Phase 1's trials, id -> values, in the order of the config.

    An id is a hash of the configured values alone, so that inserting a value renames no other trial. A
    learning rate that is `auto` stands as {"auto": position} until the finder has spoken.
    """
    names = [name for name in HYPERPARAMETERS if name in space]
    axes = [
        [{"auto": position} for position in range(len(AUTO_FACTORS))] if space[name] == "auto" else space[name]
        for name in names
    ]
    points = [dict(zip(names, point, strict=True)) for point in itertools.product(*axes)]
    return {f"p1-{sha256_of(point)[:8]}": point for point in points}


def resolve_auto(values: Values, learning_rates: list[float]) -> Values:
    """The same values with an `auto` learning rate replaced by the finder's at its position."""
    learning_rate = values.get("learning_rate")
    if isinstance(learning_rate, dict):
        return {**values, "learning_rate": learning_rates[learning_rate["auto"]]}
    return values


def near_best(space: dict[str, Any], best: Values) -> dict[str, Any]:
    """Phase 2's space with everything relative made absolute.

    Returns name -> list of values or {low, high, log, int}; times_best and from_best are worked out from
    `best`, configured values in the units of a full run.
    """
    return {name: _absolute(name, space[name], best[name]) for name in HYPERPARAMETERS if name in space}


def times(factor: float, value: float) -> float:
    """The product in twelve digits, so that 1.4 * 1e-5 reads 1.4e-05 and not 1.4000000000000001e-05."""
    return float(f"{factor * value:.12g}")


def size(space: dict[str, Any]) -> int | None:
    """Number of distinct configurations in a Phase 2 space; None if a range makes it endless."""
    total = 1
    for values in space.values():
        if isinstance(values, list):
            total *= len(values)
        elif isinstance(values, dict) and "times_best" in values:
            total *= len(values["times_best"])
        elif isinstance(values, dict):
            return None
    return total


def on_border(space: dict[str, Any], values: Values) -> list[str]:
    """Hyperparameters whose value is the smallest or largest of three or more that were tried, or next to the end of
    its range."""
    found = []
    for name, tried in space.items():
        if isinstance(tried, dict):
            if not BORDER <= _share(tried, values[name]) <= 1 - BORDER:
                found.append(name)
            continue
        numbers = [value for value in tried if isinstance(value, int | float) and not isinstance(value, bool)]
        if len(set(numbers)) >= 3 and values[name] in (min(numbers), max(numbers)):
            found.append(name)
    return found


def _share(span: dict[str, Any], value: float) -> float:
    """How far along the range {low, high, log} the value lies, from 0 to 1."""
    scale = math.log if span.get("log") else float
    low, high = scale(span["low"]), scale(span["high"])
    return (scale(value) - low) / (high - low)


def _absolute(name: str, values: Any, best: Any) -> Any:
    if values == "from_best":
        return [best]
    if isinstance(values, dict) and "times_best" in values:
        scaled = [times(factor, best) for factor in values["times_best"]]
        whole = [max(1, round(value)) for value in scaled] if HYPERPARAMETERS[name].kind == "integer" else scaled
        return list(dict.fromkeys(whole))
    return values
