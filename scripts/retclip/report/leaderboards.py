"""A leaderboard as the page shows it: as a table, and as a figure of ranks beside what was varied."""

from typing import TYPE_CHECKING

import numpy as np

from retclip.core.hyperparameters import HYPERPARAMETERS, label_of
from retclip.report import formatting as wording
from retclip.report.cells import Captioned, Table
from retclip.report.drawing import BLUE, GRAY, GREEN, RED, WIDTH, level_line, plain_ticks
from retclip.report.run_folder import RunFolder

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Of a long search, the figure and the table show the best; the CSV and the table of all trials have the rest.
MOST_RANKS = 40
MOST_ROWS = 25


def varied_hyperparameters(board: "pd.DataFrame") -> list[str]:
    """The hyperparameters that have more than one value on a leaderboard."""
    return [name for name in HYPERPARAMETERS if name in board and board[name].nunique(dropna=False) > 1]


def leaderboard_table(board: "pd.DataFrame", chosen: str | None) -> Table:
    """Rank, id, what was varied, score, difference from the leader, cost; of a long one the best."""
    varied = varied_hyperparameters(board)
    heads = [
        "rank",
        "trial",
        *map(label_of, varied),
        "score",
        "± SE",
        "behind the leader",
        "cost",
        "note",
    ]
    board = board.head(MOST_ROWS)
    rows = []
    for _, row in board.iterrows():
        behind = wording.NOTHING
        if row["rank"] > 1 and row["difference"] == row["difference"]:
            behind = f"{wording.signed(row['difference'])} ± {wording.score(row['difference_se'])}"
        note = "" if row["note"] != row["note"] else row["note"]
        status = "" if row["status"] == "completed" else row["status"].replace("_", " ")
        rows.append(
            [
                str(row["rank"]),
                row["id"],
                *(wording.setting(row[name]) for name in varied),
                wording.score(row["metric"]),
                wording.score(row["standard_error"]),
                behind,
                wording.duration(row["device_seconds"]),
                "; ".join(filter(None, (status, note))),
            ]
        )
    return Table(heads, rows, frozenset(i for i, name in enumerate(board["id"]) if name == chosen))


def leaderboard_of(run: RunFolder, stage: str) -> dict[str, Captioned]:
    """The table of a stage, by its name; none where the stage has no leaderboard yet."""
    if stage not in run.boards:
        return {}
    board = run.boards[stage]
    chosen = run.decisions.get("best" if stage == "confirm" else stage, {}).get("id")
    more = f", the best {MOST_ROWS} of {len(board)}" if len(board) > MOST_ROWS else ""
    caption = f"{wording.STAGE_NAMES[stage]}: the leaderboard{more}"
    return {f"leaderboard_{stage}": Captioned(caption, leaderboard_table(board, chosen))}


def draw_ranking(run: RunFolder, stage: str) -> "Figure":
    """The trials of a stage with their standard errors, and the score against what was varied."""
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
    axes.scatter(board["metric"], positions, c=colors, zorder=3, s=22)
    axes.set_yticks(positions, board["id"], fontsize=7.5)
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
    axes.legend(handles=[*handles, *levels], loc="lower right")
    axes.set_xlabel(f"validation {wording.metric_name(run.metric)}")


def _slice(axes: "Axes", run: RunFolder, board: "pd.DataFrame", name: str, chosen: str | None) -> None:
    """The score against one hyperparameter; a tick at each value that was tried."""
    values = board[name]
    if HYPERPARAMETERS[name].log:
        axes.set_xscale("log")
        plain_ticks(axes)
    if values.nunique() <= 6:
        ticks = sorted(values.dropna().unique())
        axes.set_xticks(ticks, [wording.setting(value) for value in ticks])
        axes.set_xticks([], minor=True)
        axes.tick_params(axis="x", labelsize=7.5, rotation=45 if len(ticks) > 3 else 0)
    axes.scatter(values, board["metric"], color=BLUE, alpha=0.6, s=16)
    best = board[board["id"] == chosen]
    axes.scatter(best[name], best["metric"], color=GREEN, s=30, zorder=3)
    unit = HYPERPARAMETERS[name].unit
    axes.set(xlabel=f"{label_of(name)} ({unit})" if unit else label_of(name), ylabel=wording.metric_name(run.metric))
