"""Every hyperparameter, declared once: its values, its place in the config, and how people see it.

Trials, leaderboards, figures, methods and W&B read these entries; the blocks of config/schema that repeat them and the
table of config/README.md are made of them (make reference).
"""

from dataclasses import dataclass
from typing import Any, Literal

# Stands for no default: config.yaml has to give the value.
GIVEN: Any = object()

Kind = Literal["number", "integer", "boolean", "choice"]


@dataclass(frozen=True, kw_only=True)
class Hyperparameter:
    """One hyperparameter.

    at: its key in the config, section and name. about: what it is, for the key table. choices: of a choice, else
    empty. above, least: bounds that no training run can leave; config_least, config_most: narrower ones of what a
    config may say, since a search may multiply a value (times_best). default: the baseline's value where the config
    says nothing; None: it is off. searched: may a space hold it? label: its name for people; by default, its name.
    log: figures show it on a logarithmic axis. unit: of the configured value, behind the label of an axis.
    guide_gain: what the RET-CLIP tuning guide expects of tuning it, "" where it says nothing of one that it tunes.
    """

    at: str
    about: str
    kind: Kind
    choices: tuple[str, ...] = ()
    above: float | None = None
    least: int | float | None = None
    config_least: float | None = None
    config_most: int | float | None = None
    default: Any = GIVEN
    searched: bool = True
    label: str = ""
    log: bool = False
    unit: str = ""
    guide_gain: str | None = None

    @property
    def is_numeric(self) -> bool:
        return self.kind in ("number", "integer")

    def of(self, config: dict[str, Any]) -> Any:
        """The baseline's value in a checked config."""
        section, key = self.at.split(".")
        return config[section][key] if self.default is GIVEN else config[section].get(key, self.default)

    def schema(self, configured: bool = False) -> dict[str, Any]:
        """JSON schema of one value: of a trial's, or of what a config may say."""
        if self.kind == "choice":
            return {"enum": list(self.choices)}
        if self.kind == "boolean":
            return {"type": "boolean"}
        least = self.config_least if configured and self.config_least is not None else self.least
        bounds = {
            "minimum": least,
            "exclusiveMinimum": self.above if least is None else None,
            "maximum": self.config_most if configured else None,
        }
        off = self.default is None and not configured
        kind: Any = [self.kind, "null"] if off else self.kind
        return {"type": kind, **{name: bound for name, bound in bounds.items() if bound is not None}}


# In the order in which they are named everywhere: trial.json, leaderboards, ids. A new one goes to the end.
HYPERPARAMETERS = {
    "learning_rate": Hyperparameter(
        at="defaults.learning_rate", about="peak learning rate", kind="number", above=0, config_most=1, log=True,
        guide_gain="2 to 5 %",
    ),
    "batch_size": Hyperparameter(
        at="defaults.batch_size", about="samples (patients) per optimizer step", kind="integer", least=2,
        unit="samples", guide_gain="1 to 3 %",
    ),
    "warmup_steps": Hyperparameter(
        at="defaults.warmup_steps", about="optimizer steps of a full run over which the learning rate rises",
        kind="integer", least=0, label="warm-up steps", unit="of a full run", guide_gain="1 to 2 %",
    ),
    "weight_decay": Hyperparameter(
        at="defaults.weight_decay", about="of weight matrices; biases, norms and scales have none", kind="number",
        least=0, guide_gain="",
    ),
    "temperature": Hyperparameter(
        at="defaults.temperature", about="initial softmax temperature of the contrastive loss", kind="number", above=0,
        config_least=0.01, config_most=1, log=True, guide_gain="1 to 2 %",
    ),
    "learnable_temperature": Hyperparameter(
        at="defaults.learnable_temperature", about="whether training changes the temperature", kind="boolean",
    ),
    "epochs": Hyperparameter(
        at="defaults.epochs", about="passes over the data in a full run", kind="integer", least=1,
        unit="of a full run",
    ),
    "lr_scheduler": Hyperparameter(
        at="defaults.lr_scheduler", about="course of the learning rate after the warm-up", kind="choice",
        choices=("cosine", "linear", "constant"), label="schedule",
    ),
    "optimizer": Hyperparameter(
        at="defaults.optimizer", about="optimizer", kind="choice", choices=("adamw", "adam", "sgd"),
    ),
    "max_grad_norm": Hyperparameter(
        at="training.max_grad_norm", about="gradients are clipped to this norm", kind="number", above=0,
        searched=False,
    ),
    "freeze": Hyperparameter(
        at="model.freeze", about="encoders that keep their initial weights", kind="choice",
        choices=("none", "image", "text", "both"),
    ),
    "augment": Hyperparameter(
        at="training.augment", about="small random rotations, crops and color jitter", kind="boolean", searched=False,
    ),
    "same_class_negatives": Hyperparameter(
        at="training.same_class_negatives",
        about="what to do with in-batch negatives that share the positive's label", kind="choice",
        choices=("keep", "mask"),
    ),
    "context_length": Hyperparameter(
        at="model.context_length", about="tokens of a report that are read", kind="integer", least=8, config_most=512,
        searched=False, unit="tokens",
    ),
    "early_stopping_patience": Hyperparameter(
        at="training.early_stopping_patience",
        about="epochs without a better selection.metric before a training run stops; null trains to the end",
        kind="integer", least=1, default=None, searched=False, unit="epochs",
    ),
    "precision": Hyperparameter(
        at="training.precision",
        about="auto is bf16 on a GPU that computes in it, fp16 on one with tensor cores for that alone (V100, T4), "
        "else fp32",
        kind="choice", choices=("auto", "fp32", "bf16"), searched=False,
    ),
    "layer_decay": Hyperparameter(
        at="defaults.layer_decay",
        about="each block of an encoder learns at this share of the rate of the one above it; 1: all at the same rate",
        kind="number", above=0, config_most=1, default=1.0,
    ),
    "lora_rank": Hyperparameter(
        at="defaults.lora_rank",
        about="rank of the LoRA adapters of attention projections, which then train in place of the encoders; 0: none",
        kind="integer", least=0, config_most=256, default=0, label="LoRA rank",
    ),
    "warmup_share": Hyperparameter(
        at="defaults.warmup_share",
        about="share of each run's own steps over which the learning rate rises; 0: warmup_steps says it",
        kind="number", least=0, config_most=0.8, default=0.0, label="warm-up share",
    ),
    "compile": Hyperparameter(
        at="training.compile",
        about="whether torch.compile compiles the encoders for training steps: a later first step; other rounding, "
        "so that training runs drift apart as between two devices",
        kind="boolean", default=False, searched=False,
    ),
}  # fmt: skip


def values_in(config: dict[str, Any], name: str) -> dict[str, list[Any]]:
    """Where a checked config sets a hyperparameter -> its values there: the baseline's, and those of both spaces; of a
    range both ends. What is relative to another phase's value is left out."""
    declared = HYPERPARAMETERS[name]
    found = {declared.at: [declared.of(config)]}
    for phase in ("phase1", "phase2"):
        given = config[phase]["space"].get(name)
        if isinstance(given, list) or (isinstance(given, dict) and "low" in given):
            found[f"{phase}.space.{name}"] = ends(given)
    return found


def ends(values: Any) -> list[Any]:
    """A list of a space, or the ends of its range."""
    return values if isinstance(values, list) else [values["low"], values["high"]]


def label_of(name: str) -> str:
    """A hyperparameter's name for people; any other name in words."""
    declared = HYPERPARAMETERS.get(name)
    return declared.label if declared and declared.label else name.replace("_", " ")
