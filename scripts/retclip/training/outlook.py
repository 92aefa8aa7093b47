"""What will be done for each training run of a plan: training, scoring once more, publishing, or nothing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from retclip.core.facts import DONE, PUBLISHED, SCORED, TRAINS
from retclip.core.io import read_json, sha256_of
from retclip.core.trial import Trial
from retclip.metrics.metrics_document import Metrics
from retclip.training.checkpoint import RESULTS, StateFolder, state_key


class Present(NamedTuple):
    """What training runs are held against. data: split -> its hash; encoders: text encoder -> its folder; prompts:
    class -> sentences, as the config has them now; code: hash of the training code."""

    state_dir: Path
    data: dict[str, str]
    encoders: dict[str, Path]
    prompts: dict[str, list[str]]
    code: str


def outlook(folder: Path, present: Present, fits: Callable[[Trial], bool]) -> str:
    """TRAINS, SCORED, PUBLISHED or DONE, for the training run whose results lie in `folder`.

    What is done Snakemake may list all the same, where files are newer: it is published once more, in seconds.

    fits: whether a trial is what the config plans. What a search has chosen is taken as it is: whether an earlier stage
    chooses otherwise only the run tells.
    """
    plan = folder / "trial.json"
    trial = _read(Trial, plan)
    if trial is None or not fits(trial):
        return TRAINS
    trial = replace(trial, class_prompts=present.prompts, class_prompts_sha256=sha256_of(present.prompts))
    with_model = trial.phase == "final"
    metrics = _read(Metrics, folder / "metrics.json")
    outputs = [folder / name for name in RESULTS] + ([folder / "model"] if with_model else [])
    made = metrics is not None and all(path.exists() for path in outputs) and (
        (metrics.code, metrics.data) == (present.code, present.data)
        and metrics.trial.class_prompts_sha256 == trial.class_prompts_sha256
        and metrics.trial.hyperparameters == trial.hyperparameters
    )  # fmt: skip
    if made:
        return DONE
    source = present.encoders[trial.text_encoder] / "source.json"
    if not source.is_file():
        return TRAINS
    state = StateFolder(present.state_dir, state_key(trial, present.data, read_json(source), present.code))
    if state.is_complete(trial, with_model):
        return PUBLISHED
    scored = state.scored(trial) is not None and state.kept_weights(trial.budget.stop_epoch).is_file()
    return SCORED if scored else TRAINS


def _read(kind: Any, path: Path) -> Any:
    """The document; None where there is none of this version."""
    try:
        return kind.read(path)
    except (OSError, ValueError):
        return None
