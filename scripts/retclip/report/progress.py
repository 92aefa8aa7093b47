"""How far an unfinished run is: what has finished, what is still to come, and how long that may take."""

from typing import NamedTuple

from retclip.report import formatting as wording
from retclip.report.run_folder import FinishedTrial, RunFolder


class Stage(NamedTuple):
    """device_seconds: of what has finished; to_go: of the rest, None where nothing tells yet."""

    name: str
    finished: int
    planned: int
    device_seconds: float
    to_go: float | None


def stages(run: RunFolder) -> list[Stage]:
    """One entry per stage that trains, in order.

    What is still to come is held against the finished trials of its own stage, by epochs; a stage that has none
    yet, against all that have finished, by the samples that they saw.
    """
    found = run.trials()
    everything = [finished for trials in found.values() for finished in trials]
    per_sample = _rate(everything, lambda one: one.metrics.epochs * one.metrics.train_samples)
    entries = []
    for stage, planned in run.planned.items():
        if not planned:
            continue
        trials = list(found.get(stage, []))
        open_epochs = sum(epochs for name, epochs in planned.items() if name not in {one.id for one in trials})
        per_epoch = _rate(trials, lambda one: one.metrics.epochs)
        if per_epoch is None and per_sample is not None:
            per_epoch = per_sample * _samples(run, stage)
        entries.append(
            Stage(
                name=wording.STAGE_NAMES[stage],
                finished=len(trials),
                planned=len(planned),
                device_seconds=sum(one.metrics.device_seconds for one in trials),
                to_go=0.0 if open_epochs == 0 else None if per_epoch is None else per_epoch * open_epochs,
            )
        )
    return entries


def seconds_to_go(run: RunFolder) -> float | None:
    """Wall-clock seconds until the last trial ends, at the pace so far; None before the first.

    The pace is the device time of what has finished over the time that it took from start to end, so it holds how
    many ran at once, and what queues and other jobs cost.
    """
    entries = stages(run)
    trials = [finished for stage in run.trials().values() for finished in stage]
    if not trials or any(entry.to_go is None for entry in entries):
        return None
    ends = [(finished.folder / "metrics.json").stat().st_mtime for finished in trials]
    begun = min(end - one.metrics.wall_seconds for end, one in zip(ends, trials, strict=True))
    pace = sum(one.metrics.device_seconds for one in trials) / max(max(ends) - begun, 1e-9)
    return sum(entry.to_go or 0.0 for entry in entries) / pace


def status_lines(run: RunFolder) -> list[str]:
    """The state of a run in at most ten lines for a terminal."""
    entries = stages(run)
    finished, planned = sum(entry.finished for entry in entries), sum(entry.planned for entry in entries)
    lines = [f"run {run.config['run']}: {finished} of {planned} trials have finished"]
    for entry in entries:
        to_go = "" if not entry.to_go else f", about {wording.duration(entry.to_go)} to go"
        lines.append(
            f"  {entry.name:<14}{entry.finished:>5} of {entry.planned:<5} {wording.duration(entry.device_seconds):>9}"
            f" of device time{to_go}"
        )
    lines.append(_best(run))
    broken = [finished.id for trials in run.trials().values() for finished in trials if finished.failed]
    lines.append(f"diverged or out of memory: {', '.join(broken[:8]) or 'none'}{' ...' if len(broken) > 8 else ''}")
    lines.append(f"still to come: {', '.join(still_to_come(run)) or 'nothing'}")
    lines.append(eta(run))
    return lines


def eta(run: RunFolder) -> str:
    """When it may end, as a sentence."""
    left = seconds_to_go(run)
    if left is None:
        return "How long it will take is known once a trial has finished."
    if left == 0:
        return "All trials have finished."
    return f"At the pace so far, the last trial ends about {wording.duration(left)} after the latest one did."


def still_to_come(run: RunFolder) -> list[str]:
    """What the report cannot hold yet, in the order in which it will come."""
    steps = [
        ("the data", run.fingerprint is None),
        ("the audit", run.audit is None),
        ("the range test", run.suggestion is None),
    ]
    for entry in stages(run):
        left = entry.planned - entry.finished
        steps.append((f"{wording.count(left, 'trial')} of {entry.name}", left > 0))
    steps += [
        ("the choice of the configuration", "best" not in run.decisions),
        ("the text encoder", run.recommendation is None),
    ]
    return [name for name, missing in steps if missing]


def _best(run: RunFolder) -> str:
    """The best finished trial of the latest stage that searches."""
    for stage in ("confirm", "phase2", "phase1"):
        scored = {one.id: score for one in run.searched.get(stage, []) if (score := one.score(run.metric)) is not None}
        if scored:
            best = max(scored, key=lambda name: scored[name])
            return (
                f"best of {wording.STAGE_NAMES[stage]} so far: {best}, validation {wording.metric_name(run.metric)} "
                f"{wording.score(scored[best])} (chance {wording.score(run.chance(run.metric))})"
            )
    return "best so far: none has a score yet"


def _samples(run: RunFolder, stage: str) -> int:
    """Training samples of one epoch of a stage."""
    whole = run.fingerprint["splits"]["train"]["samples"] if run.fingerprint else 0
    sections = {name: name for name in ("phase1", "phase2")}
    if run.config["phase2"].get("search_encoders") == "all":
        sections["encoders"] = "phase2"
    wanted = run.config[sections[stage]].get("train_samples") if stage in sections else None
    return min(wanted, whole) if wanted else whole


def _rate(trials: list[FinishedTrial], amount) -> float | None:
    """Device seconds per `amount` of the trials that were not broken off."""
    whole = [one for one in trials if one.metrics.status in ("completed", "early_stopped")]
    total = sum(amount(one) for one in whole)
    return sum(one.metrics.device_seconds for one in whole) / total if total else None
