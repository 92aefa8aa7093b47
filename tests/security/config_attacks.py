"""Configs of strangers: grids without end, names that no disk holds, values that run code."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from running import merged
from security.attacks import Attack, begin

from retclip.core.config import check_config
from retclip.core.logs import run_entry


def checked(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    """The check of the demo's config with a change, and the jobs of the run: what a dry run does first."""

    def work(folder: Path) -> None:
        from retclip.search.jobs import jobs_of

        config = merged("demo")
        config["data"]["class_map"] = str(Path(__file__).parents[2] / "config/odir_classes.yaml")
        change(config)
        begin()
        run_entry(lambda _: print(len(jobs_of(check_config(config)).training_runs["phase1"]), "trials"))

    return work


def put(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(config: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for name in parents:
            config = config[name]
        config[last] = value

    return change


def grid(config: dict[str, Any]) -> None:
    """10^7 combinations in five lists."""
    config["phase1"]["space"] = {
        "learning_rate": [1e-5 * (index + 1) for index in range(25)],
        "batch_size": list(range(2, 27)),
        "warmup_steps": list(range(25)),
        "weight_decay": [0.01 * index for index in range(25)],
        "epochs": list(range(1, 27)),
    }


def exhaustive(config: dict[str, Any]) -> None:
    grid(config)
    config["phase2"]["space"], config["phase2"]["strategy"] = config["phase1"]["space"], "grid"
    config["phase1"]["space"] = {"learning_rate": [1e-3]}


def aliases(config: dict[str, Any]) -> None:
    value: list[Any] = ["x"] * 10
    for _ in range(9):
        value = [value] * 10
    config["data"]["columns"] = {"ignore": value}


SENTENCE, RUNGS = "error: config", {"slots": [10**9], "epochs": [1]}
ATTACKS = {
    "phase1: a grid of 10^7 trials": Attack(checked(grid), "error: .*phase1.space"),
    "phase2: a grid of 10^7 trials": Attack(checked(exhaustive), "error: .*phase2.space"),
    "phase2: rungs of 10^9 trials": Attack(
        checked(lambda config: config["phase2"].update(strategy="tpe_halving", rungs=RUNGS)),
        SENTENCE,
    ),
    "config that is a bomb of aliases": Attack(checked(aliases), "error: .*aliases"),
    "config with __use_yte__": Attack(checked(put("__use_yte__", True)), "error: .*__use_yte__"),
    "data.image_size: 60000": Attack(checked(put("data.image_size", 60_000)), SENTENCE),
    "data.demo_patients: 10^12": Attack(checked(put("data.demo_patients", 10**12)), SENTENCE),
    "model.image_encoder of 10^7 layers": Attack(
        checked(put("model.image_encoder", {"layers": 10**7, "width": 64, "head_width": 64, "patch_size": 16,
                                            "embed_dim": 64})), SENTENCE
    ),
    "model.image_encoder.embed_dim: 10^9": Attack(
        checked(lambda config: config["model"]["image_encoder"].update(embed_dim=10**9)), SENTENCE
    ),
    "run: a name with a line end behind it": Attack(checked(put("run", "demo\n")), SENTENCE),
    "run: ../../etc": Attack(checked(put("run", "../../etc")), SENTENCE),
    "run: 300 letters": Attack(checked(put("run", "r" * 300)), SENTENCE),
    "evaluation.prompts: a path with braces": Attack(checked(put("evaluation.prompts", "{0.a}.yaml")), SENTENCE),
    "evaluation.prompts: 300 letters": Attack(checked(put("evaluation.prompts", "p" * 300)), SENTENCE),
    "a text encoder's name with a line end": Attack(
        checked(lambda config: config["model"]["text_encoders"].update({"x\n": {"source": "demo"}})), SENTENCE
    ),
    "an external test's name that leads away": Attack(
        checked(put("evaluation.external_tests", {"../x": {"source": "demo"}})), SENTENCE
    ),
    "a seed of 5,000 digits": Attack(checked(put("seed", 10**4000)), SENTENCE),
}  # fmt: skip
