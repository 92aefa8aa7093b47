"""Figures of the search: rankings, the best so far, trials as lines, rungs, curves, and how sure the choice is."""

from typing import TYPE_CHECKING, Any

import numpy as np

from retclip.core.hyperparameters import HYPERPARAMETERS, label_of
from retclip.core.io import canonical_json
from retclip.report.drawing import BLUE, GREEN, GREY, ORANGE, RED, WIDTH, level_line, nothing, plain_ticks, subplots
from retclip.report.formatting import metric_name, setting
from retclip.report.run_folder import Final, RunFolder, Training
from retclip.report.stability import best_so_far as best_so_far_of
from retclip.report.stability import random_reference, winning_shares

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Of a long search, the ranking shows the best; the page's table has all of them.
MOST_RANKS = 40


def rank_phase1(run: RunFolder) -> "Figure":
    """The trials of the grid with their standard errors, and the score against what was varied."""
    return _ranking(run, "phase1")


def rank_phase2(run: RunFolder) -> "Figure":
    """The trials of Phase 2 with their standard errors, and the score against what was varied."""
    return _ranking(run, "phase2")


def best_so_far(run: RunFolder) -> "Figure":
    """The best score after each trial, over what the same number of random trials would have reached."""
    trials = run.searched["phase2"]
    scores = [trial.metrics["val"][run.metric] for trial in trials]
    found = best_so_far_of(scores)
    if not np.isfinite(found).any():
        return nothing("no trial of Phase 2 has a score")
    figure, axes = subplots(height=3.4)
    places = np.arange(1, len(scores) + 1)
    reference = random_reference(run)
    if reference is not None:
        low, middle, high = reference.quantiles
        axes.fill_between(places, low, high, color=GREY, alpha=0.3, linewidth=0, label=reference.label)
        axes.plot(places, middle, color=GREY, linestyle="--", linewidth=1)
    axes.scatter(places, [np.nan if s is None else s for s in scores], color=BLUE, alpha=0.6, s=18, label="trial")
    axes.step(places, found, where="post", color=GREEN, linewidth=2, label="best so far")
    level_line(axes, run.chance(run.metric))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel="trials of Phase 2, in the order of their proposal", ylabel=f"validation {metric_name(run.metric)}")
    axes.legend(loc="best")
    return figure


def parallel_coordinates(run: RunFolder) -> "Figure":
    """Every trial of Phase 2 as a line through its hyperparameters, coloured by its score."""
    import matplotlib.pyplot as plt
    from matplotlib.patheffects import withStroke

    board = run.boards["phase2"]
    board = board[board["metric"].notna()].sort_values("metric")
    names = varied_hyperparameters(board)
    if len(board) < 2 or not names:
        return nothing("no two trials of Phase 2 differ")
    figure, axes = subplots(height=3.6)
    columns = [_positions(board[name], name) for name in names]
    low, high = board["metric"].min(), board["metric"].max()
    span = (high - low) or 1.0
    colours = plt.get_cmap("cividis_r")
    for row in range(len(board)):
        score = board["metric"].iloc[row]
        heights = [*(column.places[row] for column in columns), (score - low) / span]
        best = row == len(board) - 1
        axes.plot(range(len(heights)), heights, color=colours((score - low) / span),
                  alpha=1.0 if best else 0.6, linewidth=2.6 if best else 1.0)  # fmt: skip
    beside: dict[str, Any] = {"xytext": (5, 0), "textcoords": "offset points", "fontsize": 8, "va": "center",
                              "path_effects": [withStroke(linewidth=3, foreground="white")]}  # fmt: skip
    for position, column in enumerate(columns):
        for place, label in column.ticks:
            axes.annotate(
                label, (position, place), xytext=(5, 0), textcoords="offset points", fontsize=7.5, va="center"
            )
    for place, value in ((0.0, low), (1.0, high)):
        axes.annotate(f"{value:.3f}", (len(columns), place), **beside)
    axes.set_xticks(range(len(columns) + 1), [*map(label_of, names), "score"], fontsize=8)
    axes.set_yticks([])
    axes.set_xlim(-0.1, len(columns) + 0.4)
    axes.grid(axis="x", visible=True)
    axes.spines["left"].set_visible(False)
    return figure


