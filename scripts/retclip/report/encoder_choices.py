"""What each text encoder has of a configuration: the tuned one, a learning rate of its own, or a search of its own."""

from typing import TYPE_CHECKING, Any

from retclip.core.hyperparameters import HYPERPARAMETERS
from retclip.metrics.differences import corrected
from retclip.report.run_folder import OWN, RunFolder

if TYPE_CHECKING:
    import pandas as pd


def decided_apart(run: RunFolder) -> list[str]:
    """The text encoders beside the search's that have a decision of their own."""
    return [name.removeprefix(OWN) for name in run.decisions if name.startswith(OWN)]


def searched_apart(run: RunFolder) -> list[str]:
    """Of these, all that a search has chosen a configuration for; none where a flat Phase 1 has ended the searches."""
    return [encoder for encoder in decided_apart(run) if not _is_ended(run, run.encoder_boards[encoder])]


def decision_of(run: RunFolder, encoder: str) -> dict[str, Any]:
    """best.json of the search that chose this text encoder's configuration."""
    return run.decisions.get(f"{OWN}{encoder}", run.decisions["best"])


def how_tuned(run: RunFolder, encoder: str) -> str:
    """Whether the configuration was chosen with this text encoder."""
    if encoder == run.search_encoder or encoder in searched_apart(run):
        return "tuned with it"
    return (
        "inherited" if run.config["final"]["learning_rate_factors"] == [1.0] else "inherited but for its learning rate"
    )


def boards_of_searches(run: RunFolder) -> "dict[str, pd.DataFrame]":
    """Text encoder -> the leaderboard of its search, the search encoder's first."""
    own = {name: run.encoder_boards[name] for name in searched_apart(run)}
    return {run.search_encoder: run.boards["phase2"], **own}


def p_values(run: RunFolder) -> dict[str, float | None]:
    """Text encoder -> the p-value of its search having learned nothing, corrected for all trials of it, and by Holm's
    rule for all searches; None where a search has none."""
    found = {name: _best_p(board) for name, board in boards_of_searches(run).items()}
    return {**found, **corrected({name: p for name, p in found.items() if p is not None})}


def _is_ended(run: RunFolder, board: "pd.DataFrame") -> bool:
    """Whether a search tried the best of Phase 1 alone."""
    tried = [board[name].nunique(dropna=False) for name in HYPERPARAMETERS if name in board]
    # a run of an earlier version has no such key
    return bool(run.config["phase2"].get("stop_when_flat")) and max(tried, default=1) == 1


def _best_p(board: "pd.DataFrame") -> float | None:
    """Of the highest score of a leaderboard."""
    scored = board[board["may_be_chosen"] & board["metric"].notna()]
    p = scored.loc[scored["metric"].idxmax(), "p_value"] if len(scored) else float("nan")
    return None if p != p else float(p)
