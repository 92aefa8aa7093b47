"""From configured values to a complete trial: what a budget allows, and what it had to adjust, recorded.

Two words for values of hyperparameters, in every file. `configured`: what was chosen, in the units of a full run
(warm-up in steps of a full run on all data); searches, brackets, promotions and best.json speak of these.
`hyperparameters`: what one trial trains with after its budget has adjusted them (a batch no larger than its samples, a
warm-up in its own steps); the optimizer reads these, and trial.json has both.
"""

import math
from typing import Any

from retclip.core.documents import build
from retclip.core.facts import FACTS, facts_in
from retclip.core.io import sha256_of
from retclip.core.trial import Trial
from retclip.core.warmup import BOTH
from retclip.search.space import Values

# A warm-up that never ends never reaches the learning rate that the trial is named after.
MAX_WARMUP_SHARE = 0.8
# Below this many optimizer steps, the order of trials is that of their random initial weights.
RANKABLE_STEPS = 20


def plan(specification: dict[str, Any], values: Values, counts: dict[str, int]) -> Trial:
    """The trial of a specification.

    specification: id, phase, text_encoder, seed, image_encoder, encoder, image_size, selection_metric, train_samples,
    val_samples, epochs, class_prompts, shuffled_texts (null: as the data or the values have it), and for a rung
    stop_epoch, before which its schedule, laid out for all epochs, does not end; for a subset of the train patients
    subset, whose train_samples are given; and what core.facts records.
    values: every hyperparameter as configured, in the units of a full run. counts: samples per split.
    Raises ValueError where no optimizer step is left.
    """
    available = counts["train"]
    samples = min(specification["train_samples"] or available, available)
    if samples < 2:
        raise ValueError(f"{specification['id']}: {samples} training samples leave nothing to contrast; add data.")
    used = dict(values)
    cuts = []
    epochs = specification["epochs"] or values["epochs"]
    used["epochs"] = epochs
    used["batch_size"] = min(values["batch_size"], samples)
    if used["batch_size"] < values["batch_size"]:
        cuts.append(_adjustment("batch_size", values, used, f"the trial has {samples} samples"))
    steps_per_epoch = math.ceil(samples / used["batch_size"])
    total_steps = steps_per_epoch * epochs
    cuts += _warm_up(values, used, total_steps, available)
    trial = {
        "id": specification["id"],
        "phase": specification["phase"],
        **facts_in(specification),
        "text_encoder": specification["text_encoder"],
        "seed": specification["seed"],
        "hyperparameters": used,
        "configured": dict(values),
        "image_encoder": specification["image_encoder"],
        "text_encoder_settings": specification["text_encoder_settings"],
        "image_size": specification["image_size"],
        "class_prompts": specification["class_prompts"],
        "class_prompts_sha256": sha256_of(specification["class_prompts"]),
        "selection_metric": specification["selection_metric"],
        "shuffled_texts": specification["shuffled_texts"],
        **{key: specification[key] for key in ("subset",) if key in specification},
        "budget": {
            "train_samples": samples,
            "val_samples": min(specification["val_samples"] or counts["val"], counts["val"]),
            "stop_epoch": min(specification.get("stop_epoch") or epochs, epochs),
            "steps_per_epoch": steps_per_epoch,
            "total_steps": total_steps,
            "cuts": cuts,
        },
    }
    return build(Trial, {**trial, "sha256": sha256_of(trial)})


def _warm_up(values: Values, used: Values, total_steps: int, available: int) -> list[dict[str, Any]]:
    """Fills in the steps of the warm-up; returns what of it had to be cut. available: samples of a full run."""
    share, most = values["warmup_share"], int(MAX_WARMUP_SHARE * total_steps)
    if share and values["warmup_steps"]:
        raise ValueError(f"warmup_steps = {values['warmup_steps']} and warmup_share = {share:g} {BOTH}")
    if share:
        # its steps say it from here on
        used["warmup_share"] = 0.0
        used["warmup_steps"] = min(round(share * total_steps), most)
        if share <= MAX_WARMUP_SHARE:
            return []
        told = {**used, "warmup_share": MAX_WARMUP_SHARE}
        return [_adjustment("warmup_share", values, told, f"80 % of the trial's {total_steps} steps is the most")]
    full_steps = math.ceil(available / min(values["batch_size"], available)) * values["epochs"]
    scaled = round(values["warmup_steps"] * total_steps / full_steps)
    used["warmup_steps"] = min(scaled, most)
    if used["warmup_steps"] == scaled:
        return []
    reason = f"it would take {scaled} of the trial's {total_steps} steps, and 80 % is the most"
    return [_adjustment("warmup_steps", values, used, reason)]


def same_training(trial: Trial) -> str:
    """One text for all trials that are the same training: names, what they are for and configured values do not
    count."""
    return same_document(trial.to_dict())


def same_document(trial: dict[str, Any]) -> str:
    """As same_training, of a trial.json, which may be of an earlier version."""
    ignored = ("id", "phase", *FACTS, "configured", "sha256", "budget")
    content = {key: value for key, value in trial.items() if key not in ignored}
    content["budget"] = {key: value for key, value in trial["budget"].items() if key != "cuts"}
    return sha256_of(content)


def planned_cost(trial: Trial) -> int:
    """Samples seen by the whole training run: what it costs before anyone has measured it."""
    return trial.budget.train_samples * trial.budget.stop_epoch


def _adjustment(key: str, values: Values, used: Values, why: str) -> dict[str, Any]:
    return {"key": key, "configured": values[key], "used": used[key], "reason": why}
