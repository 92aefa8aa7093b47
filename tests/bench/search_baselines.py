"""Other projects' searches over the same answers: Optuna's TPE with Hyperband, and Syne Tune's ASHA, as they come.

  python search_baselines.py ANSWERS.npz TRACES.json

ANSWERS.npz: seen [replays, configurations, epochs], the scores of every configuration; seeds [replays]; shape, how many
values each hyperparameter has, the last varies fastest; budget, the epochs that each may spend. A run that was stopped
costs what it took.
TRACES.json: name -> replay -> [epochs spent, configuration, score] of each run that reached its end. Nothing of ours is
imported: this runs with the packages of envs/bench.in.
"""

import datetime
import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

Run = tuple[int, int, float]


def optuna_hyperband(seen: np.ndarray, shape: tuple[int, ...], budget: int, seed: int) -> Iterator[Run]:
    """TPESampler and HyperbandPruner with their defaults."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    epochs = seen.shape[1]
    pruner = optuna.pruners.HyperbandPruner(max_resource=epochs)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed), pruner=pruner)
    axes = {str(axis): optuna.distributions.IntDistribution(0, count - 1) for axis, count in enumerate(shape)}
    spent = 0
    while spent < budget:
        trial = study.ask(axes)
        row = _row([trial.params[name] for name in axes], shape)
        for epoch in range(1, epochs + 1):
            if spent == budget:
                return
            spent += 1
            trial.report(seen[row, epoch - 1], epoch)
            if epoch < epochs and trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            study.tell(trial, seen[row, -1])
            yield spent, row, float(seen[row, -1])


def syne_tune_asha(seen: np.ndarray, shape: tuple[int, ...], budget: int, seed: int) -> Iterator[Run]:
    """ASHA with its defaults and one worker."""
    from syne_tune.backend.trial_status import Trial
    from syne_tune.config_space import randint
    from syne_tune.optimizer.baselines import ASHA

    epochs = seen.shape[1]
    axes = {str(axis): randint(0, count - 1) for axis, count in enumerate(shape)}
    np.random.seed(seed)  # it draws a trial's bracket with numpy's own
    scheduler = ASHA(axes, metric="score", time_attr="epoch", max_t=epochs, do_minimize=False, random_seed=seed)
    spent = number = 0
    while spent < budget:
        config = scheduler.suggest().config
        trial = Trial(number, config, datetime.datetime.now())
        number += 1
        scheduler.on_trial_add(trial)
        row = _row([config[name] for name in axes], shape)
        for epoch in range(1, epochs + 1):
            if spent == budget:
                return
            spent += 1
            result = {"score": float(seen[row, epoch - 1]), "epoch": epoch}
            if scheduler.on_trial_result(trial, result) != "CONTINUE":
                break
        scheduler.on_trial_complete(trial, result)
        if epoch == epochs:
            yield spent, row, float(seen[row, -1])


BASELINES: dict[str, Callable[..., Iterator[Run]]] = {
    "Optuna's TPE + Hyperband": optuna_hyperband,
    "Syne Tune's ASHA": syne_tune_asha,
}


def _row(places: list[int], shape: tuple[int, ...]) -> int:
    return int(np.ravel_multi_index([int(place) for place in places], shape))


def main(answers: Path, traces: Path) -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    found: dict[str, Any] = {}
    with np.load(answers) as file:
        shape, budget = tuple(map(int, file["shape"])), int(file["budget"])
        replays = list(zip(file["seen"], map(int, file["seeds"]), strict=True))
    for name, search in BASELINES.items():
        found[name] = [list(search(seen, shape, budget, seed)) for seen, seed in replays]
    traces.write_text(json.dumps(found))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
