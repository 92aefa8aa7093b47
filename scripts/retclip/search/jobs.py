"""Every training run of a study and its trial specification, from the checked config alone."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from retclip.core.config import Config, configured_defaults, subsets
from retclip.core.facts import facts
from retclip.core.hyperparameters import HYPERPARAMETERS
from retclip.search.layout import (
    FINAL_SEED,
    Confirmation,
    EncoderTrial,
    Slot,
    before,
    confirmations,
    encoder_trials,
    members,
    searches_all,
    slots,
)
from retclip.search.space import Values, grid
from retclip.search.strategies import STRATEGIES


class Final(NamedTuple):
    """kind: see core.facts. only: the hyperparameter that an ablation takes. fraction: of the train patients, where a
    subset does not see all."""

    kind: str
    encoder: str
    seed: int
    only: str | None = None
    fraction: float | None = None


@dataclass(frozen=True)
class Jobs:
    """The training runs of a run, by id. phase1: the values in which each differs from the defaults."""

    config: Config
    phase1: dict[str, Values]
    phase2: dict[str, Slot]
    confirm: dict[str, Confirmation]
    encoders: dict[str, EncoderTrial]
    final: dict[str, Final]

    @cached_property
    def training_runs(self) -> dict[str, list[str]]:
        """Stage -> ids, in the order of the run."""
        return {stage: list(getattr(self, stage)) for stage in ("phase1", "phase2", "confirm", "encoders", "final")}

    @cached_property
    def finalists(self) -> dict[str, list[str]]:
        """Candidate of the confirmation -> ids of its training runs."""
        return _by_candidate(self.confirm)

    @property
    def shown(self) -> str:
        """The final model whose qualitative examples a report shows."""
        return f"{self.config['model']['search_encoder']}-s{final_seeds(self.config)[0]}"

    @property
    def initial(self) -> str:
        """The initial weights that the shown final model started from."""
        return f"initial-s{final_seeds(self.config)[0]}"

    def of_kind(self, kind: str) -> list[str]:
        """The ids of the final models of one kind."""
        return [trial for trial, entry in self.final.items() if entry.kind == kind]

    @property
    def searched_encoders(self) -> bool:
        """Whether text encoders beside the search's have searches of their own."""
        return searches_all(self.config) and bool(self.encoders)

    def of_encoder(self, encoder: str) -> list[str]:
        """The ids of the training runs that choose this text encoder's own configuration; none where it has none."""
        return [trial for trial, entry in self.encoders.items() if entry.encoder == encoder]

    def ranked_of(self, encoder: str) -> list[str]:
        """Of these, all but the confirmations of a search: what its leaderboard ranks."""
        return [trial for trial in self.of_encoder(encoder) if self.encoders[trial].confirmation is None]

    def finalists_of(self, encoder: str) -> dict[str, list[str]]:
        """Candidate of this text encoder's confirmation -> ids of its training runs."""
        own = {trial: self.encoders[trial].confirmation for trial in self.of_encoder(encoder)}
        return _by_candidate({trial: one for trial, one in own.items() if one is not None})

    def members(self, bracket: int, rung: int, encoder: str | None = None) -> list[str]:
        """The ids of one rung of Phase 2, or of a text encoder's own search, in the order of their slots."""
        return [_own(encoder, trial) for trial in members(self.phase2, bracket, rung)]

    def is_sequential(self, stage: str) -> bool:
        """Whether some training runs of a stage wait for others of it."""
        own = stage == "encoders" and searches_all(self.config)
        strategy = STRATEGIES[self.config["phase2"]["strategy"]]
        in_turn = strategy.learns or strategy.has_rungs
        return (in_turn and (own or stage == "phase2")) or (own and bool(self.confirm))

    def encoder(self, stage: str, trial: str) -> str:
        """The text encoder of a training run."""
        if stage == "encoders":
            return self.encoders[trial].encoder
        return self.final[trial].encoder if stage == "final" else self.config["model"]["search_encoder"]

    def facts(self, stage: str, trial: str) -> dict[str, Any]:
        """What trial.json, run.json and leaderboards record of a training run, so that nobody reads it off its id."""
        if stage == "phase2":
            return self.phase2[trial].facts()
        if stage == "confirm":
            return facts("trial", candidate=self.confirm[trial].candidate)
        if stage == "encoders":
            return self.encoders[trial].facts()
        if stage == "final":
            return facts(self.final[trial].kind, ablated=self.final[trial].only)
        return facts("baseline" if stage == "phase1" and self.phase1[trial] == {} else "trial")

    def epochs_added(self, stage: str, trial: str) -> int:
        """How many epochs a training run adds: a later rung resumes where the one before it stopped."""
        phase2, slot = self.config["phase2"], self._slot(stage, trial)
        if slot and STRATEGIES[phase2["strategy"]].has_rungs:
            return epochs_of_rungs(phase2)[slot.rung]
        return section_of(self.config, self._budget(stage, trial))["epochs"]

    def all_epochs_added(self) -> dict[str, dict[str, int]]:
        """Stage -> id -> epochs that it adds, of every training run."""
        return {
            stage: {trial: self.epochs_added(stage, trial) for trial in trials}
            for stage, trials in self.training_runs.items()
        }

    def facts_to_tell(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Stage -> id -> facts and text encoder, of what does not follow from stage and config.

        Of no more: a command that told those of thousands of trials could not be started.
        """
        told = {**self.training_runs, "phase1": ["baseline"]}
        stages = ("phase1", "confirm", *(() if searches_all(self.config) else ("encoders",)), "final")
        return {
            stage: {
                trial: {**self.facts(stage, trial), "text_encoder": self.encoder(stage, trial)} for trial in told[stage]
            }
            for stage in stages
        }

    def observed(self, bracket: int, encoder: str | None = None) -> list[tuple[str, str]]:
        """Stage and id of each training run that a bracket of Phase 2, or of a text encoder's own search, may learn
        from.

        All before it, and in Phase 2 those of Phase 1 where that trained as much on as many samples.
        """
        if encoder is not None:
            return [("encoders", _own(encoder, trial)) for trial in before(self.phase2, bracket)]
        first, second = self.config["phase1"], self.config["phase2"]
        alike = all(first.get(key) == second.get(key) for key in ("train_samples", "epochs"))
        learns = STRATEGIES[second["strategy"]].learns
        earlier = [("phase2", trial) for trial in before(self.phase2, bracket)]
        return [("phase1", trial) for trial in self.phase1] + earlier if learns and alike else earlier

    def specification(self, stage: str, trial: str) -> dict[str, Any]:
        """The trial specification of a training run: all that plan_trial needs to know of the config."""
        budget, slot = self._budget(stage, trial), self._slot(stage, trial)
        changes: dict[str, Any] = {"epochs": epochs_of(self.config, budget)}
        if stage == "phase1":
            changes["values"] = self.phase1[trial]
        elif slot:
            changes["stop_epoch"] = slot.stop_epoch
        elif stage == "confirm":
            changes["seed"] = self.confirm[trial].seed
        elif stage == "encoders":
            confirmation = self.encoders[trial].confirmation
            changes["seed"] = confirmation.seed if confirmation else final_seeds(self.config)[0]
        else:
            entry = self.final[trial]
            changes.update(seed=entry.seed, shuffled=entry.kind == "control", fraction=entry.fraction)
            # only values of the tuned configuration may bring epochs of their own
            if entry.kind == "baseline" or (entry.kind == "ablation" and entry.only != "epochs"):
                changes["epochs"] = self.config["final"]["epochs"]
        return specification(
            self.config,
            trial,
            stage,
            section_of(self.config, budget),
            encoder=self.encoder(stage, trial),
            recorded=self.facts(stage, trial),
            **changes,
        )

    def _slot(self, stage: str, trial: str) -> Slot | None:
        """Its place in Phase 2, or in a text encoder's own search."""
        return self.encoders[trial].slot if stage == "encoders" else self.phase2.get(trial)

    def _budget(self, stage: str, trial: str) -> str:
        """The stage whose budget a training run has."""
        return self.encoders[trial].budget if stage == "encoders" else stage


def jobs_of(config: Config) -> Jobs:
    """The training runs of a checked config. Raises ValueError where Phase 2's space cannot fill its slots, or where
    searches of all text encoders have too many."""
    model, seeds = config["model"], final_seeds(config)
    search_encoder = model["search_encoder"]
    final = {f"{name}-s{seed}": Final("tuned", name, seed) for name in model["text_encoders"] for seed in seeds}
    final |= {f"baseline-s{seed}": Final("baseline", search_encoder, seed) for seed in seeds}
    if config["controls"]["shuffled_texts"]:
        # each seed shuffles again: a single shuffle may pair texts by luck
        final |= {f"control-s{seed}": Final("control", search_encoder, seed) for seed in seeds}
    if config["ablation"]:
        for name in tuned_names(config):
            final[f"ablation_{name}-s{seeds[0]}"] = Final("ablation", search_encoder, seeds[0], name)
    for name, fraction in subsets(config).items():
        final |= {f"{name}-s{seed}": Final("subset", search_encoder, seed, fraction=fraction) for seed in seeds}
    return Jobs(
        config,
        phase1={"baseline": {}, **grid(config["phase1"]["space"])},
        phase2=slots(config["phase2"]),
        confirm=confirmations(config),
        encoders=encoder_trials(config),
        final=final,
    )


def _own(encoder: str | None, trial: str) -> str:
    """The id that a training run of Phase 2 has in the search of a text encoder; its own where that is the search's."""
    return trial if encoder is None else f"{encoder}-{trial}"


def _by_candidate(confirmed: dict[str, Confirmation]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for trial, entry in confirmed.items():
        found.setdefault(entry.candidate, []).append(trial)
    return found


def specification(
    config: Config,
    identifier: str,
    phase: str,
    section: dict[str, Any],
    epochs: int | None = None,
    *,
    encoder: str | None = None,
    seed: int | None = None,
    values: Values | None = None,
    shuffled: bool = False,
    fraction: float | None = None,
    stop_epoch: int | None = None,
    recorded: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A trial specification. section: train_samples and val_samples, where the config has them. epochs: None where the
    trial's values say. values: those that differ from the defaults. fraction: of the train patients, where the trial
    does not see all. recorded: facts."""
    name = encoder or config["model"]["search_encoder"]
    reading = {
        "revision": None,
        "texts": None,
        "truncation_side": config["model"]["truncation_side"],
        "from_checkpoint": False,
    }
    return {
        "id": identifier,
        "phase": phase,
        **(recorded or facts()),
        "text_encoder": name,
        "text_encoder_settings": {**reading, **config["model"]["text_encoders"][name]},
        "seed": config["seed"] if seed is None else seed,
        "image_encoder": config["model"]["image_encoder"],
        "image_size": config["data"]["image_size"],
        "selection_metric": config["selection"]["metric"],
        "train_samples": section.get("train_samples"),
        "val_samples": section.get("val_samples"),
        "epochs": epochs,
        "stop_epoch": stop_epoch,
        "values": {**configured_defaults(config), **(values or {})},
        "shuffled_texts": shuffled,
        # others are planned as before there were fractions
        **({} if fraction is None else {"fraction": fraction}),
    }


def features_specification(config: Config, encoder: str) -> dict[str, Any]:
    """Of a trial specification, what both networks need to make features; nothing that differs between trials."""
    whole = specification(config, "", "", {}, encoder=encoder)
    return {
        **{name: whole[name] for name in ("text_encoder", "image_size")},
        **{name: of_whole_encoder(whole[name]) for name in ("text_encoder_settings", "image_encoder")},
        "seed": 0,
        "hyperparameters": {
            "freeze": "both",
            "lora_rank": 0,
            "temperature": 1.0,
            "learnable_temperature": False,
            "context_length": config["model"]["context_length"],
            "precision": config["training"]["precision"],
        },
    }


def of_whole_encoder(settings: dict[str, Any]) -> dict[str, Any]:
    """An encoder's settings without what of it is trained, on which its weights and features do not depend."""
    return {name: value for name, value in settings.items() if name != "train_last_layers"}


def section_of(config: Config, stage: str) -> dict[str, Any]:
    """What the config says of a stage's budget: epochs, and train_samples and val_samples where it does."""
    sections = {
        "confirm": {"epochs": config["phase2"]["epochs"], **config["confirm"]},
        "encoders": config["phase2" if searches_all(config) else "final"],
    }
    return sections[stage] if stage in sections else config[stage]


def epochs_of(config: Config, stage: str) -> int | None:
    """The epochs of a stage's training runs, or None where the space that their values come from searches over them."""
    searched = "epochs" in config["phase1" if stage == "phase1" else "phase2"]["space"]
    fixed = stage == "confirm" and "epochs" in config["confirm"]
    return None if searched and not fixed else section_of(config, stage)["epochs"]


def epochs_of_rungs(phase2: dict[str, Any]) -> list[int]:
    """How many epochs each rung adds: a later one resumes from the state of the one before."""
    ends = phase2["rungs"]["epochs"]
    return [end - begin for begin, end in zip([0, *ends[:-1]], ends, strict=True)]


def tuned_names(config: Config) -> list[str]:
    """The hyperparameters that the two phases search over, in their fixed order."""
    return [name for name in HYPERPARAMETERS if name in {**config["phase1"]["space"], **config["phase2"]["space"]}]


def final_seeds(config: Config) -> list[int]:
    """The seeds of final models, which no choice has seen."""
    return [config["seed"] + FINAL_SEED + offset for offset in range(config["final"]["seeds"])]


def cached_networks(config: Config) -> set[str]:
    """Of image and text, those whose features are computed once for all trials: frozen in at least one of them.

    Augmented images are new in every step, and random weights are others for every seed: those are never cached.
    """
    # where a search varies what is frozen, some of its trials read features, and the others run the network
    second = config["phase2"]["space"].get("freeze")
    frozen = {config["model"]["freeze"], *config["phase1"]["space"].get("freeze", [])}
    frozen |= set(second) if isinstance(second, list) else set()
    cached = {name for name in ("image", "text") if frozen & {name, "both"}}
    stable = not config["training"]["augment"] and config["model"]["image_encoder"].get("weights") is not None
    return cached if stable else cached - {"image"}
