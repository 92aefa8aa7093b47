"""A W&B sweep over the hyperparameters that the guide tunes, from the same space as Phase 2."""

from typing import Any

from retclip.core.hyperparameters import HYPERPARAMETERS
from retclip.search.space import Values, near_best

GUIDE = [name for name, declared in HYPERPARAMETERS.items() if declared.guide_gain is not None]


def sweep(space: dict[str, Any], base: Values, metric: str, name: str, project: str, command: list[str],
          program: str) -> dict[str, Any]:  # fmt: skip
    """The content of a sweep file; what the space leaves out keeps its value in `base`.

    space: phase2.space of the config. base: configured values that times_best and from_best mean. command: what W&B's
    agent calls, with its own ${...} in it.
    """
    absolute = near_best({hyperparameter: space[hyperparameter] for hyperparameter in GUIDE if hyperparameter in space},
                         base)  # fmt: skip
    return {
        "name": name,
        "project": project,
        "program": program,
        "method": "bayes",
        "metric": {"name": metric, "goal": "maximize"},
        "parameters": {key: _parameter(absolute[key]) if key in absolute else {"value": base[key]} for key in GUIDE},
        "command": command,
    }


def _parameter(values: Any) -> dict[str, Any]:
    if isinstance(values, list):
        return {"values": values}
    kinds = {
        (False, False): "uniform",
        (False, True): "int_uniform",
        (True, False): "log_uniform_values",
        (True, True): "q_log_uniform_values",
    }
    kind = kinds[values.get("log", False), values.get("int", False)]
    return {"distribution": kind, "min": values["low"], "max": values["high"]}
