"""Phase 2 as brackets of rungs of slots: one mechanism for every strategy, known before anything runs.

A slot of the first rung takes a proposal of its bracket; slot k of a later rung resumes the k-th best of the rung
before. Random search is one bracket with one rung, TPE in rounds is several such, halving is brackets with rungs.
"""

import itertools
from typing import Any, NamedTuple

from retclip.core.facts import facts
from retclip.search.space import size
from retclip.search.strategies import STRATEGIES


class Slot(NamedTuple):
    """stop_epoch: after which the training stops for now; None where it runs to the end of its schedule."""

    bracket: int
    rung: int
    slot: int
    stop_epoch: int | None

    def facts(self) -> dict[str, Any]:
        """What its trial's specification records of it."""
        return facts("trial", bracket=self.bracket, rung=self.rung, slot=self.slot)


def slots(phase2: dict[str, Any]) -> dict[str, Slot]:
    """id -> slot of every training run, in the order of brackets and rungs.

    phase2: that part of a checked config. Raises ValueError where the space cannot fill the slots.
    """
    strategy = phase2["strategy"]
    declared = STRATEGIES[strategy]
    possible = size(phase2["space"])
    rungs: list[tuple[int, int | None]]
    if declared.has_rungs:
        shape = phase2["rungs"]
        # the last rung ends with the schedule, however long that is
        ends = [*shape["epochs"][:-1], None]
        rungs = list(zip(shape["slots"], ends, strict=True))
        brackets = [rungs] * phase2["brackets"]
    elif declared.learns:
        per_round = phase2["trials_per_round"]
        full, rest = divmod(phase2["trials"], per_round)
        brackets = [[(count, None)] for count in [per_round] * full + [rest] * bool(rest)]
    elif declared.is_exhaustive:
        if possible is None:
            raise ValueError(f"config: phase2.strategy is {strategy}, so phase2.space must have lists and no ranges.")
        brackets = [[(possible, None)]]
    else:
        brackets = [[(phase2["trials"], None)]]
    proposed = sum(rungs[0][0] for rungs in brackets)
    if possible is not None and possible < proposed:
        raise ValueError(
            f"config: phase2.space has {possible} distinct configurations, fewer than the {proposed} that "
            f"phase2.strategy {strategy} proposes; widen the space or lower the trials."
        )
    return {
        f"b{bracket}r{rung}s{slot:02d}": Slot(bracket, rung, slot, stop_epoch)
        for bracket, rungs in enumerate(brackets)
        for rung, (count, stop_epoch) in enumerate(rungs)
        for slot in range(count)
    }


def facts_of_training_runs(
    config: dict[str, Any], training_runs: dict[str, dict[str, int]], told: dict[str, dict[str, dict[str, Any]]]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Stage -> id -> facts and text encoder of every training run.

    training_runs: stage -> id -> anything. told: those that do not follow from the stage and the config alone.
    """
    encoder = {"text_encoder": config["model"]["search_encoder"]}
    places = slots(config["phase2"])
    known = {
        "phase1": {name: {**facts(), **encoder} for name in training_runs["phase1"]},
        "phase2": {name: {**places[name].facts(), **encoder} for name in training_runs["phase2"]},
    }
    return {stage: {**known.get(stage, {}), **told.get(stage, {})} for stage in training_runs}


def members(layout: dict[str, Slot], bracket: int, rung: int) -> list[str]:
    """The ids of one rung, in the order of their slots."""
    return [name for name, slot in layout.items() if (slot.bracket, slot.rung) == (bracket, rung)]


def before(layout: dict[str, Slot], bracket: int) -> list[str]:
    """The ids of all brackets before this one."""
    return list(itertools.takewhile(lambda name: layout[name].bracket < bracket, layout))
