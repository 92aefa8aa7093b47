"""What the run cost, and how well the devices were used."""

from typing import TYPE_CHECKING

import numpy as np

from retclip.report import formatting as wording
from retclip.report.cells import Captioned, Table
from retclip.report.drawing import BLUE, subplots
from retclip.report.run_folder import FinishedTrial, RunFolder
from retclip.report.section import Section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEXT = """
{{ figure("cost") }}
{{ table("cost") }}
{{ table("utilization") }}
"""


def draw_cost(run: RunFolder) -> "Figure":
    """Device time of each stage, and the speed of its trials."""
    stages = {stage: trials for stage, trials in run.paid().items() if trials}
    names = [wording.STAGE_NAMES[stage] for stage in stages][::-1]
    figure, (upper, lower) = subplots(height=0.6 * len(stages) + 2.2, rows=2)
    seconds = np.array([sum(t.metrics.device_seconds for t in trials) for trials in stages.values()])[::-1]
    unit, label = (60, "minutes") if seconds.max() < 7200 else (3600, "hours")
    upper.barh(names, seconds / unit, color=BLUE, height=0.6)
    upper.set_xlabel(f"device {label}")
    upper.grid(axis="y", visible=False)
    for position, trials in enumerate(list(stages.values())[::-1]):
        speeds = [t.metrics.samples_per_second for t in trials if t.metrics.samples_per_second]
        lower.scatter(speeds, [position] * len(speeds), color=BLUE, alpha=0.5, s=16)
    lower.set_yticks(range(len(names)), names)
    lower.set_ylim(upper.get_ylim())
    lower.set_xlim(left=0)
    lower.set_xlabel("samples per second, a dot a trial")
    return figure


def cost_table(run: RunFolder) -> Table:
    """Trials per stage, and the device time that they used, saved and lost."""
    stages = run.paid()
    rows = []
    for stage, trials in stages.items():
        rows.append([wording.STAGE_NAMES[stage], *_cost(trials)])
    everything = [finished for trials in stages.values() for finished in trials]
    rows.append(["all", *_cost(everything)])
    heads = ["stage", "trials", "device time", "saved by stopping early", "lost in broken attempts", "devices",
             "samples per second", "failed"]  # fmt: skip
    return Table(heads, rows, frozenset([len(rows) - 1]))


def utilization_table(run: RunFolder) -> Table:
    """Per stage: how busy the devices were, the most memory, and the share of time that was of no use."""
    rows = []
    for stage, trials in run.paid().items():
        if not trials:
            continue
        busy = sorted(t.metrics.utilization for t in trials if t.metrics.utilization is not None)
        spent = sum(t.metrics.device_seconds for t in trials)
        memory = max(t.metrics.peak_memory_bytes or 0 for t in trials)
        lost = sum(t.metrics.lost_seconds for t in trials)
        rows.append(
            [
                wording.STAGE_NAMES[stage],
                wording.percent(busy[len(busy) // 2]) if busy else "not measured",
                f"{memory / 2**30:.1f} GiB" if memory else "not measured",
                wording.percent(lost / (spent + lost)) if spent + lost else wording.NOTHING,
                str(sum(t.metrics.attempts for t in trials)),
            ]
        )
    heads = ["stage", "device busy (median)", "most memory", "device time lost", "processes started"]
    return Table(heads, rows)


def _saved(finished: FinishedTrial) -> float:
    """Device seconds of the epochs that early stopping or a rung spared a trial that went well."""
    metrics = finished.metrics
    if metrics.status not in ("completed", "early_stopped") or not metrics.epochs:
        return 0.0
    spared = metrics.trial.hyperparameters["epochs"] - metrics.epochs
    return metrics.device_seconds / metrics.epochs * max(0, spared)


def _cost(trials: list[FinishedTrial]) -> list[str]:
    speeds = sorted(t.metrics.samples_per_second for t in trials if t.metrics.samples_per_second)
    broken = sum(t.failed for t in trials)
    return [
        str(len(trials)),
        wording.duration(sum(t.metrics.device_seconds for t in trials)),
        wording.duration(sum(_saved(t) for t in trials)),
        wording.duration(sum(t.metrics.lost_seconds for t in trials)),
        ", ".join(sorted({t.metrics.device for t in trials})),
        f"{speeds[len(speeds) // 2]:,.0f} (median)" if speeds else wording.NOTHING,
        str(broken),
    ]


def _tables(run: RunFolder) -> dict[str, Captioned]:
    return {
        "cost": Captioned("What each stage cost, each training run counted once", cost_table(run)),
        "utilization": Captioned("How well the devices were used", utilization_table(run)),
    }


SECTION = Section(
    "Cost and utilization",
    TEXT,
    is_ready=lambda run: any(run.trials().values()),
    figures={"cost": draw_cost},
    tables=_tables,
)
