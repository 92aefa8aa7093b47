"""The forecast of a run as a person reads it in a terminal."""

import math
from collections.abc import Mapping
from typing import Any

from retclip.core.config import Config, configured_defaults
from retclip.core.facts import DONE, PUBLISHED, SCORED, TRAINS
from retclip.core.gpus import Gpu, described
from retclip.search.budget import RANKABLE_STEPS
from retclip.search.clock import Wave
from retclip.search.forecast import HEADS_PER_SECOND, Stage
from retclip.search.jobs import cached_networks
from retclip.search.speed import Speed

NAMES = {
    "phase1": "Phase 1",
    "phase2": "Phase 2",
    "confirm": "confirmations",
    "encoders": "encoders",
    "final": "finals",
}
MOST_ADJUSTMENTS = 6  # per stage
FILES_PER_TRAINING = 15
IMAGES_PER_SAMPLE = 2


def plan_lines(
    run: str,
    counts: dict[str, int],
    known: str,
    stages: list[Stage],
    speed: Speed | None,
    seconds: float | None,
    start: float | None = None,
) -> list[str]:
    """The table of stages, what is adjusted, warnings, and the device time. start: seconds that each training run takes
    to start, where heads alone are trained, on cached features. known: how the counts are known, before the build has
    counted."""
    splits = ", ".join(f"{counts[name]:,} {name}" for name in ("train", "val", "test"))
    lines = [f"run {run}: {splits} samples{f' ({known})' if known else ''}", ""]
    lines.append(
        f"{'stage':<14}{'training runs':>15}{'finished':>10}{'steps each':>18}{'warm-up':>16}{'samples shown':>16}"
    )
    for stage in stages:
        lines.append(
            f"{NAMES[stage.name]:<14}{stage.training_runs:>15,}{stage.finished:>10,}{_range(*stage.steps):>18}"
            f"{_range(*(f'{100 * share:.0f} %' for share in stage.warmup)):>16}{stage.samples_shown:>16,.0f}"
        )
    lines += ["", *_notes(stages)]
    total = sum(stage.samples_to_come for stage in stages)
    finished, training_runs = sum(stage.finished for stage in stages), sum(stage.training_runs for stage in stages)
    if finished == training_runs:
        lines.append(f"device time: none for training runs, since all {training_runs:,} have finished.")
    elif start is not None and seconds is not None:
        rate = speed.samples_per_second if speed else HEADS_PER_SECOND
        lines.append(
            f"device time: about {max(1, seconds / 60):.0f} minutes on one CPU core for {training_runs - finished:,} "
            f"training runs: {start:.0f} s each to start, and {rate:,.0f} samples a second on cached features."
        )
        lines.append("Besides, each encoder reads train and val once, and the final models' evaluations read test.")
    elif seconds is None or speed is None:
        lines.append(
            f"device time: not known before find_lr has measured the speed, or make check-gpu; {total:,.0f} samples "
            f"are shown in all, {total / 100 / 3600:.1f} h at 100 samples a second."
        )
    else:
        to_come = f" for the {training_runs - finished:,} training runs to come" if finished else ""
        lines.append(
            f"device time: {seconds / 3600:.1f} h{to_come}, at the {speed.samples_per_second:.0f} samples a second "
            f"that {speed.measured_by} measured ({speed.device})."
        )
    return lines


def clock_lines(cores: int, waves: dict[str, list[Wave]], stages: list[Stage], seconds: float | None) -> list[str]:
    """How many training runs this machine's CPU trains at a time, and how long by the clock. seconds: None before the
    speed is known."""
    shares = []
    for stage in stages:
        if stage.finished < stage.training_runs:
            most = max(waves[stage.name], key=lambda wave: wave.runs)
            each = f", {most.threads} threads each" if most.threads > 1 else ""
            shares.append(f"{NAMES[stage.name]}: {most.processes} at a time{each}")
    if not shares:
        return []
    if seconds is not None:
        minutes = max(1, seconds / 60)
        shares.insert(0, f"about {f'{minutes:.0f} min' if minutes < 100 else f'{minutes / 60:.1f} h'} by the clock")
    return [f"on this machine's {cores} cores: {'; '.join(shares)}"]


def outlook_lines(found: Mapping[str, int]) -> list[str]:
    """What will be done for how many training runs. found: TRAINS, SCORED, PUBLISHED or DONE -> training runs."""
    trains, scored, published, done = (found.get(word, 0) for word in (TRAINS, SCORED, PUBLISHED, DONE))
    lines = [f"what will run: {trains:,} to train, {scored:,} to be scored again, {published:,} to be published, "
             f"{done:,} done"]  # fmt: skip
    if scored:
        lines.append("  scored again: kept weights, with other class prompts; no step is trained.")
    if published or done:
        lines.append("  published, done: where Snakemake lists them, they end in seconds, from state/; none trains.")
    return lines


def submission_lines(to_come: Mapping[str, int], groups: Mapping[str, int]) -> list[str]:
    """How often sbatch is called. to_come: stage -> training runs. groups: stage -> how many of them share a job."""
    runs = sum(to_come.values())
    if not runs:
        return []
    submissions = sum(math.ceil(count / groups.get(stage, 1)) for stage, count in to_come.items())
    shared = max((groups[stage] for stage, count in to_come.items() if count and stage in groups), default=1)
    why = f"up to {shared} short ones share a job" if shared > 1 else "each has its own job"
    return [
        f"on Slurm, as slurm/config.yaml stands: {submissions:,} submissions for the {runs:,} training runs to come; "
        f"{why}. Jobs of data, features and evaluations have one each."
    ]


