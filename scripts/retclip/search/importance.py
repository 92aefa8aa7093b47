"""How much each tuned hyperparameter mattered in a search, with an interval: at 20 trials a bare number misleads."""

from typing import TYPE_CHECKING, Any

from retclip.core.facts import FAILED

if TYPE_CHECKING:
    import pandas as pd

# With fewer trials an interval spans from nothing to everything.
LEAST_TRIALS = 10
TREES = 32
INTERVAL = (0.025, 0.975)


def importances(board: "pd.DataFrame", names: list[str], draws: int = 100, seed: int = 0) -> list[dict[str, Any]]:
    """[{name, value, low, high}], the most important first; value is the share of the score's variance (they sum to 1).

    board: a leaderboard. Optuna's fANOVA (Hutter, Hoos and Leyton-Brown 2014) on the trials, and the 95 % CI of
    a bootstrap over them. A broken trial counts as the worst; one that stands on its rung is left out. Empty where
    fewer than LEAST_TRIALS are left, or fewer than two of `names` were varied.
    """
    told = board[board["may_be_chosen"] | board["status"].isin(FAILED)]
    varied = [name for name in names if told[name].nunique() > 1]
    if told["metric"].nunique() < 2 or len(told) < LEAST_TRIALS or len(varied) < 2:
        return []
    import numpy as np

    scores = told["metric"].fillna(told["metric"].min()).to_numpy()
    # by its place among what was tried, so that neighbors are neighbors, whatever the scale
    places = {name: told[name].rank(method="dense").astype(int).to_numpy() - 1 for name in varied}
    generator = np.random.default_rng(seed)
    found = _fanova(places, scores, seed)
    drawn = [_fanova(places, scores, seed, generator.integers(0, len(told), len(told))) for _ in range(draws)]
    rows = []
    for name in sorted(found, key=lambda name: (-found[name], varied.index(name))):
        low, high = np.quantile([shares[name] for shares in drawn], INTERVAL)
        # a small sample's bootstrap leans to one side: the interval at least holds the value
        rows.append({"name": name, "value": found[name], "low": min(low, found[name]), "high": max(high, found[name])})
    return rows


def _fanova(places: dict[str, Any], scores: Any, seed: int, rows: Any = slice(None)) -> dict[str, float]:
    """Optuna's importances of the trials at `rows`."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    span: dict[str, Any] = {
        name: optuna.distributions.IntDistribution(0, int(place.max())) for name, place in places.items()
    }
    study = optuna.create_study()
    columns = {name: place[rows].tolist() for name, place in places.items()}
    for position, score in enumerate(scores[rows].tolist()):
        params = {name: column[position] for name, column in columns.items()}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=span, value=score))
    if len(set(scores[rows].tolist())) < 2:
        return dict.fromkeys(places, 1 / len(places))
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=TREES, seed=seed)
    shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(shares.get(name, 0.0)) for name in places}
