"""A leaderboard as the page shows it: as a table, and as a figure of ranks beside what was varied."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from retclip.core.hyperparameters import HYPERPARAMETERS, label_of
from retclip.report import formatting as wording
from retclip.report.cells import Captioned, Table, TrialCell
from retclip.report.drawing import (
    BLUE,
    GRAY,
    GREEN,
    RED,
    ROW,
    SMALL,
    WIDTH,
    level_line,
    linked,
    named_rows,
    plain_ticks,
)
from retclip.report.names import trial_names
from retclip.report.run_folder import RunFolder

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Of a long search, the figure and the table show the best; the CSV and the table of all trials have the rest.
MOST_RANKS = 30
MOST_ROWS = 25


def varied_hyperparameters(board: "pd.DataFrame") -> list[str]:
    """The hyperparameters that have more than one value on a leaderboard."""
    return [name for name in HYPERPARAMETERS if name in board and board[name].nunique(dropna=False) > 1]


def leaderboard_table(board: "pd.DataFrame", chosen: str | None, names: Mapping[str, str]) -> Table:
    """Rank, trial, score, difference from the leader, cost; of a long one the best. names: of its trials."""
    heads = ["rank", "trial", "score ± SE", "behind the leader", "cost", "note"]
    board = board.head(MOST_ROWS)
    rows = []
    for _, row in board.iterrows():
        behind = wording.NOTHING
        if row["rank"] > 1 and row["difference"] == row["difference"]:
            behind = _with_error(wording.signed(row["difference"]), row["difference_se"])
        note = "" if row["note"] != row["note"] else row["note"]
        status = "" if row["status"] == "completed" else row["status"].replace("_", " ")
        rows.append(
            [
                str(row["rank"]),
                TrialCell(names.get(row["id"], row["id"]), row["id"]),
                _with_error(wording.score(row["metric"]), row["standard_error"]),
                behind,
                wording.duration(row["device_seconds"]),
                "; ".join(filter(None, (status, note))),
            ]
        )
    return Table(heads, rows, frozenset(i for i, name in enumerate(board["id"]) if name == chosen))


def _with_error(value: str, error: float) -> str:
    return value if error != error else f"{value} ± {wording.score(error)}"


def leaderboard_of(run: RunFolder, stage: str) -> dict[str, Captioned]:
    """The table of a stage, by its name; none where the stage has no leaderboard yet."""
    if stage not in run.boards:
        return {}
    board = run.boards[stage]
    chosen = run.decisions.get("best" if stage == "confirm" else stage, {}).get("id")
    more = f", the best {MOST_ROWS} of {len(board)}" if len(board) > MOST_ROWS else ""
    caption = f"{wording.STAGE_NAMES[stage]}: the leaderboard{more}"
    return {f"leaderboard_{stage}": Captioned(caption, leaderboard_table(board, chosen, trial_names(run)))}


def draw_ranking(run: RunFolder, stage: str) -> "Figure":
    """The trials of a stage with their standard errors, and the score against what was varied."""
    import matplotlib.pyplot as plt

    board = run.boards[stage]
    varied = varied_hyperparameters(board)
    columns = max(1, min(2, len(varied)))
    slice_rows = -(-len(varied) // columns)
    heights = [ROW * min(len(board), MOST_RANKS) + 1.1, max(2.2 * slice_rows, 0.01)]
    figure = plt.figure(figsize=(WIDTH, sum(heights)))
    halves: Any = figure.subfigures(2, 1, height_ratios=heights)
    upper, lower = halves
    chosen = run.decisions.get(stage, {}).get("id")
    _ranks(upper.subplots(), run, board.head(MOST_RANKS), chosen)
    for position, name in enumerate(varied):
        axes = lower.add_subplot(slice_rows, columns, position + 1)
        _slice(axes, run, board, name, chosen)
    return figure


def _ranks(axes: "Axes", run: RunFolder, board: "pd.DataFrame", chosen: str | None) -> None:
    positions = np.arange(len(board))[::-1]
    colors = [GREEN if name == chosen else RED if kind == "baseline" else BLUE
               for name, kind in zip(board["id"], board["kind"], strict=True)]  # fmt: skip
    axes.errorbar(
        board["metric"],
        positions,
        xerr=board["standard_error"].fillna(0.0),
        fmt="none",
        ecolor=GRAY,
        linewidth=1,
    )
    linked(axes.scatter(board["metric"], positions, c=colors, zorder=3, s=26), board["id"])
    named_rows(axes, list(board["id"])[::-1], trial_names(run))
    level_line(axes, run.chance(run.metric), vertical=True)
    levels, _ = axes.get_legend_handles_labels()
    handles = [
        axes.scatter([], [], c=color, s=22, label=label)
        for color, label in (
            (GREEN, "chosen"),
            (RED, "baseline"),
            (BLUE, "trial, with its standard error"),
        )
        if color in colors
    ]
    axes.legend(handles=[*handles, *levels], loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=SMALL)
    axes.set_xlabel(f"validation {wording.metric_name(run.metric)}")


def _slice(axes: "Axes", run: RunFolder, board: "pd.DataFrame", name: str, chosen: str | None) -> None:
    """The score against one hyperparameter; a tick at each value that was tried."""
    values, places = board[name], board[name]
    if HYPERPARAMETERS[name].is_numeric:
        if HYPERPARAMETERS[name].log:
            axes.set_xscale("log")
            plain_ticks(axes)
        ticks = {value: value for value in sorted(values.dropna().unique())}
    else:
        ticks = {value: place for place, value in enumerate(sorted(values.unique(), key=str))}
        places = values.map(ticks)
    if len(ticks) <= 6:
        axes.set_xticks(list(ticks.values()), [wording.setting(value) for value in ticks])
        axes.set_xticks([], minor=True)
    axes.tick_params(axis="both", labelsize=SMALL)
    axes.tick_params(axis="x", rotation=45 if len(ticks) > 3 else 0)
    linked(axes.scatter(places, board["metric"], color=BLUE, alpha=0.6, s=20), board["id"])
    best = board["id"] == chosen
    axes.scatter(places[best], board["metric"][best], color=GREEN, s=34, zorder=3)
    unit = HYPERPARAMETERS[name].unit
    axes.set_ylabel(wording.metric_name(run.metric))
    # from its right end: a long one in the middle would run out of the figure
    axes.set_xlabel(f"{label_of(name)} ({unit})" if unit else label_of(name), loc="right")
