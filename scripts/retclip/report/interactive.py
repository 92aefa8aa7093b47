"""Interactive twins of the search's figures, made by Optuna's own functions; drawn by Plotly in the browser."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from retclip.core.hyperparameters import HYPERPARAMETERS
from retclip.report.formatting import metric_name
from retclip.report.leaderboards import varied_hyperparameters
from retclip.report.run_folder import RunFolder

if TYPE_CHECKING:
    import optuna
    import pandas as pd


def interactive_plots(run: RunFolder) -> dict[str, str]:
    """Name of the static twin -> its plot as Plotly's JSON, safe to stand in a script element."""
    found: dict[str, str] = {}
    for stage in ("phase1", "phase2"):
        if stage in run.boards:
            study = _study(run, stage)
            if len(study.trials) > 1:
                found |= {name: _json(plot) for name, plot in _plots(study, stage, metric_name(run.metric)).items()}
    return found


def plotting_script() -> str:
    """Plotly's own script, some 4.8 MB, as text."""
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()


def _plots(study: "optuna.Study", stage: str, target: str) -> dict[str, Any]:
    from optuna import visualization

    wanted: dict[str, Callable] = {f"rank_{stage}": visualization.plot_slice}
    if stage == "phase2":
        wanted |= {
            "best_so_far": visualization.plot_optimization_history,
            "parallel_coordinates": visualization.plot_parallel_coordinate,
        }
    if not study.trials[0].params:
        wanted = {name: plot for name, plot in wanted.items() if plot is visualization.plot_optimization_history}
    return {name: plot(study, target_name=f"validation {target}") for name, plot in wanted.items()}


def _study(run: RunFolder, stage: str) -> "optuna.Study":
    """The trials of a leaderboard that have a score, in the order in which they were proposed."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    board = run.boards[stage]
    order = {finished.id: position for position, finished in enumerate(run.searched[stage])}
    board = board[board["metric"].notna()].sort_values("id", key=lambda ids: ids.map(order))
    names = varied_hyperparameters(board)
    distributions = {name: _distribution(name, board[name]) for name in names}
    study = optuna.create_study(direction="maximize")
    for _, row in board.iterrows():
        params = {name: _plain(row[name]) for name in names}
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=distributions, value=float(row["metric"]))
        )
    return study


def _distribution(name: str, values: "pd.Series") -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    plain = [_plain(value) for value in values]
    if any(isinstance(value, bool | str) or value is None for value in plain):
        return CategoricalDistribution(list(dict.fromkeys(plain)))
    if all(isinstance(value, int) for value in plain):
        return IntDistribution(min(plain), max(plain))
    return FloatDistribution(min(plain), max(plain), log=HYPERPARAMETERS[name].log and min(plain) > 0)


def _plain(value: Any) -> Any:
    """A table's cell as Optuna takes it: numpy scalars become Python's, an empty cell none."""
    plain = value.item() if hasattr(value, "item") else value
    return None if plain != plain else plain


def _json(figure: Any) -> str:
    figure.update_layout(title=None, margin={"l": 60, "r": 30, "t": 30, "b": 50}, template="none",
                         paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)")  # fmt: skip
    # "<" may not end the script element that holds it
    return figure.to_json().replace("<", "\\u003c")
