"""Shared runs: each is made once per test session, in a folder of pytest's."""

import atexit
import ctypes
import gc
import json
import os
import shlex
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import forked
import pytest
from running import REPOSITORY, build_flags, declared_defaults, entry, made_once, snakemake

# the demo with so little of everything that the whole pipeline takes a minute
SMALL = """
run: small
data: {demo_patients: 130}
model:
  text_encoders: {biobert: null}
phase1: {epochs: 1, space: {learning_rate: [1.0e-3, 3.0e-3], batch_size: [32], warmup_steps: [2]}}
phase2: {trials: 2, epochs: 1, space: {learning_rate: {times_best: [0.6, 1.0, 1.4]}, batch_size: from_best,
  warmup_steps: [2], weight_decay: [0.1], temperature: [0.1, 0.2]}}
confirm: {top_k: 1, seeds: 1}
final: {epochs: 1}
study: {data_fractions: []}
ablation: false
controls: {shuffled_texts: false}
lr_finder: {num_iter: 20}
"""


# `make test` hands these on; a make that a test starts would then talk as a part of that one (make[1]: Entering ...)
for inherited in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES"):
    os.environ.pop(inherited, None)


# What lasts minutes is begun first, so that no process is left alone with it in the end. The first makes the small run;
# the one after it has no need of that.
LONGEST = (
    "workflow/test_small_run", "security/test_attacks", "workflow/test_real_encoders", "workflow/test_commands",
    "workflow/test_strategies", "reliability/test_faults", "reliability/test_damage", "workflow/test_training",
    "workflow/test_texts_of_others", "workflow/test_gpus", "workflow/test_several_processes",
    "workflow/test_final_options", "workflow/test_search_encoders", "workflow/test_several_labels",
    "workflow/test_fine_tuning", "workflow/test_other_sources", "reliability/test_reruns",
    "workflow/test_real_photographs", "workflow/test_frozen_encoders", "workflow/test_report_page",
    "workflow/test_learned", "reliability/test_snakemake", "workflow/test_tracking", "workflow/test_halving",
    "rules/test_sbatch", "unit/test_fetch", "rules/test_plan", "unit/test_recipes", "unit/test_compiled_steps",
    "rules/test_site_resources", "unit/test_shared_folders", "unit/test_model", "unit/test_fake_cuda",
    "workflow/test_evaluation",
    # of test-fast; one process must not be left alone with them, either
    "unit/test_bad_input", "unit/test_locks", "unit/test_image_weights", "unit/test_check_gpu", "unit/test_forks",
    "unit/test_search", "unit/test_audit", "unit/test_text_encoders", "unit/test_sources", "unit/test_step",
    "unit/test_gpu_lease", "unit/test_scores", "unit/test_house", "unit/test_data", "unit/test_near_duplicates",
)  # fmt: skip


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: Any) -> None:
    """The processes of pytest -n 2 are forks that have imported all that tests import, not each for itself."""
    if config.rootpath == REPOSITORY:
        for spec in specs:
            spec.python = shlex.quote(forked.python())  # which is parted as a shell does


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What finding the tests imports is a million objects, all of which Python's collector looks through, again and
    again while they come, and then in every test. They stay until the end, so that it need not."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        atexit.register(gc.unfreeze)  # else libraries print at the end what they think has leaked
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    begun = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: begun.get(group_of(item.nodeid), len(begun)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With several processes (pytest -n 2), a file's tests stay in one of them, and so does whatever needs Slurm. The
    marks that xdist has for that are lost on pytest 9."""
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    config.option.loadscopereorder = False  # the order is that of LONGEST
    return Groups(config, log)


def group_of(nodeid: str) -> str:
    """workflow/test_training of a test in tests/workflow/test_training.py, and slurm of all in tests/slurm."""
    path = Path(nodeid.partition("::")[0])
    return "slurm" if path.parent.name == "slurm" else f"{path.parent.name}/{path.stem}"


@pytest.fixture(scope="module", autouse=True)
def freed_memory_given_back() -> Generator[None]:
    """Training on a CPU keeps what it has freed (loading/device.py), 6 GB after a ViT-L; every process that is forked
    from this one would copy the table of its pages."""
    yield
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture(scope="session")
def small_config(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The flag and files of the small run."""
    path = tmp_path_factory.mktemp("config") / "small.yaml"
    path.write_text(SMALL)
    return ["--configfile", str(REPOSITORY / "config/demo.yaml"), str(path)]


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory, small_config: list[str]) -> Path:
    """The working directory of the small run, finished. Whoever changes it copies it first."""
    return made_once(
        tmp_path_factory.getbasetemp(), "small", lambda folder: snakemake(folder, *small_config, forks=False)
    )


