"""Phase 2 as brackets of rungs of slots: one mechanism for every strategy, known before anything runs.

A slot of the first rung takes a proposal of its bracket; slot k of a later rung resumes the k-th best of the rung
before. Random search is one bracket with one rung, TPE in rounds is several such, halving is brackets with rungs. The
best are confirmed with fresh seeds. phase2.search_encoders: all lays all of this out once more for each text encoder.
"""

import itertools
from typing import Any, NamedTuple

from retclip.core.facts import facts
from retclip.search.space import size
from retclip.search.strategies import STRATEGIES

# Above the base seed start here confirmations and final models, so that neither shares a run with what was chosen
# for its luck: the best of twenty single training runs is the luckiest one, too.
CONFIRM_SEED, FINAL_SEED = 1000, 2000
# Of all searches of further text encoders together: more ids would not fit into a command.
MOST_ENCODER_TRIALS = 2000


class Slot(NamedTuple):
    """stop_epoch: after which the training stops for now; None where it runs to the end of its schedule."""

    bracket: int
    rung: int
    slot: int
    stop_epoch: int | None

    def facts(self) -> dict[str, Any]:
        """What its trial's specification records of it."""
        return facts("trial", bracket=self.bracket, rung=self.rung, slot=self.slot)


class Confirmation(NamedTuple):
    """rank: of its configuration in its search, from 0. candidate: the name that its seeds share."""

    rank: int
    candidate: str
    seed: int


class EncoderTrial(NamedTuple):
    """What chooses a text encoder's own configuration: the tuned one at a multiple of its learning rate or, of a search
    of its own, a slot or a confirmation."""

    encoder: str
    factor: float = 1.0
    slot: Slot | None = None
    confirmation: Confirmation | None = None

    @property
    def budget(self) -> str:
        """The stage whose budget it has."""
        return "phase2" if self.slot else "confirm" if self.confirmation else "encoders"

    @property
    def place(self) -> int:
        """Which of the candidates that it may take it takes, from 0."""
        return self.slot.slot if self.slot else self.confirmation.rank if self.confirmation else 0

    def facts(self) -> dict[str, Any]:
        """What its trial's specification records of it."""
        if self.slot:
            return self.slot.facts()
        return facts("trial", candidate=self.confirmation.candidate if self.confirmation else None)


def searches_all(config: dict[str, Any]) -> bool:
    """Whether each text encoder has a search of its own."""
    return bool(config["phase2"]["search_encoders"] == "all")


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


def confirmations(config: dict[str, Any]) -> dict[str, Confirmation]:
    """id -> the training runs that confirm the best of a search, in the order of its ranks."""
    confirm = config["confirm"]
    return {
        f"c{rank}s{seed}": Confirmation(rank, f"c{rank}", config["seed"] + CONFIRM_SEED + seed)
        for rank in range(confirm["top_k"])
        for seed in range(confirm["seeds"])
    }


def encoder_trials(config: dict[str, Any]) -> dict[str, EncoderTrial]:
    """id -> every training run that chooses a text encoder's own configuration.

    Of a search, each has what the search encoder has: slots, finalists and seeds. Raises ValueError where those are
    more than can be told, or the space cannot fill the slots.
    """
    encoders, factors = config["model"]["text_encoders"], config["final"]["learning_rate_factors"]
    if not searches_all(config):
        return {
            f"{name}-x{position}": EncoderTrial(name, factor)
            for name in encoders
            for position, factor in enumerate(factors)
            if factors != [1.0]
        }
    searched, confirmed = slots(config["phase2"]), confirmations(config)
    found: dict[str, EncoderTrial] = {}
    for name in (name for name in encoders if name != config["model"]["search_encoder"]):
        found |= {f"{name}-{trial}": EncoderTrial(name, slot=slot) for trial, slot in searched.items()}
        for trial, one in confirmed.items():
            own = one._replace(candidate=f"{name}-{one.candidate}")
            found[f"{name}-{trial}"] = EncoderTrial(name, confirmation=own)
    if len(found) > MOST_ENCODER_TRIALS:
        raise ValueError(
            f"config: phase2.search_encoders: all adds {len(found):,} training runs for the other text encoders; "
            f"{MOST_ENCODER_TRIALS:,} are the most: lower phase2.trials, or search fewer text encoders."
        )
    return found


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
    if searches_all(config):
        known["encoders"] = {
            name: {**one.facts(), "text_encoder": one.encoder} for name, one in encoder_trials(config).items()
        }
    return {stage: {**known.get(stage, {}), **told.get(stage, {})} for stage in training_runs}


def members(layout: dict[str, Slot], bracket: int, rung: int) -> list[str]:
    """The ids of one rung, in the order of their slots."""
    return [name for name, slot in layout.items() if (slot.bracket, slot.rung) == (bracket, rung)]


def before(layout: dict[str, Slot], bracket: int) -> list[str]:
    """The ids of all brackets before this one."""
    return list(itertools.takewhile(lambda name: layout[name].bracket < bracket, layout))
