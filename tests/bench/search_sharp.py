"""A task for search strategies whose top is sharp, made by formula: another top, and other patients, in each replay.

Where a place is the position of a value among those of its hyperparameter, 0 to 1, the chance that a view is named
rightly at the end is

  p = .35 + .15 exp(-away / .08),  away = sum of weight (place - top)^2 over the hyperparameters,

tests/simulations.py's sharp landscape: top uniform in the cube, weights of a flat Dirichlet distribution times three.
After epoch e of 10 it is chance + (p - chance) (1 - exp(-e / t)) / (1 - exp(-10 / t)), t = 2 + 6 (1 - place of the
learning rate): low rates come late. Seeds move p by a standard deviation of .01. Whether a view is named rightly is
its patient's (half of the variance), the configuration's (a quarter) and the seed's, as in those simulations.
"""

from typing import Any

import numpy as np
from search_table import Table, Values, Views, configurations
from simulations import OWN, SHARED

CLASSES, PATIENTS, EPOCHS, SEEDS = 8, 200, 10, 5
LOWEST, HEIGHT, WIDTH, SEED_SD = 0.35, 0.15, 0.08, 0.01

SPACE: dict[str, list[Any]] = {
    "learning_rate": np.geomspace(1e-5, 1e-2, 10).round(7).tolist(),
    "weight_decay": [0.0, 0.03, 0.1, 0.3],
    "temperature": [0.03, 0.07, 0.1, 0.2, 0.4],
}
BASELINE: Values = {"learning_rate": 1e-4, "weight_decay": 0.1, "temperature": 0.07}


class Sharp:
    """Nothing is trained: each replay has a table of its own."""

    name = "sharp"
    space = SPACE
    seeds = tuple(range(SEEDS))
    epochs = EPOCHS
    baseline = BASELINE

    def table(self, number: int) -> Table:
        """Of replay `number`."""
        from scipy.stats import norm

        generator = np.random.default_rng([12, number])
        points = [
            [self.space[name].index(value) / (len(self.space[name]) - 1) for name, value in values.items()]
            for values in configurations(self.space)
        ]
        places = np.array(points)
        top, weights = generator.random(3), 3 * generator.dirichlet(np.ones(3))
        end = LOWEST + HEIGHT * np.exp(-((places - top) ** 2 @ weights) / WIDTH)
        end = end[:, None] + SEED_SD * generator.normal(size=(len(places), SEEDS))
        slow = (2 + 6 * (1 - places[:, 0]))[:, None, None]
        grown = (1 - np.exp(-np.arange(1, EPOCHS + 1) / slow)) / (1 - np.exp(-EPOCHS / slow))
        chance = 1 / CLASSES
        rightly = chance + (end[..., None] - chance) * grown  # [K, seeds, epochs]

        patient = np.repeat(np.arange(PATIENTS), 2)
        target = np.tile(np.arange(CLASSES), len(patient) // CLASSES)
        shape = (len(places), SEEDS, len(patient))
        luck = (
            np.sqrt(SHARED) * generator.normal(size=PATIENTS)[patient]
            + np.sqrt(OWN) * generator.normal(size=shape)[:, :1]
            + np.sqrt(1 - SHARED - OWN) * generator.normal(size=shape)
        )
        hit = luck[:, :, None] < norm.ppf(rightly)[..., None]
        wrong = (target + generator.integers(1, CLASSES, shape)[:, :, None]) % CLASSES
        return Table(np.where(hit, target, wrong).astype(np.uint8), Views(target, patient))
