"""The report's figures: one function each, from a read run to a matplotlib figure."""

from typing import TYPE_CHECKING

import numpy as np

from retclip.core.config import HYPERPARAMETERS
from retclip.report.comparisons import score, value_of
from retclip.report.inputs import Final, RunFolder
from retclip.report.wording import hyperparameter_name, metric_name, setting

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 8.0  # inches
LOGARITHMIC = ("learning_rate", "temperature")
# seaborn's colour-blind-safe palette, by meaning
BLUE, ORANGE, GREEN, RED, GREY = "#0173b2", "#de8f05", "#029e73", "#d55e00", "#949494"
SPLIT_COLOURS = {"train": BLUE, "val": ORANGE, "test": GREEN}


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
            "figure.constrained_layout.use": True,
            "legend.frameon": False,
        }
    )


def class_counts(run: RunFolder) -> "Figure":
    """Labelled eyes (or patients) per class and split, largest class first."""
    splits = run.audit["splits"]
    classes = sorted(run.fingerprint["classes"], key=lambda name: splits["train"]["per_class"].get(name, 0))
    figure, axes = _subplots(height=0.32 * len(classes) + 1.2)
    left = np.zeros(len(classes))
    for split, colour in SPLIT_COLOURS.items():
        counts = np.array([splits[split]["per_class"].get(name, 0) for name in classes])
        axes.barh(classes, counts, left=left, color=colour, label=split)
        left += counts
    for position, total in enumerate(left):
        axes.annotate(f"{total:,.0f}", (total, position), xytext=(4, 0), textcoords="offset points", va="center")
    axes.set_xlabel({"eye": "labelled eyes", "patient": "labelled patients"}.get(run.audit["label_level"], "none"))
    axes.grid(axis="y", visible=False)
    axes.legend(title="split", loc="lower right")
    return figure


def find_lr(run: RunFolder) -> "Figure":
    """The range test: loss against learning rate, with the suggestion."""
    figure, axes = _subplots(height=3.2)
    curve = run.curve
    axes.plot(curve["learning_rate"], curve["loss"], color=GREY, linewidth=0.8, label="loss of each step")
    if "smoothed_loss" in curve:
        axes.plot(curve["learning_rate"], curve["smoothed_loss"], color=BLUE, label="smoothed")
    suggestion = run.suggestion["suggestion"]
    axes.axvline(suggestion, color=RED, linestyle="--", label=f"suggestion {setting(suggestion)}")
    chosen = run.decisions["best"]["hyperparameters"]["learning_rate"]
    axes.axvline(chosen, color=GREEN, linestyle=":", label=f"chosen by the search {setting(chosen)}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss")
    axes.legend()
    return figure


def rank_phase1(run: RunFolder) -> "Figure":
    """Every trial of the grid with its standard error, and the score against what was varied."""
    return _ranking(run, "phase1")


def rank_phase2(run: RunFolder) -> "Figure":
    """Every trial of Phase 2 with its standard error, and the score against what was varied."""
    return _ranking(run, "phase2")


def learning_curves(run: RunFolder) -> "Figure":
    """Validation loss and score per epoch of the final trainings; the search's trials in grey."""
    import matplotlib.pyplot as plt
    import seaborn

    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.4))
    for training in run.searched["phase2"]:
        for axes, column in ((left, "val_loss"), (right, run.metric)):
            if column in training.history:
                axes.plot(training.history["epoch"], training.history[column], color=GREY, alpha=0.35, linewidth=0.7)
    finals = [final for final in run.finals if final.kind != "ablation"]
    colours = dict(zip(dict.fromkeys(map(_final_name, finals)), seaborn.color_palette("colorblind"), strict=False))
    for final in finals:
        name = _final_name(final)
        for axes, column in ((left, "val_loss"), (right, run.metric)):
            if column in final.history:
                style = {"color": colours[name], "marker": "o", "markersize": 3, "label": name}
                axes.plot(final.history["epoch"], final.history[column], **style)
    _chance_line(right, _chance(run, run.metric))
    left.set(xlabel="epoch", ylabel="validation loss")
    right.set(xlabel="epoch", ylabel=f"validation {metric_name(run.metric)}")
    handles, labels = right.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    figure.legend(unique.values(), unique.keys(), loc="outside lower center", ncols=3)
    return figure