def rung_cuts(run: RunFolder) -> "Figure":
    """Validation score per epoch of Phase 2's trainings; where a rung cut one, its line ends in a cross."""
    figure, axes = subplots(height=3.6)
    longest: dict[str, Training] = {}
    for trial in run.searched["phase2"]:
        identity = canonical_json(trial.trial["configured"])
        if identity not in longest or trial.metrics["epochs"] >= longest[identity].metrics["epochs"]:
            longest[identity] = trial
    for trial in longest.values():
        if run.metric not in trial.history:
            continue
        epochs, scores = trial.history["epoch"], trial.history[run.metric]
        went_on = trial.metrics["steps"] >= trial.trial["budget"]["total_steps"]
        axes.plot(epochs, scores, color=GREEN if went_on else GREY, alpha=0.9 if went_on else 0.6, linewidth=1.2)
        if not went_on:
            axes.scatter(epochs.iloc[-1:], scores.iloc[-1:], marker="x", color=RED, s=26, zorder=3)
    axes.plot([], [], color=GREEN, label="trained to the end")
    axes.scatter([], [], marker="x", color=RED, s=26, label="cut at a rung")
    for epoch in run.config["phase2"]["rungs"]["epochs"][:-1]:
        axes.axvline(epoch, color=ORANGE, linestyle=":", linewidth=1.2)
    level_line(axes, run.chance(run.metric))
    axes.set(xlabel="epoch (dotted: rungs)", ylabel=f"validation {metric_name(run.metric)}")
    axes.legend(loc="best")
    return figure


def importances(run: RunFolder) -> "Figure":
    """How much of the scores' spread each hyperparameter explains, with 95 % intervals."""
    table = run.importances.dropna(subset=["value"]).sort_values("value")
    if table.empty:
        return nothing("too few trials of Phase 2 to tell")
    figure, axes = subplots(height=0.4 * len(table) + 1.0)
    for position, (_, row) in enumerate(table.iterrows()):
        axes.barh(position, row["value"], color=BLUE, height=0.6)
        reach = [[max(0.0, row["value"] - row["low"])], [max(0.0, row["high"] - row["value"])]]
        axes.errorbar(row["value"], position, xerr=reach, color="black", capsize=3, linewidth=1.2)
    axes.set_yticks(range(len(table)), [label_of(name) for name in table["name"]])
    axes.set_xlabel("importance, 95 % interval")
    axes.grid(axis="y", visible=False)
    return figure


def stability(run: RunFolder) -> "Figure":
    """How often each of the best wins when the validation patients are drawn again."""
    stages = [stage for stage in ("phase2", "confirm") if winning_shares(run, stage)]
    if not stages:
        return nothing("fewer than two candidates have scores to compare")
    contests = [winning_shares(run, stage) for stage in stages]
    figure, axes = subplots(height=0.3 * max(map(len, contests)) + 1.2, columns=len(stages), squeeze=False)
    titles = {"phase2": "Phase 2, one training each", "confirm": "Confirmation, fresh seeds"}
    chosen = {stage: run.decisions.get("best" if stage == "confirm" else stage, {}).get("id") for stage in stages}
    for place, stage, shares in zip(axes[0], stages, contests, strict=True):
        names = list(shares)[::-1]
        colours = [GREEN if name == chosen[stage] else BLUE for name in names]
        place.barh(names, [shares[name] for name in names], color=colours, height=0.65)
        for position, name in enumerate(names):
            place.annotate(f"{shares[name]:.0%}", (shares[name], position), xytext=(4, 0), textcoords="offset points",
                           va="center", fontsize=8)  # fmt: skip
        place.set(title=titles[stage], xlabel="share of resamples won", xlim=(0, 1.12))
        place.grid(axis="y", visible=False)
    return figure


def learning_curves(run: RunFolder) -> "Figure":
    """Validation loss and score per epoch of the final trainings; the search's trials in grey."""
    import seaborn
    from matplotlib.collections import LineCollection

    figure, (left, right) = subplots(height=3.4, columns=2)
    for axes, column in ((left, "val_loss"), (right, run.metric)):
        lines = [
            training.history[["epoch", column]].to_numpy()
            for training in run.searched.get("phase2", [])
            if column in training.history
        ]
        axes.add_collection(LineCollection(lines, colors=GREY, alpha=0.35, linewidths=0.7))
        axes.autoscale_view()
    finals = [final for final in run.finals if final.kind != "ablation"]
    colours = dict(zip(dict.fromkeys(map(final_name, finals)), seaborn.color_palette("colorblind"), strict=False))
    for final in finals:
        name = final_name(final)
        for axes, column in ((left, "val_loss"), (right, run.metric)):
            if column in final.history:
                style = {"color": colours[name], "marker": "o", "markersize": 3, "label": name}
                axes.plot(final.history["epoch"], final.history[column], **style)
    level_line(right, run.chance(run.metric))
    left.set(xlabel="epoch", ylabel="validation loss")
    right.set(xlabel="epoch", ylabel=f"validation {metric_name(run.metric)}")
    handles, labels = right.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    figure.legend(unique.values(), unique.keys(), loc="outside lower center", ncols=3)
    return figure


