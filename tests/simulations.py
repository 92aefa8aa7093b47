"""Made-up studies whose truth is known, for tests of the statistics and for `make check-statistics`."""

import numpy as np
import pandas as pd

from retclip.metrics.differences import Seeds

# Of the variance between patients: what all models share, what a configuration has of its own, and what a seed has.
SHARED, OWN = 0.5, 0.25


def predictions(target: np.ndarray, values: np.ndarray, **columns) -> pd.DataFrame:
    """A predictions table of one view a patient."""
    names = [f"p{i}" for i in range(len(target))]
    table = pd.DataFrame({"sample_id": names, "patient_id": names, "target": target, **columns})
    return table.assign(**{f"score_{k}": values[:, k] for k in range(values.shape[1])})


def unlearned(generator, models=1, patients=200, classes=8, width=16, learned=0.0) -> list[pd.DataFrame]:
    """Predictions of models whose images are clustered by class and whose class directions are random; `learned` moves
    each direction towards its class."""
    target = generator.integers(0, classes, patients)
    tables = []
    for _ in range(models):
        centers = generator.normal(size=(classes, width))
        images = centers[target] + 0.7 * generator.normal(size=(patients, width))
        directions = generator.normal(size=(classes, width)) + learned * centers
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        tables.append(predictions(target, images @ directions.T))
    return tables


def two_equal_configurations(generator, weights: np.ndarray, seeds: int, ratio: float) -> tuple[Seeds, Seeds]:
    """Two configurations of the same expected score 0, the mean over patients.

    weights: resamples of the patients [draws, N]. ratio: the standard deviation between seeds over the standard error
    of one model's score over patients.
    """
    patients = weights.shape[1]
    shared = generator.normal(size=patients) * np.sqrt(SHARED)
    found = []
    for _ in range(2):
        own = shared + generator.normal(size=patients) * np.sqrt(OWN)
        each = own + generator.normal(size=(seeds, patients)) * np.sqrt(1 - SHARED - OWN)
        each += ratio / np.sqrt(patients) * generator.normal(size=(seeds, 1))
        found.append(Seeds(each.mean(axis=1).tolist(), (weights @ each.T).T / patients, patients))
    return found[0], found[1]


def seeds_drawn_again(first: Seeds, second: Seeds) -> tuple[float, float]:
    """As it was before: the 95 % interval of a percentile bootstrap that draws n of n seeds with the patients."""
    generator = np.random.default_rng(0)
    means = []
    for one in (first, second):
        count, draws = one.draws.shape
        picks = generator.integers(0, count, size=(draws, count))
        means.append(one.draws[picks, np.arange(draws)[:, None]].mean(axis=1))
    low, high = np.quantile(means[0] - means[1], [0.025, 0.975])
    return float(low), float(high)


LANDSCAPES = ("flat", "peak", "sharp", "rugged")
SEARCHED = {"learning_rate": np.geomspace(1e-5, 1e-3, 9), "batch_size": [32, 64, 128], "weight_decay": [0.0, 0.1, 0.3],
            "temperature": [0.03, 0.07, 0.1, 0.3]}  # fmt: skip


def searched(
    generator, landscape: str, noise: float, trials: int = 20, grid: int = 16
) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """Boards of Phase 1, of cheaper and lower scores, and of Phase 2, and the true scores of Phase 2's configurations.

    landscape: all alike (flat); a broad (peak) or a narrow top (sharp) somewhere; no neighbor like another (rugged).
    noise: standard deviation of a single score.
    """
    top = {name: generator.random() for name in SEARCHED}
    weights = generator.dirichlet(np.ones(len(SEARCHED))) * len(SEARCHED)
    bumps = {}

    def truth(values: dict) -> float:
        places = {name: list(tried).index(values[name]) / (len(tried) - 1) for name, tried in SEARCHED.items()}
        away = sum(weight * (places[name] - top[name]) ** 2 for weight, name in zip(weights, SEARCHED, strict=True))
        key = tuple(places.values())
        return (
            0.5
            + {
                "flat": 0.0,
                "peak": -0.2 * away,
                "sharp": 0.15 * np.exp(-away / 0.08) - 0.15,
                "rugged": bumps.setdefault(key, 0.06 * generator.normal()),
            }[landscape]
        )

    def board(count: int, shrunk: float) -> pd.DataFrame:
        points: dict[tuple, dict] = {}
        while len(points) < count:
            drawn = {name: tried[generator.integers(len(tried))] for name, tried in SEARCHED.items()}
            points[tuple(drawn.values())] = drawn
        table = pd.DataFrame(list(points.values()))
        table["truth"] = [truth(values) for values in points.values()]
        cheaper = shrunk * (table["truth"] - 0.5) + (0.5 if shrunk == 1 else 0.3)
        return table.assign(metric=cheaper + noise * generator.normal(size=count), may_be_chosen=True)

    first, second = board(grid, 0.6), board(trials, 1.0)
    return first.drop(columns="truth"), second.drop(columns="truth"), second["truth"].to_numpy()


# Patients of each class and their recalls: one class is rare, or all are.
ONE_RARE = [((count, 80, 60, 60), (recall, 0.7, 0.7, 0.7)) for count, recall in ((1, 0.1), (2, 0.5), (5, 0.9))]
RARE_CLASSES = [((2,) * 10, (0.1,) * 10), ((3,) * 10, (0.5,) * 10), ((5,) * 4, (0.9,) * 4),
                ((3, 10, 10, 10), (0.5, 1.0, 1.0, 1.0)),
                ((2, 3, 3, 3, 20, 30, 5, 4, 2, 40), (0.2, 0.9, 0.0, 0.5, 0.8, 0.9, 0.5, 0.1, 0.3, 0.9))]  # fmt: skip


def rare_study(
    generator, counts, recalls, two_eyes=0.7, alike=0.6
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], float]:
    """Targets [N], scores [N, C] and patients [N] of eyes that are named with these recalls, and the mean of those.

    two_eyes: share of patients with two. alike: share of those whose second eye is named as the first is.
    """
    classes, patients = len(counts), int(np.sum(counts))
    target, recall = np.repeat(np.arange(classes), counts), np.repeat(recalls, counts)
    first, second = generator.random((2, patients)) < recall
    second = np.where(generator.random(patients) < alike, first, second)
    both = generator.random(patients) < two_eyes
    target, right = np.append(target, target[both]), np.append(first, second[both])
    named = np.where(right, target, (target + generator.integers(1, classes, len(target))) % classes)
    return (target, np.eye(classes)[named], np.append(np.arange(patients), np.flatnonzero(both))), float(
        np.mean(recalls)
    )