def winner_vs_default(run: RunFolder) -> "Figure":
    """The tuned winner beside the default config on test, the same text encoder, with 95 % intervals."""
    rows = [
        ("default config", run.baselines(), GREY),
        ("tuned winner", run.winners(run.search_encoder), BLUE),
    ]
    return _test_bars(run, rows)


def encoders(run: RunFolder) -> "Figure":
    """The winner's recipe with each text encoder on test, with 95 % intervals."""
    recommended = run.recommendation["encoder"]
    rows = [
        (
            f"{name}{' (recommended)' if name == recommended else ''}",
            run.winners(name),
            BLUE if name == recommended else GREY,
        )
        for name in reversed(run.encoders)
    ]
    return _test_bars(run, rows)


def confusion_winner(run: RunFolder) -> "Figure":
    """Confusion matrix on test of the winner with the text encoder that the search used."""
    return _confusion(run.winners(run.search_encoder)[0])


def confusion_baseline(run: RunFolder) -> "Figure":
    """Confusion matrix on test of the default config."""
    return _confusion(run.baselines()[0])


FIGURES = {
    function.__name__: function
    for function in (
        class_counts,
        find_lr,
        rank_phase1,
        rank_phase2,
        learning_curves,
        winner_vs_default,
        encoders,
        confusion_winner,
        confusion_baseline,
    )
}


def _ranking(run: RunFolder, stage: str) -> "Figure":
    import matplotlib.pyplot as plt

    board = run.boards[stage]
    varied = varied_hyperparameters(board)
    columns = max(1, min(3, len(varied)))
    slice_rows = -(-len(varied) // columns)
    ranks_height = 0.2 * len(board) + 0.8
    figure = plt.figure(figsize=(WIDTH, ranks_height + 2.2 * slice_rows))
    grid = figure.add_gridspec(1 + slice_rows, columns, height_ratios=[ranks_height, *[2.2] * slice_rows])
    chosen = run.decisions[stage]["id"]
    _ranks(figure.add_subplot(grid[0, :]), run, board, chosen)
    for position, name in enumerate(varied):
        axes = figure.add_subplot(grid[1 + position // columns, position % columns])
        _slice(axes, run, board, name, chosen)
    return figure


def varied_hyperparameters(board: "pd.DataFrame") -> list[str]:
    """The hyperparameters that have more than one value on a leaderboard."""
    return [name for name in HYPERPARAMETERS if name in board and board[name].nunique(dropna=False) > 1]


def _ranks(axes: "Axes", run: RunFolder, board: "pd.DataFrame", chosen: str) -> None:
    positions = np.arange(len(board))[::-1]
    colours = [GREEN if name == chosen else RED if name == "baseline" else BLUE for name in board["id"]]
    axes.errorbar(
        board["metric"],
        positions,
        xerr=board["standard_error"].fillna(0.0),
        fmt="none",
        ecolor=GREY,
        linewidth=1,
    )
    axes.scatter(board["metric"], positions, c=colours, zorder=3, s=22)
    axes.set_yticks(positions, board["id"], fontsize=7.5)
    _chance_line(axes, _chance(run, run.metric), vertical=True)
    handles = [
        axes.scatter([], [], c=colour, s=22, label=label)
        for colour, label in (
            (GREEN, "chosen"),
            (RED, "default config"),
            (BLUE, "trial, with its standard error"),
        )
        if colour in colours
    ]
    axes.legend(handles=handles, loc="lower right")
    axes.set_xlabel(f"validation {metric_name(run.metric)}")


def _slice(axes: "Axes", run: RunFolder, board: "pd.DataFrame", name: str, chosen: str) -> None:
    """The score against one hyperparameter; a tick at each value that was tried."""
    values = board[name]
    if name in LOGARITHMIC:
        axes.set_xscale("log")
    if values.nunique() <= 6:
        ticks = sorted(values.dropna().unique())
        axes.set_xticks(ticks, [setting(value) for value in ticks])
        axes.set_xticks([], minor=True)
        axes.tick_params(axis="x", labelsize=7.5)
    axes.scatter(values, board["metric"], color=BLUE, alpha=0.6, s=16)
    best = board[board["id"] == chosen]
    axes.scatter(best[name], best["metric"], color=GREEN, s=30, zorder=3)
    axes.set(xlabel=hyperparameter_name(name), ylabel=metric_name(run.metric))


def _test_bars(run: RunFolder, rows: list[tuple[str, list[Final], str]]) -> "Figure":
    """Horizontal bars with intervals; every seed a dot; chance and majority as lines."""
    figure, axes = _subplots(height=0.55 * len(rows) + 1.5)
    for position, (_, finals, colour) in enumerate(rows):
        estimate = score(finals, run.test_metric)
        if estimate.value is None:
            continue
        axes.barh(position, estimate.value, color=colour, height=0.6)
        if estimate.low is not None and estimate.high is not None:
            low, high = max(0.0, estimate.value - estimate.low), max(0.0, estimate.high - estimate.value)
            axes.errorbar(estimate.value, position, xerr=[[low], [high]], color="black", capsize=3, linewidth=1.2)
        seeds = [value for final in finals if (value := value_of(final, run.test_metric)) is not None]
        if len(seeds) > 1:
            axes.scatter(seeds, [position] * len(seeds), color="white", edgecolor="black", s=16, zorder=3)
        axes.annotate(
            f"{estimate.value:.3f}", (0, position), xytext=(6, 0), textcoords="offset points",
            va="center", color="white", weight="bold",
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), [label for label, _, _ in rows])
    _chance_line(axes, _chance(run, run.test_metric), vertical=True)
    majority = run.finals[0].evaluation["levels"]["majority"].get(run.test_metric)
    if majority is not None and abs(majority - (_chance(run, run.test_metric) or 0.0)) > 0.005:
        axes.axvline(majority, color=ORANGE, linestyle=":", label="always the largest class")
    axes.set_xlim(0, 1)
    axes.set_xlabel(f"{metric_name(run.test_metric)} on test, 95 % interval over patients")
    axes.grid(axis="y", visible=False)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.35 if len(rows) < 3 else -0.25), ncols=2)
    return figure


