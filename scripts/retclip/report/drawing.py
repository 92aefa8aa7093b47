"""How every static figure looks: seaborn's style, colors by meaning, and the shapes that several figures share."""

import io
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Inches. A page shows figures a third larger on a desk and two thirds as large on a phone: text can be read on both.
WIDTH = 5.6
HALF = 4.4  # of a figure that stands beside another, and beneath it on a narrow screen
SMALL = 8.5  # points, the least
ROW = 0.36  # of a row with a name above it
# seaborn's color-blind-safe palette, by meaning
BLUE, ORANGE, GREEN, RED, GRAY = "#0173b2", "#de8f05", "#029e73", "#d55e00", "#949494"
FAINT = "#6b6b6b"  # small print, which can still be read
PNG_DPI = 220
TRIAL = "#trial-"  # the id of a trial's part of the page begins so


def use_style() -> None:
    """Sets seaborn's style for all figures, and text that stays text in SVG."""
    import matplotlib
    import seaborn

    matplotlib.use("svg")
    seaborn.set_theme(style="whitegrid", palette="colorblind", font_scale=0.9)
    matplotlib.rcParams.update(
        {
            "svg.fonttype": "none",
            # all figures of a page are drawn before the first is written
            "figure.max_open_warning": 0,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlelocation": "left",
            "axes.titleweight": "bold",
            "axes.titlesize": "medium",
            "figure.constrained_layout.use": True,
            "legend.frameon": False,
            # a class may be called "$x$"
            "text.parse_math": False,
        }
    )


def subplots(height: float, rows: int = 1, width: float = WIDTH, **options) -> tuple["Figure", Any]:
    """A figure and its axes, an array of them where there are several rows. height, width: inches."""
    import matplotlib.pyplot as plt

    return plt.subplots(rows, 1, figsize=(width, height), **options)


def nothing(reason: str) -> "Figure":
    """A figure that says why it is empty."""
    figure, axes = subplots(height=1.0)
    axes.axis("off")
    axes.text(0.5, 0.5, reason, ha="center", va="center")
    return figure


def level_line(axes: "Axes", level: float | None, label: str = "chance", vertical: bool = False) -> None:
    """A dashed line at what a model scores that knows nothing; none where that is not known."""
    if level is not None:
        draw = axes.axvline if vertical else axes.axhline
        color, style = (RED, "--") if label == "chance" else (ORANGE, ":")
        draw(level, color=color, linestyle=style, linewidth=1.2, label=label)


def plain_ticks(axes: "Axes") -> None:
    """0.001 in place of a formula on a logarithmic axis, since no text here is read as a formula."""
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")


def whiskers(axes: "Axes", position: float, value: float, low: float | None, high: float | None, **style) -> None:
    """A point with its interval, lying."""
    if low is not None and high is not None:
        # a percentile interval may leave its own point out
        reach = [[max(0.0, value - low)], [max(0.0, high - value)]]
        axes.errorbar(value, position, xerr=reach, **{"color": "black", "capsize": 3, "linewidth": 1.2, **style})


def heatmap(matrix: np.ndarray, shares: np.ndarray, names: list[str]) -> "Figure":
    """Cells shaded by `shares` (0 to 1, of the row) with their percentage and count; the same names on both sides.

    Where there are many classes, cells hold the percentage alone, and of more still only what is a tenth of its row.
    """
    import seaborn

    few, several = len(matrix) <= 10, len(matrix) <= 16
    width = max(WIDTH, 0.34 * len(matrix) + 1.9)
    figure, axes = subplots(height=0.42 * len(matrix) + 1.9, width=width)

    def words(count: int, share: float) -> str:
        if not count or (not several and share < 0.1):
            return ""
        return f"{share:.0%}\n{count:,}" if few else f"{100 * share:.0f}"

    cells = np.array([[words(*pair) for pair in zip(*row, strict=True)] for row in zip(matrix, shares, strict=True)])
    seaborn.heatmap(
        shares, annot=cells, fmt="", cmap="Blues", vmin=0, vmax=1, cbar=False, ax=axes, linewidths=0.5,
        xticklabels=[shortened(name) for name in names], yticklabels=[shortened(name) for name in names],
        annot_kws={"fontsize": SMALL, "linespacing": 0.95},
    )  # fmt: skip
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.tick_params(axis="both", labelsize=SMALL)
    axes.tick_params(axis="x", rotation=45)
    axes.tick_params(axis="y", rotation=0)
    for label in axes.get_xticklabels():
        label.set_horizontalalignment("right")
    return figure


def named_rows(axes: "Axes", trials: list[str], names: Mapping[str, str]) -> None:
    """A trial on each step of the vertical axis, from below: above its row its name, and its id in small print."""
    axes.set_yticks(range(len(trials)), [])
    axes.set_ylim(-0.4, len(trials) - 0.2)
    for position, trial in enumerate(trials):
        row: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "xytext": (0, 4), "textcoords": "offset points"}
        axes.annotate(shortened(names.get(trial, trial), 72), (0.01, position), fontsize=SMALL, **row)
        axes.annotate(trial, (1, position), fontsize=SMALL, color=FAINT, ha="right", **row)


def shortened(name: str, most: int = 24) -> str:
    """A name that fits beside a figure; its end is left out where it is long."""
    return name if len(name) <= most else f"{name[: most - 1].rstrip()}\N{HORIZONTAL ELLIPSIS}"


def linked(points: Any, trials: Iterable[str]) -> None:
    """Lets each point of a scatter lead to its trial's part of the page."""
    points.set_urls([f"{TRIAL}{trial}" for trial in trials])


def as_svg(figure: "Figure", name: str) -> str:
    """SVG text without a background, so that it stands on a light and on a dark page."""
    import matplotlib

    # ids that follow from the name alone, so that the same run gives the same bytes
    with matplotlib.rc_context({"svg.hashsalt": name}):
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def as_png(figure: "Figure") -> bytes:
    """On white, for slides and manuscripts."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=PNG_DPI, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()
