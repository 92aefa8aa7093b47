"""Names that a person can read: a trial is called by the values that vary."""

from collections.abc import Iterable, Mapping
from typing import Any

from retclip.core.hyperparameters import HYPERPARAMETERS, label_of
from retclip.report.formatting import setting
from retclip.report.run_folder import FinalModel, RunFolder

# Where a label is long for a name; of a choice, the value alone says enough.
SHORT = {
    "learning_rate": "lr",
    "batch_size": "batch",
    "warmup_steps": "warm-up",
    "weight_decay": "decay",
    "lr_scheduler": "",
    "optimizer": "",
}
SEPARATOR = " \N{MIDDLE DOT} "


def configuration_name(values: Mapping[str, Any], names: Iterable[str] | None = None) -> str:
    """ "lr 3e-3 · batch 32": the values of these hyperparameters, or of all of them, in the order of declaration."""
    wanted = [name for name in HYPERPARAMETERS if name in values and (names is None or name in set(names))]
    parts = [f"{SHORT.get(name, label_of(name))} {_short(values[name])}".strip() for name in wanted]
    return SEPARATOR.join(parts) or "baseline values"


def trial_names(run: RunFolder) -> dict[str, str]:
    """Id -> name of every trial that has finished, and of every finalist."""
    found: dict[str, str] = {}
    for stage, trials in run.searched.items():
        varied = _varied(run, "phase2" if stage == "confirm" else stage)
        for one in trials:
            name = configuration_name(one.trial.configured, varied)
            if one.kind == "baseline":
                name = f"baseline ({name})"
            if one.trial.candidate:
                found[one.trial.candidate] = name
                name = f"{name}, seed {one.trial.seed}"
            found[one.id] = name
    return found | {one.id: final_name(one) + _seed(run, one) for one in run.finals}


def final_name(final: FinalModel) -> str:
    """What a final model is called; the seeds of one share a name."""
    named = {"tuned": "tuned", "baseline": "baseline", "control": "negative control"}
    if final.trial.subset:
        named["subset"] = f"tuned on {final.trial.subset.patients:,} patients"
    kind = named.get(final.kind) or f"baseline with the tuned {label_of(final.trial.ablated or '')}"
    return f"{kind}, {final.encoder}"


def baseline_name(run: RunFolder) -> str:
    """The baseline in a sentence; with its text encoder, which what it is compared with need not have."""
    return f"the baseline with {run.search_encoder}"


def _seed(run: RunFolder, final: FinalModel) -> str:
    return f", seed {final.trial.seed}" if run.seeds_each > 1 else ""


def _varied(run: RunFolder, stage: str) -> list[str]:
    """The hyperparameters that differ between the trials of a stage; where none does, from the baseline of Phase 1."""
    values = [one.trial.configured for one in run.searched.get(stage, [])]
    differ = [name for name in HYPERPARAMETERS if len({str(one.get(name)) for one in values}) > 1]
    if differ or stage == "phase1":
        return differ
    values += [one.trial.configured for one in run.searched.get("phase1", []) if one.kind == "baseline"]
    return [name for name in HYPERPARAMETERS if len({str(one.get(name)) for one in values}) > 1]


def _short(value: Any) -> str:
    """3e-3 and 1.8e-5; else as in a config."""
    if isinstance(value, bool) or type(value).__name__ == "bool":
        return "on" if value else "off"
    if isinstance(value, float) and 0 < abs(value) < 0.01:
        digits, power = f"{value:.2e}".split("e")
        return f"{float(digits):g}e{int(power)}"
    return setting(value)
