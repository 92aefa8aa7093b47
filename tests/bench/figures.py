"""What a bench says: one ratio, measured in rounds in which both ways take turns, so that a busy machine slows both."""

import resource
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass
class Figure:
    """value and baseline in `unit` (medians), ratio (median of the rounds') and its spread (lowest, highest).

    goal: what the ratio should be, at least, or at most where it begins with "<=".
    """

    name: str
    value: float
    unit: str
    baseline: float | None = None
    ratio: float | None = None
    goal: str | None = None
    spread: tuple[float, float] | None = None

    @property
    def met(self) -> bool | None:
        """Whether the ratio (or where there is none, the value) meets its goal."""
        if self.goal is None:
            return None
        measured = self.value if self.ratio is None else self.ratio
        bound = float(self.goal.split()[1])
        return measured <= bound if self.goal.startswith("<=") else measured >= bound

    def row(self) -> str:
        """One line of the table."""
        if self.ratio is None or self.spread is None:
            ratio = ""
        else:
            ratio = f"{self.ratio:.3g} ({self.spread[0]:.3g} to {self.spread[1]:.3g})"
        baseline = "" if self.baseline is None else f"{self.baseline:.4g}"
        verdict = {None: "", True: "yes", False: "NO"}[self.met]
        return f"| {self.name} | {self.value:.4g} {self.unit} | {baseline} | {ratio} | {self.goal or ''} | {verdict} |"


HEADER = "| case | value | baseline | ratio (spread) | goal | met |\n|---|---|---|---|---|---|"


def in_turn(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each way in each round, of this process and of those that it waited for."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, work in ways.items():
            before = cpu_seconds()
            work()
            seconds[name].append(cpu_seconds() - before)
    return seconds


def cpu_seconds() -> float:
    """Of this process and its ended children, since they began."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def speed_up(
    name: str,
    ours: list[float],
    theirs: list[float],
    goal: str | None,
    samples: tuple[int, int] | None = None,
) -> Figure:
    """How many times faster. samples: of a round of ours and of theirs, where the unit is samples a second."""
    if samples is None:
        ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
        value, baseline, unit = statistics.median(ours), statistics.median(theirs), "CPU s"
    else:
        per_sample = [([s / n for s in way]) for way, n in zip((ours, theirs), samples, strict=True)]
        ratios = [b / a for a, b in zip(*per_sample, strict=True)]
        value, baseline = (1 / statistics.median(way) for way in per_sample)
        unit = "samples/s"
    return Figure(name, value, unit, baseline, statistics.median(ratios), goal, (min(ratios), max(ratios)))


def slow_down(name: str, ours: list[float], theirs: list[float], goal: str | None) -> Figure:
    """How many times as long as the baseline."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return Figure(
        name,
        statistics.median(ours),
        "CPU s",
        statistics.median(theirs),
        statistics.median(ratios),
        goal,
        (min(ratios), max(ratios)),
    )
