"""Data and towers of real shapes without real data: texts of the lengths that reports have, random pictures."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch

VIT_B_16 = {"layers": 12, "width": 768, "head_width": 64, "patch_size": 16, "embed_dim": 512}
IMAGE_SIZE, WORDS, CONTEXT = 224, 30_522, 77
# measured on prompts of a public data set with a medical vocabulary: 47 tokens on average
MEAN_TOKENS, SD_TOKENS, FEWEST_TOKENS = 47, 18, 10


def tokenize(texts: list[str], context_length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A text here is a seed and a length, "7 45"; its ids are random words."""
    rows = []
    for seed, length in (map(int, text.split()) for text in texts):
        generator = torch.Generator().manual_seed(seed)
        rows.append(torch.randint(1000, WORDS, (min(length, context_length),), generator=generator))
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return ids, (ids > 0).long()


def samples(count: int, eyes: str) -> pd.DataFrame:
    """A table of one split; every patient has an own text."""
    generator = np.random.default_rng(0)
    lengths = generator.normal(MEAN_TOKENS, SD_TOKENS, count).clip(FEWEST_TOKENS, CONTEXT).astype(int)
    names = [f"P{index}" for index in range(count)]
    frame = pd.DataFrame({"sample_id": names, "patient_id": names, "eyes": eyes, "label": "x"})
    frame["text"] = [f"{index} {length}" for index, length in enumerate(lengths)]
    for column in ("text_left", "text_right", "label_left", "label_right"):
        frame[column] = frame[column.split("_")[0]]
    return frame


def write_split(folder: Path, name: str, frame: pd.DataFrame, pictures: int, size: int = IMAGE_SIZE) -> None:
    """samples_{name}.parquet and a store that holds the first `pictures` random pictures of `size` pixels a side."""
    from retclip.data.store import write_store

    folder.mkdir(exist_ok=True)
    frame.to_parquet(folder / f"samples_{name}.parquet")
    sides = {"both": ("left", "right")}.get(frame["eyes"].iloc[0], ("left",))
    keys = [f"{sample}/{side}" for sample in frame["sample_id"] for side in sides][:pictures]
    generator = np.random.default_rng(1)
    content = ((key, generator.bytes(size**2 * 3)) for key in keys)
    write_store(folder / f"{name}.lmdb", content, len(keys), size, "raw")


def write_fingerprint(folder: Path, splits: dict[str, pd.DataFrame]) -> dict:
    """fingerprint.json of splits that lie in the folder already."""
    document = {
        "classes": ["x"], "label_level": "patient", "text_level": "patient",
        "splits": {name: {"samples": len(frame), "sha256": name,
                          "lmdb_bytes": (folder / f"{name}.lmdb").stat().st_size}
                   for name, frame in splits.items()},
    }  # fmt: skip
    (folder / "fingerprint.json").write_text(json.dumps(document))
    return document


def bert_base(layers: int = 12, dropout: float = 0.1):
    """BERT-base's shape with random weights."""
    from transformers import BertConfig, BertModel

    config = BertConfig(vocab_size=WORDS, num_hidden_layers=layers, hidden_dropout_prob=dropout,
                        attention_probs_dropout_prob=dropout)  # fmt: skip
    return BertModel(config, add_pooling_layer=False)


def model(image_encoder: dict, layers: int = 12, dropout: float = 0.1):
    """A RetClip of these towers."""
    from retclip.models.image_encoder import build_image_encoder
    from retclip.models.retclip import RetClip

    torch.manual_seed(0)
    return RetClip(
        build_image_encoder(image_encoder, IMAGE_SIZE)[0], bert_base(layers, dropout), image_encoder["embed_dim"]
    )