@pytest.fixture(scope="session")
def demo_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's data at its real size: data/ as build_lmdb makes it, and encoder/, its pubmedbert."""
    return made_once(tmp_path_factory.getbasetemp(), "demo", _make_demo_data)


def _make_demo_data(folder: Path) -> None:
    table, images = folder / "manifest.csv", folder / "images"
    entry("make_demo_data", "--patients", 1400, "--seed", 1, "--threads", 2, "--output-manifest", table,
          "--output-images", images)  # fmt: skip
    entry("build_lmdb", *build_flags(table, images, folder / "data", folder / "state", source="demo", image_size=64,
                                     threads=2))  # fmt: skip
    entry("make_demo_encoder", "--name", "pubmedbert", "--seed", 1, "--output", folder / "encoder")


DEMO_VALUES = {
    **declared_defaults(),
    "learning_rate": 3e-3,
    "batch_size": 32,
    "warmup_steps": 10,
    "weight_decay": 0.1,
    "temperature": 0.1,
    "learnable_temperature": True,
    "epochs": 6,
    "lr_scheduler": "cosine",
    "optimizer": "adamw",
    "max_grad_norm": 1.0,
    "freeze": "none",
    "augment": False,
    "same_class_negatives": "keep",
    "context_length": 96,
    "early_stopping_patience": None,
    "precision": "auto",
}


@pytest.fixture(scope="session")
def plan_demo_trial(demo_data: Path):
    """Plans a trial on the demo's data: plan(folder, shuffled_texts=..., **hyperparameters) -> trial.json."""

    def plan(
        folder: Path, shuffled_texts: bool = False, train_samples: int | None = None, seed: int = 1, **values
    ) -> Path:
        specification = {
            "id": folder.name,
            "phase": "phase2",
            "text_encoder": "pubmedbert",
            "text_encoder_settings": {
                "source": "demo",
                "revision": None,
                "texts": None,
                "truncation_side": "right",
                "from_checkpoint": False,
            },
            "seed": seed,
            "image_encoder": {"architecture": "timm/demo_conv", "embed_dim": 128},
            "image_size": 64,
            "selection_metric": "zero_shot_balanced_accuracy",
            "train_samples": train_samples,
            "val_samples": None,
            "epochs": None,
            "values": {**DEMO_VALUES, **values},
            "shuffled_texts": shuffled_texts,
        }
        folder.mkdir(exist_ok=True)
        entry("plan_trial", "--specification", json.dumps(specification),
              "--fingerprint", demo_data / "data/fingerprint.json",
              "--prompts", REPOSITORY / "config/prompts.yaml", "--output", folder / "trial.json")  # fmt: skip
        return folder / "trial.json"

    return plan


def training_arguments(demo_data: Path, trial: Path, state: Path) -> list[object]:
    """The flags of train_trial for a trial on the demo's data; its results lie beside its trial.json."""
    return ["--trial", trial, "--data-dir", demo_data / "data", "--encoder-dir", demo_data / "encoder",
            "--state-dir", state, "--code", "test", "--output-dir", trial.parent]  # fmt: skip
