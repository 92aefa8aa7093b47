"""Phase 2: the search near the best of the grid."""

from typing import TYPE_CHECKING

import numpy as np

from retclip.core.config import strategy_facts
from retclip.core.hyperparameters import HYPERPARAMETERS, label_of
from retclip.core.io import canonical_json
from retclip.report.cells import Captioned
from retclip.report.drawing import BLUE, GRAY, GREEN, ORANGE, RED, SMALL, level_line, nothing, subplots
from retclip.report.formatting import metric_name, setting
from retclip.report.leaderboards import draw_ranking, leaderboard_of, varied_hyperparameters
from retclip.report.run_folder import FinishedTrial, RunFolder
from retclip.report.section import Section
from retclip.report.stability import best_so_far, random_reference

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

TEXT = """
{% if "phase2" in run.decisions %}
<p>Strategy {{ run.config.phase2.strategy }}.
Chosen: {{ names[run.decisions.phase2.id] }} <small>{{ run.decisions.phase2.id }}</small>,
{{ run.decisions.phase2.reason }}.</p>
{% else %}
<p>Nothing is chosen yet; {{ run.boards.phase2 | length }} trials have finished.</p>
{% endif %}
{{ figure("best_so_far") }}
{{ figure("parallel_coordinates") }}
{{ figure("rank_phase2") }}
{{ figure("importances") }}
{% if "importances" in figures %}
<p class="note">optuna-dashboard may show other importances: it computes them from values, this figure from ranks among
the values that were tried.</p>
{% endif %}
{{ figure("rung_cuts") }}
{{ table("leaderboard_phase2") }}
"""


def draw_rank_phase2(run: RunFolder) -> "Figure":
    """The trials of Phase 2 with their standard errors, and the score against what was varied."""
    return draw_ranking(run, "phase2")


def draw_best_so_far(run: RunFolder) -> "Figure":
    """The best score after each trial, over what the same number of random trials would have reached."""
    trials = run.searched["phase2"]
    scores = [trial.score(run.metric) for trial in trials]
    found = best_so_far(scores)
    if not np.isfinite(found).any():
        return nothing("no trial of Phase 2 has a score")
    figure, axes = subplots(height=3.4)
    places = np.arange(1, len(scores) + 1)
    reference = random_reference(run)
    if reference is not None:
        low, middle, high = reference.quantiles
        axes.fill_between(places, low, high, color=GRAY, alpha=0.3, linewidth=0, label=reference.label)
        axes.plot(places, middle, color=GRAY, linestyle="--", linewidth=1)
    axes.scatter(places, [np.nan if s is None else s for s in scores], color=BLUE, alpha=0.6, s=18, label="trial")
    axes.step(places, found, where="post", color=GREEN, linewidth=2, label="best so far")
    level_line(axes, run.chance(run.metric))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel="trials of Phase 2, in the order of their proposal", ylabel=f"validation {metric_name(run.metric)}")
    axes.legend(loc="best")
    return figure


def draw_parallel_coordinates(run: RunFolder) -> "Figure":
    """Every trial of Phase 2 as a line through its hyperparameters, colored by its score; each is a lying axis."""
    import matplotlib.pyplot as plt
    from matplotlib.patheffects import withStroke

    board = run.boards["phase2"]
    board = board[board["metric"].notna()].sort_values("metric")
    names = varied_hyperparameters(board)
    if len(board) < 2 or not names:
        return nothing("no two trials of Phase 2 differ")
    lines = [_positions(board[name], name) for name in names]
    figure, axes = subplots(height=0.5 * (len(lines) + 1) + 0.7)
    low, high = board["metric"].min(), board["metric"].max()
    span = (high - low) or 1.0
    colors = plt.get_cmap("cividis_r")
    steps = range(len(lines), -1, -1)  # from above: the score is the lowest
    for row in range(len(board)):
        share = (board["metric"].iloc[row] - low) / span
        best = row == len(board) - 1
        axes.plot([*(line.places[row] for line in lines), share], steps, color=colors(share),
                  alpha=1.0 if best else 0.6, linewidth=2.6 if best else 1.0)  # fmt: skip
    ticks = [*(line.ticks for line in lines), [(0.0, f"{low:.3f}"), (1.0, f"{high:.3f}")]]
    for step, marks in zip(steps, ticks, strict=True):
        for place, label in marks:
            axes.annotate(label, (place, step), xytext=(0, 4), textcoords="offset points", fontsize=SMALL,
                          ha="center", path_effects=[withStroke(linewidth=3, foreground="white")])  # fmt: skip
    axes.set_yticks(steps, [*map(label_of, names), "score"])
    axes.set_xticks([])
    axes.set(xlim=(-0.08, 1.08), ylim=(-0.3, len(lines) + 0.6))
    axes.spines["bottom"].set_visible(False)
    return figure


def draw_rung_cuts(run: RunFolder) -> "Figure | None":
    """Validation score per epoch of Phase 2's trials; a line that a rung cut ends in a cross. None without rungs."""
    if "has_rungs" not in strategy_facts(run.config) or not run.searched["phase2"]:
        return None
    figure, axes = subplots(height=3.6)
    longest: dict[str, FinishedTrial] = {}
    for trial in run.searched["phase2"]:
        identity = canonical_json(trial.trial.configured)
        if identity not in longest or trial.metrics.epochs >= longest[identity].metrics.epochs:
            longest[identity] = trial
    for trial in longest.values():
        if run.metric not in trial.history:
            continue
        epochs, scores = trial.history["epoch"], trial.history[run.metric]
        went_on = trial.metrics.steps >= trial.trial.budget.total_steps
        axes.plot(epochs, scores, color=GREEN if went_on else GRAY, alpha=0.9 if went_on else 0.6, linewidth=1.2)
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


def draw_importances(run: RunFolder) -> "Figure | None":
    """How much of the scores' spread each hyperparameter explains, with 95 % CIs; none before that is known."""
    if run.importances is None:
        return None
    table = run.importances.dropna(subset=["value"]).sort_values("value")
    if table.empty:
        return nothing("too few trials of Phase 2 to tell")
    figure, axes = subplots(height=0.4 * len(table) + 1.0)
    for position, (_, row) in enumerate(table.iterrows()):
        axes.barh(position, row["value"], color=BLUE, height=0.6)
        reach = [[max(0.0, row["value"] - row["low"])], [max(0.0, row["high"] - row["value"])]]
        axes.errorbar(row["value"], position, xerr=reach, color="black", capsize=3, linewidth=1.2)
    axes.set_yticks(range(len(table)), [label_of(name) for name in table["name"]])
    axes.set_xlabel("importance, 95 % CI")
    axes.grid(axis="y", visible=False)
    return figure


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


def _tables(run: RunFolder) -> dict[str, Captioned]:
    return leaderboard_of(run, "phase2")


SECTION = Section(
    "Phase 2",
    TEXT,
    is_ready=lambda run: "phase2" in run.boards,
    figures={
        "rank_phase2": draw_rank_phase2,
        "best_so_far": draw_best_so_far,
        "parallel_coordinates": draw_parallel_coordinates,
        "rung_cuts": draw_rung_cuts,
        "importances": draw_importances,
    },
    tables=_tables,
)
