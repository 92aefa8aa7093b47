"""What a run will cost and what its budgets adjust, before it is paid for."""

import itertools
import operator
from typing import Any, NamedTuple

from retclip.core.config import Config, configured_defaults, subsets
from retclip.core.hyperparameters import ends
from retclip.core.trial import Trial
from retclip.search.budget import RANKABLE_STEPS, plan, planned_cost, same_training
from retclip.search.jobs import cached_networks, epochs_of, epochs_of_rungs, section_of, specification
from retclip.search.space import Values, grid, near_best
from retclip.search.strategies import STRATEGIES

# A forward pass alone, against a step with its backward pass.
EVALUATION_SHARE = 1 / 3
# Of a training run of heads on cached features, on one core: seconds for imports, plan, scores and files; for the same
# as a fork of a process that has imported all; and samples a second. All measured (tests/bench/README.md, `frozen`; a
# run of config/laptop.yaml).
START_SECONDS = 10.0
FORK_SECONDS = 1.0
HEADS_PER_SECOND = 2000.0

# Hyperparameters that a budget cares for.
BUDGETED = ("batch_size", "warmup_steps", "epochs", "warmup_share")


class Stage(NamedTuple):
    """training_runs, and of the configurations that they may have: steps, warm-up share (lowest, highest), samples
    shown to the model by all of them, cuts (adjustments: sentence -> configurations), how many became equal to another,
    how many of a ranked stage are too short to be ranked, of how many the warm-up was cut, and their budgets: (train
    samples, val samples, steps).
    finished: training runs that need not be paid for again."""

    name: str
    training_runs: int
    steps: tuple[int, int]
    warmup: tuple[float, float]
    samples_shown: float
    cuts: dict[str, int]
    equal: int
    few_steps: int
    warmups_cut: int
    configurations: int
    budgets: frozenset[tuple[int, int, int]]
    finished: int = 0

    @property
    def samples_to_come(self) -> float:
        """Of samples_shown, those of training runs that have not finished."""
        return self.samples_shown * (1 - self.finished / self.training_runs)


def forecast(config: Config, counts: dict[str, int], training_runs: dict[str, int]) -> list[Stage]:
    """One entry a stage of `training_runs` (stage -> how many). counts: samples per split.

    Phase 1's values are known; those of later stages depend on what it selects, so all that it may select are planned.
    Raises ValueError where no optimizer step is left.
    """
    defaults, first = configured_defaults(config), phase1_values(config)
    second = _phase2_values(config["phase2"]["space"], first)
    values = {"phase1": first, "phase2": second, "confirm": second, "encoders": second, "final": [*second, defaults]}
    return [
        _stage(name, training_runs[name], values[name], config, counts) for name in values if training_runs.get(name)
    ]


def phase1_values(config: Config) -> list[Values]:
    """The configurations of Phase 1, the baseline first: what Phase 2 may start from."""
    defaults = configured_defaults(config)
    points = ({}, *grid(config["phase1"]["space"]).values())
    return [{**defaults, **_without_auto(point, defaults)} for point in points]


def trains_heads_alone(config: Config) -> bool:
    """Whether every training run is one of heads on cached features, on a CPU."""
    return config["training"]["device"] == "cpu" and cached_networks(config) == {"image", "text"}


def cached_seconds(stages: list[Stage], samples_per_second: float | None, start: float) -> float:
    """Of all training runs that have not finished, on cached features and one core. samples_per_second: as measured;
    None before that. start: seconds that each takes beside its steps."""
    to_come = sum(stage.training_runs - stage.finished for stage in stages)
    return to_come * start + device_seconds(stages, samples_per_second or HEADS_PER_SECOND)


def seconds_to_come(
    config: Config, stages: list[Stage], samples_per_second: float | None, start: float
) -> float | None:
    """Of all training runs that have not finished, on the devices that they get; None where nobody knows the speed.

    samples_per_second: what find_lr measured; None before that. start: as above; it counts beside steps of heads alone.
    """
    if trains_heads_alone(config):
        return cached_seconds(stages, samples_per_second, start)
    if samples_per_second is None:
        return None
    return device_seconds(stages, samples_per_second) * max(1, config["training"]["gpus"])


def device_seconds(stages: list[Stage], samples_per_second: float) -> float:
    """Of all training runs that have not finished and their evaluations, on one device of the measured speed."""
    return sum(stage.samples_to_come for stage in stages) / samples_per_second


