"""Names that a person can read: a trial is called by the values that vary."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from retclip.core.hyperparameters import HYPERPARAMETERS, label_of
from retclip.report.formatting import setting

if TYPE_CHECKING:
    import pandas as pd

# Where a label is long for a name; of a choice, the value alone says enough.
SHORT = {"learning_rate": "lr", "batch_size": "batch", "warmup_steps": "warm-up", "lr_scheduler": "", "optimizer": ""}
SEPARATOR = " \N{MIDDLE DOT} "


def configuration_name(values: Mapping[str, Any], names: Iterable[str] | None = None) -> str:
    """ "lr 3e-3 · batch 32": the values of these hyperparameters, or of all of them, in the order of declaration."""
    wanted = [name for name in HYPERPARAMETERS if name in values and (names is None or name in set(names))]
    parts = [f"{SHORT.get(name, label_of(name))} {_short(values[name])}".strip() for name in wanted]
    return SEPARATOR.join(parts) or "baseline values"


def trial_name(row: "pd.Series", varied: Iterable[str]) -> str:
    """What a row of a leaderboard is called among others that differ in `varied`."""
    name = configuration_name(row, varied)
    return f"baseline ({name})" if row["kind"] == "baseline" else name


def _short(value: Any) -> str:
    """3e-3 and 1.8e-5; else as in a config."""
    if isinstance(value, bool) or type(value).__name__ == "bool":
        return "on" if value else "off"
    if isinstance(value, float) and 0 < abs(value) < 0.01:
        digits, power = f"{value:.2e}".split("e")
        return f"{float(digits):g}e{int(power)}"
    return setting(value)
