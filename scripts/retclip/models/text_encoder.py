"""Text encoders and their tokenizers, from a Hugging Face folder on disk."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import nn

from retclip.core.hub import first_line
from retclip.core.io import read_json
from retclip.models.weights_file import refuse_other_files

TOKENIZER = "tokenizer.json"
# What a tokenizer may consist of, in a folder of Hugging Face's.
TOKENIZER_FILES = (
    TOKENIZER, "tokenizer_config.json", "vocab.txt", "special_tokens_map.json", "vocab.json", "merges.txt", "spm.model",
    "sentencepiece.bpe.model", "added_tokens.json",
)  # fmt: skip
# Where sentence-transformers says how a model's tokens become one vector.
POOLING_FILE = "1_Pooling/config.json"

# Sizes in config.json above those of any text encoder; all other numbers are lengths and ids.
MOST = {"num_hidden_layers": 200, "n_layers": 200, "num_layers": 200, "hidden_size": 32_768, "dim": 32_768,
        "intermediate_size": 262_144, "hidden_dim": 262_144, "num_attention_heads": 1024, "vocab_size": 3_000_000,
        "max_position_embeddings": 1_000_000}  # fmt: skip
MOST_OF_ALL = 100_000_000

Tokenize = Callable[[list[str], int], tuple[torch.Tensor, torch.Tensor]]
Pooling = Literal["cls", "mean", "pooler"]


def load_text_encoder(folder: str | Path, pooling: Pooling = "cls") -> nn.Module:
    """The folder's encoder, with its pooler only where `pooling` reads it; its config has the padding id of the
    folder's tokenizer.

    Raises ValueError where the folder holds no text encoder that transformers knows, or not all of it.
    """
    from transformers import AutoModel
    from transformers.utils import logging

    logging.set_verbosity_error()  # its table of unused masked-language weights would hide our lines
    logging.disable_progress_bar()
    config = _encoder_config(folder)
    _refuse_larger_than_weights(Path(folder), config)
    kind: Any = AutoModel._model_mapping[type(config)]
    has_pooler = "add_pooling_layer" in inspect.signature(kind.__init__).parameters
    if pooling == "pooler" and not has_pooler:
        raise ValueError(f"{folder}: a {config.model_type} has no pooler; set pooling to cls or mean.")
    choice = {"add_pooling_layer": pooling == "pooler"} if has_pooler else {}
    # sdpa: RetClip gives a BERT a mask of true and false, which other kinds of attention would add as numbers
    attention = "sdpa" if getattr(kind, "_supports_sdpa", False) else "eager"
    try:
        loaded: Any = kind.from_pretrained(
            folder,
            config=config,
            output_loading_info=True,
            attn_implementation=attention,
            dtype=torch.float32,
            **choice,
        )
    except Exception as error:  # safetensors and each kind of network have errors of their own
        raise ValueError(
            f"{folder}: transformers cannot load this {config.model_type} ({first_line(error)})."
        ) from None
    model, found = loaded
    if found["missing_keys"]:
        missing = ", ".join(sorted(found["missing_keys"])[:3])
        raise ValueError(f"{folder}: the weights lack {len(found['missing_keys'])} tensors ({missing}, ...).")
    if (Path(folder) / TOKENIZER).is_file():
        # a config may name none or another one, since transformers takes every mask from its tokenizers
        model.config.pad_token_id = _read_tokenizer(folder)[1]
    return model


def refuse_longer(encoder: nn.Module, name: str, context_length: int) -> None:
    """Raises ValueError where the encoder has fewer positions than context_length, which torch would say of the first
    long text. name: of the text encoder in the config."""
    for path, module in encoder.named_modules():
        if path.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            # families of RoBERTa's count positions from that of the padding on
            longest = module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
            if context_length > longest:
                raise ValueError(
                    f"model.context_length is {context_length}, but {name} reads at most {longest} tokens; lower it."
                )


def pooling_of(folder: str | Path, setting: str | None = None) -> Pooling:
    """The config's pooling, else what fetch_text_encoder found to be the model's own, else cls, which is BERT's.

    Raises ValueError for another one than cls, mean and pooler.
    """
    source = Path(folder) / "source.json"
    recorded = read_json(source).get("pooling") if source.is_file() else None
    found: Any = setting or recorded or "cls"
    if found not in get_args(Pooling):
        raise ValueError(f"{folder}: pooling is {found!r}; it must be cls, mean or pooler.")
    return found


def own_pooling(folder: Path) -> Pooling:
    """How a model's makers pool it: by sentence-transformers' file, by its config (ModernBERT), else [CLS].

    Raises ValueError where that file names another pooling than cls and mean.
    """
    path = folder / POOLING_FILE
    if path.is_file():
        said = read_json(path)
        modes = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token"}
        found: Any = said.get("pooling_mode") or next((name for name, key in modes.items() if said.get(key)), None)
        if found not in modes:
            raise ValueError(f"{path}: its pooling is neither cls nor mean; set model.text_encoders.NAME.pooling.")
        return found
    return "mean" if read_json(folder / "config.json").get("classifier_pooling") == "mean" else "cls"


def pool(output: Any, mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """[B, hidden] of what a text encoder makes of texts: cls, its first token; mean, the average of the tokens that are
    read; pooler, what it makes of the first one itself. mask: bool [B, L], true where a token is read."""
    if pooling == "pooler":
        return output.pooler_output
    tokens = output.last_hidden_state
    if pooling == "cls":
        return tokens[:, 0]
    weights = mask.unsqueeze(2).to(tokens.dtype)
    return (tokens * weights).sum(1) / weights.sum(1).clamp(min=1)


def load_tokenizer(folder: str | Path, truncation_side: str = "right") -> Tokenize:
    """A function (texts, context_length) -> (ids int64 [N, L], mask int64 [N, L]).

    L is the longest text, at most context_length. A longer text loses its right or left end (truncation_side); the
    special tokens, such as [CLS] and [SEP], stay. Raises ValueError, here or there, where the tokenizer is broken.
    """
    tokenizer, padding = _read_tokenizer(folder)

    def tokenize(texts: list[str], context_length: int) -> tuple[torch.Tensor, torch.Tensor]:
        tokenizer.enable_truncation(context_length, direction=truncation_side)
        tokenizer.enable_padding(pad_id=padding)
        try:
            encoded = tokenizer.encode_batch(texts)
        except Exception as error:  # a vocabulary without its own unknown token, say
            raise ValueError(f"{folder}: its tokenizer cannot read a text ({first_line(error)}).") from None
        ids = torch.tensor([text.ids for text in encoded], dtype=torch.int64)
        mask = torch.tensor([text.attention_mask for text in encoded], dtype=torch.int64)
        return ids, mask

    return tokenize


def _encoder_config(folder: str | Path) -> Any:
    """Raises ValueError where transformers does not know the model, or where it writes texts and reads none."""
    from transformers import AutoConfig, AutoModel
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

    content = read_json(Path(folder) / "config.json")
    kind = content.get("model_type") if isinstance(content, dict) else None
    _refuse_sizes(content, f"{folder}/config.json")
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # each kind of config has errors of its own
        raise ValueError(
            f"{folder}: holds a model of type {kind!r}, which transformers does not know ({first_line(error)[:60]})."
        ) from None
    if not isinstance(getattr(config, "vocab_size", None), int):
        raise ValueError(f"{folder}: holds a model of type {kind!r} without a vocabulary, so it reads no texts.")
    writes = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and type(config) not in MODEL_FOR_MASKED_LM_MAPPING
    if writes or config.is_encoder_decoder or type(config) not in AutoModel._model_mapping:
        raise ValueError(
            f"{folder}: holds a model of type {kind!r}; the text encoder must be an encoder such as BERT, RoBERTa or "
            "ModernBERT."
        )
    return config


def _refuse_sizes(content: Any, origin: str) -> None:
    """Raises ValueError where the config of a model, which is built before its weights are read, has sizes that nothing
    holds."""
    for key, value in content.items() if isinstance(content, dict) else ():
        if isinstance(value, dict):
            _refuse_sizes(value, origin)
        elif isinstance(value, int) and abs(value) > MOST.get(key, MOST_OF_ALL):
            raise ValueError(
                f"{origin}: {key} is {value:,}; no text encoder has more than {MOST.get(key, MOST_OF_ALL):,}."
            )


def _refuse_larger_than_weights(folder: Path, config: Any) -> None:
    """Raises ValueError where the config makes more parameters than its weights have bytes, before they take memory."""
    from transformers import AutoModel

    paths = [path for pattern in ("*.safetensors", "*.bin") for path in folder.glob(pattern)]
    for path in paths:
        refuse_other_files(path)
    with torch.random.fork_rng(devices=[]), torch.device("meta"):  # no draw of what is built afterwards changes
        try:
            count = sum(tensor.numel() for tensor in AutoModel.from_config(config).parameters())
        except Exception:  # what cannot be built says so when it is loaded
            return
    size = sum(path.stat().st_size for path in paths)
    if paths and count > size:
        raise ValueError(f"{folder}: config.json makes {count:,} parameters, but its weights have {size:,} bytes.")


def _read_tokenizer(folder: str | Path) -> tuple[Any, int]:
    """The folder's tokenizer and its id of padding. Raises ValueError where there is none, or it has no padding."""
    from tokenizers import Tokenizer

    path = Path(folder) / TOKENIZER
    if not path.is_file():
        raise ValueError(f"{folder}: has no {TOKENIZER}; fetch the text encoder again.")
    refuse_other_files(path)
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of its own is no Exception
        raise ValueError(f"{path}: cannot be read as a tokenizer ({' '.join(str(error).split())[:100]}).") from None
    for name in (*_named_padding(Path(folder)), "[PAD]", "<pad>"):
        padding = tokenizer.token_to_id(name)
        if padding is not None:
            return tokenizer, padding
    raise ValueError(f"{path}: has no padding token, such as [PAD] or <pad>, so it is no tokenizer of a text encoder.")


def _named_padding(folder: Path) -> list[str]:
    """What the tokenizer's own files call its padding."""
    found = []
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (folder / name).is_file():
            token = read_json(folder / name).get("pad_token")
            found += [token["content"] if isinstance(token, dict) else token] if token else []
    return found
