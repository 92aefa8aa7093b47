"""A tiny text encoder, and what export_model is told of data and validation: for tests that export a model."""

from pathlib import Path

from documents import validation_of

from retclip.metrics.registry import METRICS

SPLIT = {"patients": 10, "per_class": {"a": 1}}
DATA = {"image_encoding": "raw", "texts_from_labels": False, "label_level": "eye", "classes": ["a"], "sha256": "0" * 64,
        "splits": {"val": SPLIT, "test": SPLIT,
                   "train": {"patients": 90, "eyes": {"left": 80, "right": 80}, "per_class": {"a": 7}}}}  # fmt: skip
LEVEL = {"zero_shot_balanced_accuracy": 0.5}
VAL = validation_of(**{**dict.fromkeys(METRICS), "zero_shot_balanced_accuracy": 0.6},
                    levels={"chance": LEVEL, "majority": LEVEL},
                    standard_error={"zero_shot_balanced_accuracy": 0.05})  # fmt: skip
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "normal", "fundus", "with", "##s", "drusen", "disc"]


def save_tiny_bert(folder: Path) -> Path:
    """As on the hub: config.json, model.safetensors, vocab.txt and nothing else."""
    import torch
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=64, num_hidden_layers=2, num_attention_heads=1,
        intermediate_size=64, max_position_embeddings=32,
    )  # fmt: skip
    BertForMaskedLM(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return folder
