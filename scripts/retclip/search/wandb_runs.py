"""One finished training run as a run of Weights & Biases: config, curves, what it cost, and its files as an artifact.

It reads what the training wrote, and nothing of the training knows of it: a training run neither waits for a server nor
fails with it, and tracking can be turned on for a run that is finished.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from retclip.core.documents import plain
from retclip.core.logs import log
from retclip.core.trial import Trial
from retclip.metrics.metrics_document import Metrics

if TYPE_CHECKING:
    import pandas as pd

# Seconds that an unreachable server may cost, per training run; sending may take longer, and wandb sync sends the rest.
PATIENCE, SENDING = 15, 120
COSTS = ("samples_per_second", "wall_seconds", "device_seconds", "peak_memory_bytes", "epochs", "best_epoch", "steps")


class Place(NamedTuple):
    """Where a run goes. mode: offline, online, or None: as the environment says (WANDB_MODE, a sweep's agent).

    folder: wandb/ is made below it. id: None where a sweep's agent has named the run.
    """

    mode: str | None
    folder: Path
    project: str
    group: str
    name: str
    id: str | None


def log_run(place: Place, metrics: Metrics, history: "pd.DataFrame", files: list[Path]) -> dict[str, Any]:
    """Logs one training run; returns what became of it: id, mode, and the error if there was one.

    metrics: its metrics.json. history: one row an epoch. files: its artifact. Where the server is not reached, the
    run is written offline, for `wandb sync` to send.
    """
    # nothing is written to the user's home folder
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        os.environ.setdefault(name, str((place.folder / "wandb/cache").resolve()))
    errors: list[str] = []
    for mode in dict.fromkeys([place.mode, "offline"]):
        try:
            return {**_log(place._replace(mode=mode), metrics, history, files), "error": "; ".join(errors) or None}
        # whatever goes wrong in a service that only watches must not cost a training run
        except Exception as error:
            errors.append(f"{type(error).__name__}: {' '.join(str(error).split())}")
            log(f"{place.name}: W&B ({mode or 'as the environment says'}) failed: {errors[-1]}")
            _forget()
    return {"id": place.id, "mode": None, "error": "; ".join(errors)}


def _log(place: Place, metrics: Metrics, history: "pd.DataFrame", files: list[Path]) -> dict[str, Any]:
    import wandb

    place.folder.mkdir(parents=True, exist_ok=True)
    # neither the machine, nor the code, nor this process's load is part of a training run's record
    settings = wandb.Settings(
        init_timeout=PATIENCE,
        login_timeout=PATIENCE,
        finish_timeout=SENDING,
        console="off",
        silent=True,
        disable_code=True,
        disable_git=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_save_requirements=False,
    )
    run = wandb.init(
        mode=place.mode,  # type: ignore[arg-type]
        dir=place.folder,
        project=place.project,
        group=place.group,
        name=place.name,
        id=place.id,
        job_type=metrics.trial.phase,
        resume="allow" if place.id and place.mode == "online" else None,
        config=_config(metrics.trial),
        settings=settings,
    )
    try:
        for row in history.to_dict("records"):
            run.log({name: value for name, value in row.items() if value == value}, step=int(row["epoch"]))
        run.summary.update(_summary(metrics))
        artifact = wandb.Artifact(f"{place.group}-{place.name}".replace("/", "-"), type="training")
        for path in files:
            artifact.add_file(str(path), name=path.name)
        run.log_artifact(artifact)
    finally:
        run.finish()
    return {"id": run.id, "mode": "offline" if run.offline else "online"}


def _forget() -> None:
    """Ends W&B's service, which would hold the run's id against a second start."""
    try:
        import wandb

        wandb.teardown()
    except Exception as error:
        log(f"W&B's service did not end: {error}")


def _config(trial: Trial) -> dict[str, Any]:
    """What was configured; `used` where the budget adjusted it."""
    cuts = {f"{cut.key}_used": cut.used for cut in trial.budget.cuts}
    budget = {name: value for name, value in plain(trial.budget).items() if name != "cuts"}
    names = ("phase", "text_encoder", "seed", "selection_metric")
    return {**trial.configured, **cuts, **budget, **{name: getattr(trial, name) for name in names}}


def _summary(metrics: Metrics) -> dict[str, Any]:
    """The scores of the chosen epoch, the status, and what it cost, GPU utilization included."""
    scores = {name: value for name, value in metrics.val.scores.items() if isinstance(value, float)}
    loss = {"val_loss": metrics.val.loss} if isinstance(metrics.val.loss, float) else {}
    costs = {name: getattr(metrics, name) for name in COSTS}
    return {**scores, **loss, **costs, "status": metrics.status, "gpu_utilization": metrics.utilization,
            "device": metrics.device}  # fmt: skip
