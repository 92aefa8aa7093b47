"""The warm-up of a config: steps of a full run, or a share of each run's own steps; never both."""

from typing import Any

Config = dict[str, Any]
BOTH = (
    "both set the warm-up; for shares, set defaults.warmup_steps: 0 and warmup_steps: null in both spaces, or take the "
    "shares out."
)


def check_warmup(config: Config, origin: str) -> None:
    """Raises ValueError where both may be above zero."""
    given = {name: _places(config, name) for name in ("warmup_steps", "warmup_share")}
    if all(given.values()):
        raise ValueError(f"{origin}: {given['warmup_steps'][0]} and {given['warmup_share'][0]} {BOTH}")


def _places(config: Config, name: str) -> list[str]:
    """Where the config gives values above zero."""
    found = ["defaults"] if config["defaults"].get(name) else []
    for phase in ("phase1", "phase2"):
        tried = config[phase]["space"].get(name)
        # what is relative to zero is zero
        if any(tried) if isinstance(tried, list) else isinstance(tried, dict) and "low" in tried:
            found.append(f"{phase}.space")
    return [f"{place}.{name}" for place in found]
