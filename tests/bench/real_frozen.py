"""What evaluations and trials on real frozen encoders cost: EfficientNet-lite0 with ImageNet's weights, and MiniLM.

1,000 patients with two eyes, random images and sentences in their place, since only time is measured. Without the
packages of `make weights` there are no rows.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from documents import ENCODER, trial_of
from figures import Figure, cpu_seconds
from real_encoders import IMAGE_ARCHITECTURE, IMAGE_CHECKPOINT, TEXT_ENCODER, write_image_weights
from running import ENVIRONMENT, REPOSITORY, declared_defaults
from shapes import IMAGE_SIZE, write_split

PATIENTS = {"train": 700, "val": 100, "test": 200}
CLASSES = [f"class {letter}" for letter in "abcdefgh"]
SIGNS = ["optic", "disc", "macula", "drusen", "exudates", "vessels", "tortuous", "pale", "mild", "severe", "eye", "few"]
MODELS, MEASURED = 20, 2  # that the figure is of; that are run
SECONDS_A_MODEL = 10
TRIALS, EPOCHS, BATCH = 16, 10, 64
VALUES = {
    **declared_defaults(),
    "learning_rate": 1e-3, "batch_size": BATCH, "warmup_steps": 20, "weight_decay": 0.1, "temperature": 0.07,
    "learnable_temperature": True, "epochs": EPOCHS, "lr_scheduler": "cosine", "optimizer": "adamw",
    "max_grad_norm": 1.0, "freeze": "both", "augment": False, "same_class_negatives": "keep",
    "context_length": 77, "early_stopping_patience": None, "precision": "fp32",
}  # fmt: skip


def measure(folder: Path) -> list[Figure]:
    """20 evaluations beside one pass of both encoders; 16 trials in processes of their own, and sharing a start."""
    if not (IMAGE_CHECKPOINT.is_file() and TEXT_ENCODER.is_dir()):
        print("no row on real frozen encoders: make weights brings them", file=sys.stderr)
        return []
    _write_data(folder / "data")
    for name in ("image", "text"):
        (folder / name).mkdir()
    settings = {"architecture": f"timm/{IMAGE_ARCHITECTURE}", "weights": str(write_image_weights(folder / "lite0.pth"))}
    _run("fetch_vision_weights", "--settings", json.dumps(settings), "--image-size", IMAGE_SIZE,
         "--output", folder / "lite0.safetensors")  # fmt: skip
    _run("fetch_text_encoder", "--name", "minilm", "--source", TEXT_ENCODER, "--output", folder / "encoder")
    trials = [_write_trial(folder / f"t{seed}", settings, seed, folder / "lite0.safetensors") for seed in range(TRIALS)]
    passed = _cache(folder, trials[0])
    return [_evaluations(folder, trials[0], passed), _one_process(folder, trials)]


def _write_data(folder: Path) -> None:
    generator, splits = np.random.default_rng(0), {}
    for name, count in PATIENTS.items():
        ids = [f"{name}{index}" for index in range(count)]
        frame = pd.DataFrame({"sample_id": ids, "patient_id": ids, "eyes": "both"})
        for column in ("label", "label_left", "label_right"):
            frame[column] = generator.choice(CLASSES, count)
        for column in ("text", "text_left", "text_right"):
            frame[column] = [" ".join(generator.choice(SIGNS, generator.integers(15, 50))) for _ in range(count)]
        write_split(folder, name, frame, 2 * count)
        splits[name] = {"samples": count, "patients": count, "sha256": name, "eyes": {"left": count, "right": count},
                        "lmdb_bytes": (folder / f"{name}.lmdb").stat().st_size,
                        "per_class": frame["label_left"].value_counts().to_dict()}  # fmt: skip
    document = {"classes": CLASSES, "label_level": "eye", "text_level": "patient", "texts_from_labels": False,
                "image_encoding": "raw", "sha256": "0" * 64, "splits": splits}  # fmt: skip
    (folder / "fingerprint.json").write_text(json.dumps(document))


def _write_trial(folder: Path, settings: dict, seed: int, weights: Path) -> Path:
    from retclip.core.preprocessing import with_weights_settings

    steps = -(-PATIENTS["train"] // BATCH)
    budget = {"train_samples": PATIENTS["train"], "val_samples": PATIENTS["val"], "stop_epoch": EPOCHS,
              "steps_per_epoch": steps, "total_steps": steps * EPOCHS, "cuts": []}  # fmt: skip
    trial = trial_of(id=f"t{seed}", seed=seed, text_encoder="minilm", text_encoder_settings=ENCODER, budget=budget,
                     image_encoder=with_weights_settings(settings, weights), image_size=IMAGE_SIZE,
                     class_prompts={name: [f"a photograph of {name}", name] for name in CLASSES},
                     hyperparameters=VALUES, configured=VALUES)  # fmt: skip
    folder.mkdir()
    (folder / "trial.json").write_text(json.dumps(trial.to_dict()))
    return folder / "trial.json"


def _cache(folder: Path, trial: Path) -> float:
    """CPU seconds of one pass of both encoders over all splits."""
    before = cpu_seconds()
    for network in ("image", "text"):
        for place, splits in (("features", ("train", "val")), ("test", ("test",))):
            _run("cache_features", "--specification", trial.read_text(), "--modality", network, *_read(folder),
                 "--encoder-dir", folder / "encoder", "--image-weights", folder / "lite0.safetensors",
                 "--splits", *splits, "--output", folder / f"{network}/{place}.safetensors")  # fmt: skip
    return cpu_seconds() - before


def _evaluations(folder: Path, trial: Path, passed: float) -> Figure:
    _run("train_trial", *_training(folder, trial, "export"), "--export")
    before = cpu_seconds()
    for _ in range(MEASURED):
        _run("evaluate_final", "--trial", trial, "--model-dir", folder / "export/t0/model", *_read(folder),
             "--code", "bench", *_features(folder, "features", "test"), "--output-evaluation",
             folder / "evaluation.json", "--output-predictions", folder / "predictions.parquet")  # fmt: skip
    spent = (cpu_seconds() - before) / MEASURED * MODELS
    allowed = passed + SECONDS_A_MODEL * MODELS
    name = (
        f"frozen, real: {MODELS} evaluations of {sum(PATIENTS.values()):,} patients from features; beside it one pass "
        f"of both encoders ({passed:.0f} CPU s) and {SECONDS_A_MODEL} s a model"
    )
    return Figure(name, spent, "CPU s", allowed, spent / allowed, "<= 1", (spent / allowed,) * 2)


# a process for each trial, which a first one with everything imported forks: an LMDB is opened once in a process
SHARED = """
import os, sys
sys.path.insert(0, "scripts")
import open_clip, timm, torch, transformers
import retclip.models.factory, retclip.models.text_encoder, retclip.training.trainer
from train_trial import main
for arguments in {calls!r}:
    child = os.fork()
    if not child:
        main(arguments)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


