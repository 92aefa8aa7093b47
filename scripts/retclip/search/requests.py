"""What a job asks a cluster for, from its budget: memory and minutes.

Estimates on the safe side, not measurements: a job that needs more gets it with its next attempt, and a training run
that runs into its time limit resumes from its saved state.
"""

import math
from typing import Any

from retclip.core.config import Config
from retclip.search.forecast import EVALUATION_SHARE, HEADS_PER_SECOND, START_SECONDS, trains_heads_alone
from retclip.search.jobs import epochs_of, section_of

# Interpreter, torch with its CUDA libraries, the best weights so far and a checkpoint of two base-size encoders on its
# way to or from the device: 200 million parameters x 4 bytes x (2 x weights and both of Adam's moments) = 3.2 GB.
BASE_MB = 8000
# On a CPU the activations are in host memory, too. A ViT-B/16 with BERT-base keeps about 250 bytes for each
# byte of its float images until the backward pass; on a GPU only the batch itself passes through.
ACTIVATION_BYTES_PER_PIXEL_BYTE = 250
FLOAT_BYTES = 4
# Reading data, loading encoders, evaluating after each epoch.
START_MINUTES = 20
# Samples in one batch of a job that trains nothing: features, test set, qualitative examples.
EVALUATION_BATCH = 64
# Two-eye samples per second of a slow GPU, or of tiny encoders on a CPU.
SLOW_SAMPLES_PER_SECOND = 20
# Training runs that take less share a job, whose start takes seconds: tests/bench/README.md, Slurm.
SHORT_SECONDS = 300
# rule -> the stage that says how many samples its training runs see
STAGES = {
    "train_phase1_trial": "phase1",
    "train_phase2_trial": "phase2",
    "train_confirm_trial": "confirm",
    "train_encoder_trial": "encoders",
    "train_final": "final",
}


def memory_mb(batch_size: int, image_size: int, gpus: int) -> int:
    """Host memory of a training run or an evaluation, in MB; image_size in pixels."""
    images = batch_size * 2 * image_size**2 * 3 * FLOAT_BYTES
    factor = 2 if gpus else ACTIVATION_BYTES_PER_PIXEL_BYTE
    return BASE_MB + math.ceil(images * factor / 1e6)


def runtime_minutes(samples_seen: int, gpus: int) -> int:
    """Time limit of a job that shows `samples_seen` samples (epochs counted) to the model."""
    return START_MINUTES + math.ceil(samples_seen / (SLOW_SAMPLES_PER_SECOND * max(1, gpus) * 60))


def of_training(document: dict[str, Any], gpus: int) -> dict[str, int]:
    """mem_mb and runtime (minutes) of the training that a trial.json describes.

    document: as it stands in the file, since one of an earlier version may lie there until its job makes it again.
    """
    seen = document["budget"]["train_samples"] * document["budget"]["stop_epoch"]
    return {
        "mem_mb": memory_mb(document["hyperparameters"]["batch_size"], document["image_size"], gpus),
        "runtime": runtime_minutes(seen, gpus),
    }


def of_evaluation(fingerprint: dict[str, Any], image_size: int, gpus: int) -> dict[str, int]:
    """mem_mb and runtime (minutes) of one pass over all the samples of data/fingerprint.json, without training."""
    samples = sum(split["samples"] for split in fingerprint["splits"].values())
    return {
        "mem_mb": memory_mb(EVALUATION_BATCH, image_size, gpus),
        "runtime": runtime_minutes(samples, gpus),
    }


def is_short(config: Config, stage: str, counts: dict[str, int] | None, samples_per_second: float | None) -> bool:
    """Whether each training run of a stage is planned to take less than five minutes; False where nobody knows.

    counts: samples of train and val; None before the data is built. samples_per_second: as measured; None before that.
    """
    heads, epochs = trains_heads_alone(config), epochs_of(config, stage)
    if counts is None:
        return heads
    rate = samples_per_second or (HEADS_PER_SECOND if heads else None)
    if rate is None or epochs is None:
        return False
    section = section_of(config, stage)
    train, val = (min(section.get(f"{split}_samples", counts[split]), counts[split]) for split in ("train", "val"))
    return START_SECONDS + (train + EVALUATION_SHARE * val) * epochs / rate < SHORT_SECONDS


def minutes_of_each(config: Config, stage: str | None, train: int | None) -> int:
    """The minutes that each training run of a stage asks for. train: samples of the train split; None before it is
    built. Without one of both, only what every job needs is known."""
    seen = 1
    if stage is not None and train is not None:
        seen = min(section_of(config, stage).get("train_samples", train), train) * (epochs_of(config, stage) or 1)
    return runtime_minutes(seen, config["training"]["gpus"])


def fit_together(config: Config, stage: str, together: int, limit: int | None, train: int | None) -> bool:
    """Whether so many training runs of a stage may end in one job, one after the other. limit: max_runtime."""
    return limit is None or together * minutes_of_each(config, stage, train) <= limit


def refuse_group(config: Config, rule: str, group: str, rounds: int, limit: int, train: int | None) -> None:
    """Raises ValueError where jobs of a rule that run one after the other in a group need more minutes than there are.

    rounds: how many do. limit: max_runtime. train: as above.
    """
    each = minutes_of_each(config, STAGES.get(rule), train)
    if rounds > 1 and rounds * each > limit:
        raise ValueError(
            f"groups: {rounds} jobs of {rule} in {group} need {rounds * each} minutes ({each} each), and max_runtime "
            f"is {limit}; give group-components: {group}={max(1, limit // each)}, or raise max_runtime."
        )
