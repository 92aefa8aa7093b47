"""Scores out of tables of predictions, slowly and by other means than the report's."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.stats import binom


def score_columns(table: pd.DataFrame) -> list[str]:
    return [name for name in table if name.startswith("score_")]


def balanced_accuracy(table: pd.DataFrame) -> float:
    """Slowly: the mean over the classes that are there of the share named rightly."""
    scored = table[table["target"] >= 0]
    scores = scored[[name for name in table if name.startswith("score_")]].to_numpy()
    right = scores.argmax(axis=1) == scored["target"].to_numpy()
    return float(pd.Series(right).groupby(scored["target"].to_numpy()).mean().mean())


def mean_accuracy(tables: list[pd.DataFrame]) -> float:
    return float(np.mean([balanced_accuracy(table) for table in tables]))


def resampled(tables: list[pd.DataFrame], value, seeds: int) -> tuple[float, float]:
    """95 % interval of `value(tables)` over patients and seeds, drawn by other means than the report's.

    tables: one a seed, of one model or of two after each other.
    """
    if value is mean_accuracy and seeds == 1 and (counts := patients_of_classes(tables[0])).min() < 20:
        return mean_of_recalls(tables[0], counts)
    generator = np.random.default_rng(7)
    rows = tables[0].groupby("patient_id").indices
    patients = list(rows)
    draws = []
    for _ in range(400):
        picked = np.concatenate([rows[patients[i]] for i in generator.integers(0, len(patients), len(patients))])
        training_runs = generator.integers(0, seeds, seeds)
        models = [tables[start : start + seeds] for start in range(0, len(tables), seeds)]
        draws.append(value([model[position].iloc[picked] for model in models for position in training_runs]))
    return tuple(np.quantile(draws, [0.025, 0.975]))


def patients_of_classes(table: pd.DataFrame) -> pd.Series:
    """Of each class that is there."""
    return table[table["target"] >= 0].groupby("target")["patient_id"].nunique()


def mean_of_recalls(table: pd.DataFrame, counts: pd.Series) -> tuple[float, float]:
    """95 % interval of a mean of recalls where a class is rare: between the means under which so high a score, and so
    low a one, has a chance of 2.5 %, by drawn studies and a general optimizer."""
    scored = table[table["target"] >= 0]
    right = scored[score_columns(table)].to_numpy().argmax(axis=1) == scored["target"]
    recall, patients = right.groupby(scored["target"]).mean().to_numpy(), counts.to_numpy()
    uniform = np.random.default_rng(11).random((4000, len(patients)))

    def likeliest(mean: float, more: int) -> np.ndarray:
        hits, misses = recall * patients + more, (1 - recall) * patients + more
        found = minimize(
            lambda share: -(hits @ np.log(share) + misses @ np.log(1 - share)), np.full(len(patients), mean),
            jac=lambda share: misses / (1 - share) - hits / share, bounds=[(1e-6, 1 - 1e-6)] * len(patients),
            constraints={"type": "eq", "fun": lambda share: share.mean() - mean, "jac": np.ones_like},
            method="SLSQP", options={"maxiter": 300},
        )  # fmt: skip
        return found.x / max(1.0, found.x.mean() / mean)

    def is_likely(mean: float, more: int, side: int) -> bool:
        drawn = (binom.ppf(uniform, patients, likeliest(mean, more)) / patients).mean(axis=1)
        return bool((side * (drawn - recall.mean()) >= -1e-3).mean() > 0.025)

    def end(side: int, more: int) -> float:
        likely, other = recall.mean(), 0.0 if side > 0 else 1.0
        for _ in range(9):
            middle = (likely + other) / 2
            likely, other = (middle, other) if is_likely(middle, more, side) else (likely, middle)
        return likely

    return min(end(1, 0), end(1, 1)), max(end(-1, 0), end(-1, 1))


def recommend(run: Path, encoder: str) -> None:
    """Rewrites the recommendation of a run, whose best text encoder on validation may be another by chance."""
    path = run / "final/recommendation.json"
    found = json.loads(path.read_text())
    scores = {name: 0.9 if name == encoder else 0.1 for name in found["val_scores"]}
    path.write_text(json.dumps({**found, "encoder": encoder, "val_scores": scores}))


def name_rightly(folder: Path, share: float) -> tuple[pd.DataFrame, np.ndarray]:
    """Rewrites predictions.parquet of a final model, as if it named this share of the units rightly; returns it, and
    the class that each unit is named."""
    table = pd.read_parquet(folder / "predictions.parquet")
    columns = score_columns(table)
    generator = np.random.default_rng(3)
    right = generator.random(len(table)) < share
    named = np.where(right, table["target"], generator.integers(0, len(columns), len(table)))
    table[columns] = np.eye(len(columns))[named]
    table.to_parquet(folder / "predictions.parquet")
    return table, named