def belongs(stage: Stage, trial: Trial, config: Config) -> bool:
    """Whether a trial is of this config and stage, as far as that is known before its search has chosen."""
    first, defaults = set(config["phase1"]["space"]), configured_defaults(config)
    searched = first if stage.name == "phase1" else first | set(config["phase2"]["space"])
    budget = trial.budget
    sized = (budget.train_samples, budget.val_samples, budget.total_steps) in stage.budgets
    if trial.subset:
        # how many samples a fraction has, only the table of samples tells
        sized = trial.subset.fraction in subsets(config).values()
    return (
        config["model"]["image_encoder"].items() <= trial.image_encoder.items()
        and trial.image_size == config["data"]["image_size"]
        and all(trial.configured.get(name) == value for name, value in defaults.items() if name not in searched)
        and sized
    )


def _stage(name: str, training_runs: int, values: list[Values], config: Config, counts: dict[str, int]) -> Stage:
    planned = specification(config, "planned", "planned", section_of(config, name), epochs_of(config, name))
    trials = [plan({**planned, "class_prompts": {}}, one, counts) for one in values]
    steps = [trial.budget.total_steps for trial in trials]
    shares = [trial.hyperparameters["warmup_steps"] / total for trial, total in zip(trials, steps, strict=True)]
    shown = [planned_cost(trial) + EVALUATION_SHARE * trial.budget.val_samples * trial.budget.stop_epoch
             for trial in trials]  # fmt: skip
    cuts: dict[str, int] = {}
    for trial in trials:
        for cut in trial.budget.cuts:
            sentence = f"{cut.key} {cut.configured} becomes {cut.used}: {cut.reason}"
            cuts[sentence] = cuts.get(sentence, 0) + 1
    different = len({same_training(trial) for trial in trials})
    share = _share_trained(config["phase2"]) if name == "phase2" else 1.0
    if name == "final":
        share = _share_of_data(config, training_runs)
    return Stage(
        name=name,
        training_runs=training_runs,
        steps=(min(steps), max(steps)),
        warmup=(min(shares), max(shares)),
        samples_shown=share * training_runs * sum(shown) / len(shown),
        cuts=cuts,
        equal=len(trials) - different if name == "phase1" else 0,
        few_steps=sum(count < RANKABLE_STEPS for count in steps) if name in ("phase1", "phase2") else 0,
        warmups_cut=sum(any(cut.key == "warmup_steps" for cut in trial.budget.cuts) for trial in trials),
        configurations=len(trials),
        budgets=frozenset(
            (trial.budget.train_samples, trial.budget.val_samples, trial.budget.total_steps) for trial in trials
        ),
    )


def _share_trained(phase2: dict[str, Any]) -> float:
    """Of what all training runs would see at full length, what they see where rungs stop them early."""
    if not STRATEGIES[phase2["strategy"]].has_rungs:
        return 1.0
    slots, added = phase2["rungs"]["slots"], epochs_of_rungs(phase2)
    return sum(map(operator.mul, slots, added)) / (sum(slots) * sum(added))


def _share_of_data(config: Config, training_runs: int) -> float:
    """Of what all final training runs would see of the whole data, what they see where some take a fraction of it."""
    left_out = sum(1 - fraction for fraction in subsets(config).values()) * config["final"]["seeds"]
    return 1 - left_out / training_runs


def _phase2_values(space: dict[str, Any], candidates: list[Values]) -> list[Values]:
    """Every configuration that differs in what a budget cares for."""
    found: dict[tuple[Any, ...], Values] = {}
    for best in candidates:
        names = [name for name in BUDGETED if name in space]
        absolute = near_best({name: space[name] for name in names}, best)
        for point in itertools.product(*map(ends, absolute.values())):
            values = {**best, **dict(zip(absolute, point, strict=True))}
            found.setdefault(tuple(values[name] for name in BUDGETED), values)
    return list(found.values())


def _without_auto(point: Values, defaults: Values) -> Values:
    """A learning rate that the finder has yet to lay out costs what any other costs."""
    if isinstance(point.get("learning_rate"), dict):
        # kept apart from the others, so that it is not called equal to them
        return {**point, "learning_rate": defaults["learning_rate"] * (point["learning_rate"]["auto"] + 2)}
    return point
