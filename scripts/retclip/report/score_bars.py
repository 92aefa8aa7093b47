"""Bars and dots of what models score on test, which several figures share."""

from typing import TYPE_CHECKING

from retclip.metrics.estimates import Estimate
from retclip.report import formatting as wording
from retclip.report.answer import verdict
from retclip.report.comparisons import score, value_of
from retclip.report.drawing import BLUE, GREEN, SMALL, level_line, whiskers
from retclip.report.run_folder import FinalModel, RunFolder

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Label, trials that differ in the seed alone, color.
Row = tuple[str, list[FinalModel], str]


def rows_by_encoder(run: RunFolder) -> list[Row]:
    """The tuned configuration with each text encoder, the search's on top. The recommended one is highlighted; there is
    none where nothing was learned."""
    recommended = run.recommendation["encoder"] if run.recommendation and verdict(run).learned else None
    return [
        (
            f"{name} (recommended)" if name == recommended else name,
            run.tuned(name),
            GREEN if name == recommended else BLUE,
        )
        for name in reversed(run.encoders)
    ]


def draw_dots(axes: "Axes", rows: list[tuple[str, Estimate, str]], label: str) -> None:
    """Scores with their intervals, the first on top, and in numbers at the right edge. rows: name, score, color; one
    without a value stays empty. label: of the axis."""
    for position, (_, reached, color) in enumerate(rows[::-1]):
        if reached.value is None:
            continue
        whiskers(axes, position, reached.value, reached.low, reached.high, color=color, linewidth=2)
        axes.scatter(reached.value, position, color=color, s=38, zorder=3)
        axes.annotate(wording.score(reached.value), (1.0, position), xycoords=("axes fraction", "data"), xytext=(4, 0),
                      textcoords="offset points", va="center", fontsize=SMALL)  # fmt: skip
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows[::-1]])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel(label, loc="right")
    axes.grid(axis="y", visible=False)


def draw_scores(axes: "Axes", run: RunFolder, rows: list[Row]) -> None:
    """Horizontal bars with intervals; every seed a dot; chance and majority as lines."""
    for position, (_, finals, color) in enumerate(rows):
        estimate = score(finals, run.test_metric)
        if estimate.value is None:
            continue
        axes.barh(position, estimate.value, color=color, height=0.62)
        whiskers(axes, position, estimate.value, estimate.low, estimate.high)
        seeds = [value for final in finals if (value := value_of(final, run.test_metric)) is not None]
        if len(seeds) > 1:
            axes.scatter(seeds, [position] * len(seeds), color="white", edgecolor="black", s=16, zorder=3)
        axes.annotate(
            f"{estimate.value:.3f}", (1.0, position), xytext=(2, 0), textcoords="offset points", va="center",
            fontsize=SMALL,
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), [label for label, _, _ in rows])
    chance = run.chance(run.test_metric)
    level_line(axes, chance, vertical=True)
    majority = run.finals[0].evaluation.levels.majority.get(run.test_metric)
    if majority is not None and abs(majority - (chance or 0.0)) > 0.005:
        level_line(axes, majority, "always the largest class", vertical=True)
    axes.set_xlim(0, 1)
    axes.set_xlabel(f"{wording.metric_name(run.test_metric)} on test", loc="right")
    axes.grid(axis="y", visible=False)
