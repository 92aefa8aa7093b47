"""Scores out of tables of predictions, slowly and by other means than the report's."""

import json
from pathlib import Path

import numpy as np
import pandas as pd


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