def varied_hyperparameters(board: "pd.DataFrame") -> list[str]:
    """The hyperparameters that have more than one value on a leaderboard."""
    return [name for name in HYPERPARAMETERS if name in board and board[name].nunique(dropna=False) > 1]


class _Column:
    """One axis of the parallel coordinates: each row's place (0 to 1), and the ticks (place, label)."""

    def __init__(self, places: "list[float]", ticks: list[tuple[float, str]]):
        self.places, self.ticks = places, ticks


def _positions(values: "pd.Series", name: str) -> _Column:
    import pandas as pd

    if values.map(lambda value: isinstance(value, bool | str)).any():
        levels = sorted(values.astype(str).unique())
        place = {level: i / max(1, len(levels) - 1) for i, level in enumerate(levels)}
        return _Column([place[str(value)] for value in values], [(place[level], level) for level in levels])
    numbers = pd.to_numeric(values).astype(float)
    scale = np.log10(numbers) if HYPERPARAMETERS[name].log and (numbers > 0).all() else numbers
    low, span = scale.min(), (scale.max() - scale.min()) or 1.0
    places = ((scale - low) / span).tolist()
    found = dict(sorted(zip(numbers, places, strict=True)))
    shown = found if len(found) <= 6 else {value: found[value] for value in (min(found), max(found))}
    return _Column(places, [(place, setting(value)) for value, place in shown.items()])


def _ranking(run: RunFolder, stage: str) -> "Figure":
    import matplotlib.pyplot as plt

    board = run.boards[stage]
    varied = varied_hyperparameters(board)
    columns = max(1, min(3, len(varied)))
    slice_rows = -(-len(varied) // columns)
    ranks_height = 0.2 * min(len(board), MOST_RANKS) + 0.8
    figure = plt.figure(figsize=(WIDTH, ranks_height + 2.2 * slice_rows))
    grid = figure.add_gridspec(1 + slice_rows, columns, height_ratios=[ranks_height, *[2.2] * slice_rows])
    chosen = run.decisions.get(stage, {}).get("id")
    _ranks(figure.add_subplot(grid[0, :]), run, board.head(MOST_RANKS), chosen)
    for position, name in enumerate(varied):
        axes = figure.add_subplot(grid[1 + position // columns, position % columns])
        _slice(axes, run, board, name, chosen)
    return figure


def _ranks(axes: "Axes", run: RunFolder, board: "pd.DataFrame", chosen: str | None) -> None:
    positions = np.arange(len(board))[::-1]
    colours = [GREEN if name == chosen else RED if kind == "baseline" else BLUE
               for name, kind in zip(board["id"], board["kind"], strict=True)]  # fmt: skip
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
    level_line(axes, run.chance(run.metric), vertical=True)
    levels, _ = axes.get_legend_handles_labels()
    handles = [
        axes.scatter([], [], c=colour, s=22, label=label)
        for colour, label in (
            (GREEN, "chosen"),
            (RED, "default config"),
            (BLUE, "trial, with its standard error"),
        )
        if colour in colours
    ]
    axes.legend(handles=[*handles, *levels], loc="lower right")
    axes.set_xlabel(f"validation {metric_name(run.metric)}")


def _slice(axes: "Axes", run: RunFolder, board: "pd.DataFrame", name: str, chosen: str | None) -> None:
    """The score against one hyperparameter; a tick at each value that was tried."""
    values = board[name]
    if HYPERPARAMETERS[name].log:
        axes.set_xscale("log")
        plain_ticks(axes)
    if values.nunique() <= 6:
        ticks = sorted(values.dropna().unique())
        axes.set_xticks(ticks, [setting(value) for value in ticks])
        axes.set_xticks([], minor=True)
        axes.tick_params(axis="x", labelsize=7.5, rotation=45 if len(ticks) > 3 else 0)
    axes.scatter(values, board["metric"], color=BLUE, alpha=0.6, s=16)
    best = board[board["id"] == chosen]
    axes.scatter(best[name], best["metric"], color=GREEN, s=30, zorder=3)
    unit = HYPERPARAMETERS[name].unit
    axes.set(xlabel=f"{label_of(name)} ({unit})" if unit else label_of(name), ylabel=metric_name(run.metric))


def final_name(final: Final) -> str:
    """As the legend names a final model; the seeds of one share a name."""
    return {"tuned": f"winner, {final.encoder}", "baseline": "default config", "control": "shuffled texts"}[final.kind]
