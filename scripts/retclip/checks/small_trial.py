"""A small trial of seeded data and small encoders, trained as any trial is, and the config's own at a given batch."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from retclip.checks.seeded_data import CLASS_PROMPTS, WORDS, write_data
from retclip.core.io import read_json
from retclip.core.trial import Trial
from retclip.loading.dataset import Split
from retclip.models.factory import build_model
from retclip.models.text_encoder import load_tokenizer
from retclip.training.checkpoint import StateFolder
from retclip.training.trainer import Trainer

if TYPE_CHECKING:
    from retclip.models.retclip import RetClip

SIZE, BATCH, EPOCHS = 32, 8, 2
IMAGE_ENCODER = {"layers": 2, "width": 64, "head_width": 32, "patch_size": 8, "embed_dim": 32}
SAMPLES = {"train": 4 * BATCH, "val": BATCH}
TEXT_ENCODER: dict[str, Any] = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
                                "intermediate_size": 128, "max_position_embeddings": 64}  # fmt: skip
LENGTH = 32
VALUES = {"learning_rate": 1e-3, "warmup_steps": 0, "warmup_share": 0.0, "lr_scheduler": "constant", "augment": False,
          "optimizer": "adamw", "early_stopping_patience": None, "freeze": "none", "layer_decay": 1.0, "lora_rank": 0,
          "context_length": LENGTH}  # fmt: skip


def small_trial(trial: Trial) -> Trial:
    """A trial of another, with encoders of a few thousand weights and a few steps."""
    small = replace(
        trial,
        hyperparameters={**trial.hyperparameters, **VALUES},
        image_encoder=IMAGE_ENCODER,
        image_size=SIZE,
        text_encoder_settings=replace(
            trial.text_encoder_settings, pooling=None, texts=None, train_last_layers=None, from_checkpoint=False
        ),
    )
    return short_trial(small, SAMPLES, BATCH, EPOCHS)


def short_trial(trial: Trial, samples: dict[str, int], batch_size: int, epochs: int) -> Trial:
    """The trial on so many seeded samples, with the seeded data's class prompts."""
    steps = samples["train"] // batch_size
    values = {"batch_size": batch_size, "epochs": epochs, "early_stopping_patience": None}
    budget = replace(trial.budget, train_samples=samples["train"], val_samples=samples["val"], stop_epoch=epochs,
                     steps_per_epoch=steps, total_steps=steps * epochs)  # fmt: skip
    return replace(trial, hyperparameters={**trial.hyperparameters, **values}, class_prompts=CLASS_PROMPTS,
                   selection_metric="zero_shot_balanced_accuracy", budget=budget)  # fmt: skip


def write_small_study(folder: Path) -> None:
    """data/ and encoder/ of the small trial."""
    write_data(folder / "data", SIZE, SAMPLES)
    _write_text_encoder(folder / "encoder")


def _write_text_encoder(folder: Path) -> None:
    """A BERT with random weights and a vocabulary of the seeded reports' words."""
    from safetensors.torch import save_file
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel

    folder.mkdir(parents=True)
    words = sorted({word for some in (*WORDS.values(), *_prompt_words()) for word in some})
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]), encoding="utf-8")
    BertWordPieceTokenizer(str(vocabulary), lowercase=True).save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(words) + 5, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
                        **TEXT_ENCODER)  # fmt: skip
    config.to_json_file(folder / "config.json", use_diff=False)
    state = BertModel(config, add_pooling_layer=False).state_dict()
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def _prompt_words() -> list[list[str]]:
    return [prompt.split() for prompts in CLASS_PROMPTS.values() for prompt in prompts]


def split_of(folder: Path, name: str, encoder_dir: Path, trial: Trial) -> Split:
    """A split of seeded data in `folder` as the trial reads it."""
    tokenize = load_tokenizer(encoder_dir, trial.text_encoder_settings.truncation_side)
    return Split(folder, name, read_json(folder / "fingerprint.json"), tokenize,
                 trial.hyperparameters["context_length"], seed=trial.seed)  # fmt: skip


def trainer_of(
    trial: Trial,
    model: "RetClip",
    data: Path,
    encoder_dir: Path,
    device: torch.device,
    precision: str,
    state: Path,
    save_seconds: float = 1e9,
) -> Trainer:
    """A trainer of the trial on seeded data, with its state in `state`."""
    tokenize: Any = load_tokenizer(encoder_dir, trial.text_encoder_settings.truncation_side)
    train, val = (split_of(data, name, encoder_dir, trial) for name in ("train", "val"))
    folder = StateFolder(state.parent, state.name)
    folder.path.mkdir(parents=True, exist_ok=True)
    return Trainer(trial, model, train, val, tokenize, device, precision, folder, save_seconds)


def small_trainer(
    trial: Trial, folder: Path, device: torch.device, precision: str, state: str, save_seconds: float = 1e9
) -> Trainer:
    """Of the small trial on what write_small_study wrote into `folder`."""
    model = build_model(trial, folder / "encoder", None)
    return trainer_of(
        trial, model, folder / "data", folder / "encoder", device, precision, folder / state, save_seconds
    )
