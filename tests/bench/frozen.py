"""A trial on frozen towers of real shapes, ViT-B-16 and BERT-base: train_trial from cached features, on one core.

12,989 samples with two eyes, ten epochs, validation after each; the towers' weights and the features are random, since
only time is measured. Beside it: the same step where frozen towers run anew for every batch.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import real_frozen
import torch
from documents import trial_of
from figures import Figure, cpu_seconds, in_turn, speed_up
from running import ENVIRONMENT, REPOSITORY, declared_defaults
from shapes import CONTEXT, IMAGE_SIZE, VIT_B_16, bert_base, model, samples, tokenize, write_fingerprint, write_split

TRAIN, VAL, EPOCHS, BATCH = 12_989, 1_443, 10, 128
RECOMPUTED, STEPS, ROUNDS = 16, 40, 3
TRIAL = {
    "text_encoder": "bert_base",
    "image_size": IMAGE_SIZE,
    "image_encoder": {**VIT_B_16, "weights": "vision.safetensors"},
    "class_prompts": {"x": ["a", "a b"], "y": ["b"]},
    "selection_metric": "image_to_text_recall_at_10",
}
VALUES = {
    **declared_defaults(),
    "learning_rate": 1e-3, "batch_size": BATCH, "warmup_steps": 100, "weight_decay": 0.1, "temperature": 0.07,
    "learnable_temperature": True, "epochs": EPOCHS, "lr_scheduler": "cosine", "optimizer": "adamw",
    "max_grad_norm": 1.0, "freeze": "both", "augment": False, "same_class_negatives": "keep",
    "context_length": CONTEXT, "early_stopping_patience": None, "precision": "bf16",
}  # fmt: skip


def measure(folder: Path) -> list[Figure]:
    """CPU seconds of the whole process, and the cached step beside the recomputed one; then real encoders."""
    for name in ("real", "random"):
        (folder / name).mkdir()
    return [_whole_trial(folder / "random"), _steps(folder / "steps"), *real_frozen.measure(folder / "real")]


def _whole_trial(folder: Path) -> Figure:
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, models

    from retclip.core.io import read_json
    from retclip.loading.feature_cache import features_key, write_features

    data, encoder = folder / "data", folder / "encoder"
    frames = {"train": samples(TRAIN, "both"), "val": samples(VAL, "both")}
    for name, frame in frames.items():
        write_split(data, name, frame, 1)  # no picture is read where features are
    fingerprint = write_fingerprint(data, frames)
    fingerprint["classes"] = ["x", "y"]
    (data / "fingerprint.json").write_text(json.dumps(fingerprint))
    bert_base().save_pretrained(encoder)
    (encoder / "source.json").write_text("{}")
    Tokenizer(models.WordPiece({"[PAD]": 0, "[UNK]": 1, "a": 2, "b": 3}, unk_token="[UNK]")).save(
        str(encoder / "tokenizer.json")
    )
    net = model(VIT_B_16)
    save_file({name: value.contiguous() for name, value in net.visual.state_dict().items()}, folder / "v.safetensors")
    steps = -(-TRAIN // BATCH)
    budget = {"train_samples": TRAIN, "val_samples": VAL, "stop_epoch": EPOCHS, "steps_per_epoch": steps,
              "total_steps": steps * EPOCHS, "cuts": []}  # fmt: skip
    trial = trial_of(**TRIAL, hyperparameters=VALUES, configured=VALUES, budget=budget)
    (folder / "trial.json").write_text(json.dumps(trial.to_dict()))
    flags = []
    for tower, width in (("image", VIT_B_16["embed_dim"]), ("text", net.bert.config.hidden_size)):
        kind = {"image": "eyes", "text": "texts"}[tower]
        features = {f"{name}.{kind}": torch.randn(len(frame) * (2 if tower == "image" else 1), width)
                    for name, frame in frames.items()}  # fmt: skip
        key = features_key(tower, trial, fingerprint, read_json(encoder / "source.json"), "bf16", frames)
        write_features(folder / f"{tower}.safetensors", features, key)
        flags += [f"--{tower}-features", folder / f"{tower}.safetensors"]
    command = [sys.executable, REPOSITORY / "scripts/train_trial.py", "--trial", folder / "trial.json", "--data-dir",
               data, "--encoder-dir", encoder, "--image-weights", folder / "v.safetensors", "--state-dir",
               folder / "state", "--code", "bench", "--device", "cpu", "--output-dir", folder / "out",
               *flags]  # fmt: skip
    before = cpu_seconds()
    subprocess.run([*map(str, command)], env=ENVIRONMENT, check=True, capture_output=True)
    spent = cpu_seconds() - before
    assert read_json(folder / "out/metrics.json")["epochs"] == EPOCHS
    name = (
        f"frozen: a trial of {TRAIN:,} samples x {EPOCHS} epochs from cached features, bf16, start and scores included"
    )
    return Figure(name, spent, "CPU s", goal="<= 60")


def _steps(folder: Path) -> Figure:
    from retclip.loading.dataset import Split
    from retclip.models.encode import encode_batch
    from retclip.models.loss import tripartite_loss
    from retclip.training.gradient_cache import backward
    from retclip.training.optimizer import build_optimizer

    frame = samples(BATCH, "both")
    write_split(folder, "train", frame, 2 * RECOMPUTED)
    fingerprint = write_fingerprint(folder, {"train": frame})
    features = {"train.eyes": torch.randn(2 * BATCH, VIT_B_16["embed_dim"]), "train.texts": torch.randn(BATCH, 768)}
    cached = Split(folder, "train", fingerprint, tokenize, CONTEXT, frozen=features)
    plain = Split(folder, "train", fingerprint, tokenize, CONTEXT)
    net = model(VIT_B_16)
    net.freeze("both")
    net.train()
    optimizer = build_optimizer(net, VALUES)

    def step(split: Split, indices: np.ndarray) -> None:
        def encode(batch):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return encode_batch(net, batch, augment=False)

        def loss_of(outputs):
            return tripartite_loss(outputs, *torch.from_numpy(split.present[indices]).unbind(1))["total"]

        optimizer.zero_grad()
        backward(encode, [split.batch(indices, torch.device("cpu"))], [0], loss_of)
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()

    ways = {
        "cached": lambda: [step(cached, np.arange(BATCH)) for _ in range(STEPS)],
        "recomputed": lambda: step(plain, np.arange(RECOMPUTED)),
    }
    for work in ways.values():
        work()
    seconds = in_turn(ways, ROUNDS)
    return speed_up("frozen: cached step beside recomputed, both bf16", seconds["cached"], seconds["recomputed"],
                    ">= 300", (STEPS * BATCH, RECOMPUTED))  # fmt: skip
