"""The warm-up of a config: steps of a full run, or a share of each run's own steps; never both."""

from typing import Any

from retclip.core.hyperparameters import values_in

Config = dict[str, Any]
BOTH = (
    "both set the warm-up; for shares, set defaults.warmup_steps: 0 and warmup_steps: null in both spaces, or take the "
    "shares out."
)


def check_warmup(config: Config, origin: str) -> None:
    """Raises ValueError where both may be above zero."""
    given = {
        name: [place for place, values in values_in(config, name).items() if any(values)]
        for name in ("warmup_steps", "warmup_share")
    }
    if all(given.values()):
        raise ValueError(f"{origin}: {given['warmup_steps'][0]} and {given['warmup_share'][0]} {BOTH}")