def _one_process(folder: Path, trials: list[Path]) -> Figure:
    """Trials one after the other that share one start, beside processes of their own, as the workflow has them."""
    before = cpu_seconds()
    for trial in trials:
        _run("train_trial", *_training(folder, trial, "apart"))
    apart = cpu_seconds() - before
    code = SHARED.format(calls=[[str(word) for word in _training(folder, trial, "together")] for trial in trials])
    before = cpu_seconds()
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, cwd=REPOSITORY, capture_output=True, text=True)
    together = cpu_seconds() - before
    assert done.returncode == 0, done.stderr[-2000:]
    name = (
        f"frozen, real: {len(trials)} trials of heads that share one start; each in a process, as the workflow has them"
    )
    return Figure(name, together, "CPU s", apart, apart / together, None, (apart / together,) * 2)


def _training(folder: Path, trial: Path, place: str) -> list:
    weights = folder / "lite0.safetensors"
    return ["--trial", trial, *_read(folder), "--encoder-dir", folder / "encoder", "--image-weights", weights,
            "--state-dir", folder / place / "state", "--code", "bench", "--output-dir",
            folder / place / trial.parent.name, *_features(folder, "features")]  # fmt: skip


def _features(folder: Path, *places: str) -> list:
    found: list = []
    for network in ("image", "text"):
        found += [f"--{network}-features", *(folder / f"{network}/{place}.safetensors" for place in places)]
    return found


def _read(folder: Path) -> list:
    return ["--data-dir", folder / "data", "--device", "cpu"]


def _run(name: str, *arguments: object) -> None:
    command = [sys.executable, str(REPOSITORY / f"scripts/{name}.py"), *map(str, arguments)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
