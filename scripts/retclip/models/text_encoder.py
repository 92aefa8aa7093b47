"""Text encoders and their tokenizers, from a Hugging Face folder on disk."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from retclip.core.io import read_json

TOKENIZER = "tokenizer.json"
# What a tokenizer may consist of, in a folder of Hugging Face's.
TOKENIZER_FILES = (TOKENIZER, "tokenizer_config.json", "vocab.txt", "special_tokens_map.json")

Tokenize = Callable[[list[str], int], tuple[torch.Tensor, torch.Tensor]]


def load_text_encoder(folder: str | Path) -> nn.Module:
    """The folder's BERT without pooler; its config has the padding id of the folder's tokenizer.

    Raises ValueError where the folder holds no BERT, or not all of it.
    """
    from transformers import BertModel
    from transformers.utils import logging

    kind = read_json(Path(folder) / "config.json").get("model_type")
    if kind != "bert":
        raise ValueError(f"{folder}: holds a model of type {kind!r}; the text encoder must be a BERT.")
    logging.set_verbosity_error()  # its table of unused masked-language weights would hide our lines
    logging.disable_progress_bar()
    # sdpa: RetClip gives it a mask of true and false, which other kinds of attention would add as numbers
    loaded: Any = BertModel.from_pretrained(
        folder, add_pooling_layer=False, output_loading_info=True, attn_implementation="sdpa"
    )
    model, found = loaded
    if found["missing_keys"]:
        missing = ", ".join(sorted(found["missing_keys"])[:3])
        raise ValueError(f"{folder}: the weights lack {len(found['missing_keys'])} tensors ({missing}, ...).")
    if (Path(folder) / TOKENIZER).is_file():
        # a config may name none or another one, since transformers takes every mask from its tokenizers
        model.config.pad_token_id = _read_tokenizer(folder)[1]
    return model


def load_tokenizer(folder: str | Path, truncation_side: str = "right") -> Tokenize:
    """A function (texts, context_length) -> (ids int64 [N, L], mask int64 [N, L]).

    L is the longest text, at most context_length. A longer text loses its right or left end (truncation_side);
    [CLS] and [SEP] stay.
    """
    tokenizer, padding = _read_tokenizer(folder)

    def tokenize(texts: list[str], context_length: int) -> tuple[torch.Tensor, torch.Tensor]:
        tokenizer.enable_truncation(context_length, direction=truncation_side)
        tokenizer.enable_padding(pad_id=padding)
        encoded = tokenizer.encode_batch(texts)
        ids = torch.tensor([text.ids for text in encoded], dtype=torch.int64)
        mask = torch.tensor([text.attention_mask for text in encoded], dtype=torch.int64)
        return ids, mask

    return tokenize


def _read_tokenizer(folder: str | Path) -> tuple[Any, int]:
    """The folder's tokenizer and its id of [PAD]. Raises ValueError where there is none, or it has no [PAD]."""
    from tokenizers import Tokenizer

    path = Path(folder) / TOKENIZER
    if not path.is_file():
        raise ValueError(f"{folder}: has no {TOKENIZER}; fetch the text encoder again.")
    tokenizer = Tokenizer.from_file(str(path))
    padding = tokenizer.token_to_id("[PAD]")
    if padding is None:
        raise ValueError(f"{path}: has no [PAD] token, so it is not a BERT tokenizer.")
    return tokenizer, padding