def _confusion(final: Final) -> "Figure":
    """Rows are true classes, in shares of the row; counts in the cells."""
    import matplotlib.pyplot as plt
    import seaborn

    confusion = final.evaluation["confusion"]
    if not confusion["matrix"]:
        return _nothing("no test sample has a single label")
    matrix = np.array(confusion["matrix"], dtype=int)
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    side = 0.42 * len(matrix) + 2.2
    figure, axes = plt.subplots(figsize=(min(WIDTH, side + 1), side))
    seaborn.heatmap(
        shares, annot=matrix, fmt="d", cmap="Blues", vmin=0, vmax=1, square=True, cbar=False, ax=axes,
        xticklabels=confusion["classes"], yticklabels=confusion["classes"], linewidths=0.5,
    )  # fmt: skip
    axes.set(xlabel="named by the model", ylabel="true class")
    axes.tick_params(axis="x", rotation=45)
    for label in axes.get_xticklabels():
        label.set_horizontalalignment("right")
    return figure


def _final_name(final: Final) -> str:
    """As the legend names it; the seeds of one model share a name."""
    return {"winner": f"winner, {final.encoder}", "baseline": "default config", "control": "shuffled texts"}[final.kind]


def _chance(run: RunFolder, metric: str) -> float | None:
    return run.finals[0].evaluation["levels"]["chance"].get(metric)


def _chance_line(axes: "Axes", chance: float | None, vertical: bool = False) -> None:
    if chance is not None:
        draw = axes.axvline if vertical else axes.axhline
        draw(chance, color=RED, linestyle="--", linewidth=1, label="chance")


def _subplots(height: float) -> tuple["Figure", "Axes"]:
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(WIDTH, height))


def _nothing(reason: str) -> "Figure":
    figure, axes = _subplots(height=1.0)
    axes.axis("off")
    axes.text(0.5, 0.5, reason, ha="center", va="center")
    return figure