def compile_lines(config: Config) -> list[str]:
    """What training.compile adds to the figures of a plan; none where nothing is compiled for want of the key."""
    if not configured_defaults(config)["compile"]:
        return []
    if cached_networks(config) == {"image", "text"}:
        return ["training.compile: training runs read features and run no encoder, so that nothing is compiled."]
    return [
        "training.compile: each training run traces its encoders at its first step, and the first one compiles them; "
        "no figure above counts what that costs, or what compiled steps save."
    ]


def gpu_lines(training: dict[str, Any], gpus: list[Gpu]) -> list[str]:
    """The GPUs of this machine for training runs; none where the config wants the CPU. training: section."""
    if training["device"] == "cpu":
        return []
    here, each = described(gpus), max(1, training["gpus"])
    others = "; those of a cluster's nodes are not counted here"
    if not gpus and training["device"] == "auto":
        return [f"GPUs: {here}: what is trained on this machine is trained on its CPU{others}."]
    if len(gpus) < each:
        return [f"GPUs: {here}, and each training run needs {each}: none can be trained on this machine{others}."]
    at_once = len(gpus) // each
    return [
        f"GPUs: {here}: {at_once} training run{'s' * (at_once > 1)} at a time on this machine, with --resources "
        f"gpu={len(gpus)}{others}."
    ]


def disk_lines(config: Config, counts: dict[str, int], training_runs: int, free: dict[str, int | None]) -> list[str]:
    """Bytes and files against what is free; final models are left out, since their sizes are not known here."""
    size = config["data"]["image_size"]
    raw = sum(counts.values()) * IMAGES_PER_SAMPLE * size * size * 3
    images = raw if config["data"]["image_encoding"] == "raw" else raw // 10
    # once in the stores, once in the working store that makes a second build quick
    weights = config["training"]["kept_weights_gb"]
    wanted = {"bytes": 2 * images + weights * 1e9, "files": training_runs * FILES_PER_TRAINING}
    left = f"{(free['bytes'] or 0) / 1e9:.0f} GB"
    if free["files"] is not None:
        left += f" and {free['files']:,} files"
    lines = [
        f"disk: at most {2 * images / 1e9:.1f} GB for images, {weights:g} GB for weights of finished training runs "
        f"(training.kept_weights_gb) and {wanted['files']:,} files for training runs, besides final models and the "
        f"checkpoints of training runs at work; {left} are free."
    ]
    for what, amount in wanted.items():
        available = free[what]
        if available is not None and amount > available:
            lines.append(f"warning: not enough {what} free for this run; move results/ with snakemake --directory.")
    return lines


def upgrade_lines(finished: list[dict[str, Any]], code: str) -> list[str]:
    """What the code that is here now would train again. finished: metrics.json of training runs. code: its hash."""
    older = [metrics for metrics in finished if metrics["code"] != code]
    if not older:
        return []
    hours = sum(metrics["device_seconds"] for metrics in older) / 3600
    return [
        f"upgrade: {len(older)} of {len(finished)} finished training runs are of other training code, and train again: "
        f"{hours:.2g} device-hours. To keep them, see 'After an upgrade' in config/README.md."
    ]


def refuse_costly(config: Config, seconds: float | None) -> None:
    """Raises ValueError where plan.max_device_hours is known to be exceeded."""
    most = config.get("plan", {}).get("max_device_hours")
    if most is not None and seconds is not None and seconds > most * 3600:
        raise ValueError(
            f"config: the run takes {seconds / 3600:.1f} device-hours, more than plan.max_device_hours = {most:g}; "
            "lower phase2.trials or epochs, or raise the limit."
        )


def _notes(stages: list[Stage]) -> list[str]:
    lines = []
    for stage in stages:
        name = NAMES[stage.name]
        for cut, count in list(stage.cuts.items())[:MOST_ADJUSTMENTS]:
            lines.append(f"adjusted: {name}, {count} of {stage.configurations} configurations: {cut}")
        if len(stage.cuts) > MOST_ADJUSTMENTS:
            lines.append(f"adjusted: {name}: {len(stage.cuts) - MOST_ADJUSTMENTS} more kinds of adjustments")
        if stage.equal:
            lines.append(f"merged: {name}: {stage.equal} of {stage.configurations} become another one, and train once")
        if stage.few_steps:
            lines.append(
                f"warning: {name}: {stage.few_steps} of {stage.configurations} configurations have fewer than "
                f"{RANKABLE_STEPS} optimizer steps: too short to rank; raise {stage.name}.train_samples or epochs"
            )
    unfit = [
        f"{stage.warmups_cut} of {stage.configurations} configurations of {NAMES[stage.name]}"
        for stage in stages
        if stage.name in ("phase1", "phase2") and 2 * stage.warmups_cut > stage.configurations
    ]
    if unfit:
        lines.append(
            f"proposal: the warm-up does not fit in {' and '.join(unfit)}; search a share of the steps: defaults: "
            "{warmup_steps: 0, warmup_share: 0.1}, and in both spaces warmup_steps: null, warmup_share: [0.05, 0.1]"
        )
    return [*lines, ""] if lines else []


def _range(low: Any, high: Any) -> str:
    return f"{low:,}" if low == high and not isinstance(low, str) else low if low == high else f"{low} to {high}"
