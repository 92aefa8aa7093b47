"""How every static figure looks: seaborn's style, colors by meaning, and the shapes that several figures share."""

import io
import re
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 8.0  # inches
HALF = 4.4  # of a figure that stands beside another, and beneath it on a narrow screen
# seaborn's color-blind-safe palette, by meaning
BLUE, ORANGE, GREEN, RED, GRAY = "#0173b2", "#de8f05", "#029e73", "#d55e00", "#949494"
PNG_DPI = 150


def use_style() -> None:
    """Sets seaborn's style for all figures, and text that stays text in SVG."""
    import matplotlib
    import seaborn

    matplotlib.use("svg")
    seaborn.set_theme(style="whitegrid", palette="colorblind", font_scale=0.9)
    matplotlib.rcParams.update(
        {
            "svg.fonttype": "none",
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


def subplots(height: float, columns: int = 1, width: float = WIDTH, **options) -> tuple["Figure", Any]:
    """A figure and its axes, an array of them where there are several columns. height, width: inches."""
    import matplotlib.pyplot as plt

    return plt.subplots(1, columns, figsize=(width, height), **options)


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
    """Counts in cells that are shaded by `shares` (0 to 1); the same names on both sides."""
    import matplotlib.pyplot as plt
    import seaborn

    side = 0.42 * len(matrix) + 2.2
    figure, axes = plt.subplots(figsize=(min(WIDTH, side + 1), side))
    seaborn.heatmap(
        shares, annot=matrix, fmt="d", cmap="Blues", vmin=0, vmax=1, square=True, cbar=False, ax=axes,
        xticklabels=names, yticklabels=names, linewidths=0.5,
    )  # fmt: skip
    axes.set(xlabel="named by the model", ylabel="true class")
    axes.tick_params(axis="x", rotation=45)
    for label in axes.get_xticklabels():
        label.set_horizontalalignment("right")
    return figure


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


def inlined(svg: str, name: str) -> str:
    """The <svg> element with ids of its own, so that many can stand in one page."""
    element = svg[svg.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    element = re.sub(r'\bid="', f'id="{name}-', element)
    element = re.sub(r"url\(#", f"url(#{name}-", element)
    element = re.sub(r'href="#', f'href="#{name}-', element)
    return re.sub(r'<svg ([^>]*?)width="[^"]*"', r'<svg \1width="100%"', element, count=1).replace(
        "<svg ", '<svg aria-hidden="true" ', 1
    )
