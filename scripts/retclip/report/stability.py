"""How sure the choice is: whether other patients, seeds or luck would have chosen another trial."""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from retclip.core.config import strategy_facts
from retclip.metrics.metrics_document import Metrics
from retclip.metrics.registry import SEVERAL_LABELS
from retclip.metrics.scores import draws_of
from retclip.report.run_folder import FinishedTrial, RunFolder

# So many of the best are resampled; whoever is further behind wins no resample.
CONTENDERS = 8
BAND = (0.05, 0.5, 0.95)
ORDERS = 2000


class Reference(NamedTuple):
    """quantiles: [3, trials] of the best so far (see BAND); label: what was drawn at random."""

    quantiles: np.ndarray
    label: str


def best_so_far(scores: list[float | None]) -> np.ndarray:
    """The running maximum [N]; NaN until the first score."""
    values = np.array([np.nan if score is None else score for score in scores], dtype=float)
    return np.fmax.accumulate(values)


def random_reference(run: RunFolder) -> Reference | None:
    """Where the best so far of random trials would run, [3, trials].

    Where every trial was drawn without looking at earlier ones, in the band lie the orders in which they might have
    come. Where the search learned, its first round alone is random: so many trials are drawn from that with
    replacement, which cannot exceed the best of it.
    """
    trials = run.searched["phase2"]
    scores = np.array([_number(trial.score(run.metric)) for trial in trials])
    generator = np.random.default_rng(0)
    if "learns" not in strategy_facts(run.config):
        pool, label = scores, "random orders of the same trials, 90 %"
        drawn = np.array([generator.permutation(pool) for _ in range(ORDERS)])
    else:
        first = np.array([(trial.trial.bracket, trial.trial.rung) == (0, 0) for trial in trials])
        pool, label = scores[first], f"random trials, drawn from the first {first.sum()}, 90 %"
        drawn = generator.choice(pool, (ORDERS, len(scores))) if len(pool) else np.zeros((0, 0))
    if np.isfinite(pool).sum() < 2:
        return None
    reached = np.fmax.accumulate(drawn, axis=1)
    return Reference(np.nanquantile(np.nan_to_num(reached, nan=np.nanmin(pool)), BAND, axis=0), label)


def winning_shares(run: RunFolder, stage: str) -> dict[str, float]:
    """Candidate -> the share of resamples of the validation patients, and of its seeds, in which it scores best; best
    first. Candidates of equal seeds are scored on the same ones.

    Empty with fewer than two candidates that have scores, and on an interim page whose predictions were removed.
    """
    candidates = candidates_of(run, stage)
    files = [one.folder / "val_predictions.parquet" for members in candidates.values() for one in members]
    if len(candidates) < 2 or (run.interim and not all(file.is_file() for file in files)):
        return {}
    draws = np.array([_drawn(run.metric, members) for members in candidates.values()])
    draws = draws[:, np.isfinite(draws).all(axis=0)]
    if not draws.size:
        return {}
    return dict(zip(candidates, shares_of_wins(draws).tolist(), strict=True))


def shares_of_wins(draws: np.ndarray) -> np.ndarray:
    """Of draws [candidates, draws], the share that each candidate wins [candidates]; who ties shares the win."""
    best = draws == draws.max(axis=0)
    return (best / best.sum(axis=0)).mean(axis=1)


def candidates_of(run: RunFolder, stage: str) -> dict[str, list[FinishedTrial]]:
    """The best of a leaderboard that may be chosen -> their trials: one, or one per fresh seed."""
    if stage not in run.boards or (stage not in run.decisions and stage != "confirm"):
        return {}
    board = run.boards[stage]
    able = board[board["may_be_chosen"]].head(CONTENDERS)
    members = {
        name: [one for one in run.searched[stage] if name in (one.id, one.trial.candidate)] for name in able["id"]
    }
    return {name: found for name, found in members.items() if found}


def choices_by_one_seed(run: RunFolder) -> dict[int, str]:
    """Fresh seed -> the finalist that it alone would have chosen."""
    finalists = candidates_of(run, "confirm")
    best: dict[int, tuple[float, str]] = {}
    for name, trials in finalists.items():
        for finished in trials:
            score = finished.score(run.metric)
            seed = finished.trial.seed
            if score is not None and score > best.get(seed, (-np.inf, ""))[0]:
                best[seed] = score, name
    return {seed: name for seed, (_, name) in sorted(best.items())}


def _drawn(metric: str, members: list[FinishedTrial]) -> np.ndarray:
    """The mean score [draws] of seeds, drawn with replacement, in each resample of the patients.

    Of n seeds n - 1 are drawn: n of n would vary too little, by (n - 1) / n (Rao and Wu, Resampling inference with
    complex survey data, J. Am. Stat. Assoc. 83, 1988).
    """
    ordered = sorted(members, key=lambda one: one.trial.seed)
    values = np.array([_draws(metric, one.folder) for one in ordered])
    picks = np.random.default_rng([0, 1]).integers(0, len(values), size=(values.shape[1], max(1, len(values) - 1)))
    return values[picks, np.arange(values.shape[1])[:, None]].mean(axis=1)


@lru_cache(maxsize=64)
def _draws(metric: str, folder: Path) -> np.ndarray:
    import pandas as pd

    classes: list[str] = []
    if metric in SEVERAL_LABELS:  # the one kind that has to know which class each score is of
        classes = sorted(Metrics.read(folder / "metrics.json").trial.class_prompts)
    return draws_of(metric, pd.read_parquet(folder / "val_predictions.parquet"), classes=classes)


def _number(score: float | None) -> float:
    return np.nan if score is None else score
