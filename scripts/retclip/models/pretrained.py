"""Pretrained text encoders of Hugging Face, fetched for training offline."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from retclip.core.fine_tuning import check_blocks
from retclip.core.hub import fetch_snapshot, first_line, is_hub_id
from retclip.core.io import file_sha256, read_json, whole_folder, write_json
from retclip.models.adapters import check_text_encoder
from retclip.models.blocks import text_distances
from retclip.models.text_encoder import (
    POOLING_FILE,
    TOKENIZER,
    TOKENIZER_FILES,
    load_text_encoder,
    load_tokenizer,
    own_pooling,
    pooling_of,
    refuse_longer,
)
from retclip.models.weights_file import plain_tensors, read_safetensors, read_weights, refuse_not_finite

# Remote code is never fetched; of weights that exist in two formats only the newer one.
MODEL_FILES = ["config.json", "model.safetensors", "pytorch_model.bin", POOLING_FILE, *TOKENIZER_FILES]
INDEX = "model.safetensors.index.json"  # of weights in several files
SUPERSEDED = {"pytorch_model.bin": "model.safetensors"}
VOCABULARIES = (TOKENIZER, "vocab.txt", "vocab.json", "spm.model", "sentencepiece.bpe.model")
NEEDED = (("config.json",), ("model.safetensors", "pytorch_model.bin"), VOCABULARIES)


def fetch_text_encoder(
    name: str,
    source: str,
    revision: str,
    folder: Path,
    pooling: str | None = None,
    last_layers: int | None = None,
    adapted: bool = False,
    context_length: int | None = None,
) -> dict[str, Any]:
    """Makes `folder` from a hub id or a local folder; returns the content of its source.json, with the model's own
    pooling. pooling, last_layers: the config's pooling and train_last_layers, which the model must be able to do.
    adapted: LoRA must be able to adapt it. context_length: so many tokens it must be able to read.

    Raises ValueError with one sentence where the source cannot be had or holds no complete text encoder, or where
    `folder` holds what is not ours.
    """
    if os.path.isdir(source):
        origin, resolved, license = Path(source), f"local folder {source}", None
    elif is_hub_id(source):
        key = f"model.text_encoders.{name}"
        origin, resolved, license = fetch_snapshot(key, "model", source, revision, MODEL_FILES, SUPERSEDED, NEEDED)
    else:
        raise ValueError(f"model.text_encoders.{name}.source: {source!r} is neither a folder nor a hub id.")
    _refuse_links(origin)
    with whole_folder(folder) as made:
        _copy_model(origin, made)
        _make_tokenizer(origin, made)
        try:
            own = own_pooling(origin)
            encoder = load_text_encoder(made, pooling_of(made, pooling or own))
            refuse_not_finite(encoder.state_dict(), source)
            ids, _ = load_tokenizer(made)(["optic disc"], 8)
            _check_vocabulary(made, int(ids.max()), encoder)
            if context_length:
                refuse_longer(encoder, name, context_length)
            if last_layers:
                key = f"model.text_encoders.{name}.train_last_layers"
                check_blocks(key, last_layers, source, text_distances(encoder).blocks)
            if adapted:
                check_text_encoder(encoder, name)
        except ValueError as error:  # of a folder that is gone when this is read
            raise ValueError(str(error).replace(str(made), source)) from None
        content = {
            "name": name,
            "source": source,
            "revision": resolved,
            "license": license,
            "pooling": own,
            "sha256": file_sha256(made / "model.safetensors"),
        }
        write_json(made / "source.json", content)
    return content


def _refuse_links(origin: Path, names: Sequence[str] = MODEL_FILES) -> None:
    """Raises ValueError where a file of the folder is a link out of it: it could be any file of this machine's. The
    snapshots of the hub's client link to the blobs beside them."""
    root = origin.resolve()
    root = root.parents[1] if root.parent.name == "snapshots" else root
    for name in names:
        path = origin / name
        if path.is_symlink() and not path.resolve().is_relative_to(root):
            raise ValueError(f"{path}: is a symbolic link out of its folder; copy the file that it leads to there.")


def _copy_model(origin: Path, folder: Path) -> None:
    """config.json and model.safetensors; older weights are converted without running code of theirs."""
    from safetensors.torch import save_file

    if not (origin / "config.json").is_file():
        raise ValueError(f"{origin}: has no config.json, so it is not a Hugging Face model folder.")
    shutil.copyfile(origin / "config.json", folder / "config.json")
    if (origin / "model.safetensors").is_file():
        shutil.copyfile(origin / "model.safetensors", folder / "model.safetensors")
        return
    if (origin / INDEX).is_file():
        save_file(_joined(origin), folder / "model.safetensors", metadata={"format": "pt"})
        return
    if not (origin / "pytorch_model.bin").is_file():
        raise ValueError(f"{origin}: has neither model.safetensors nor pytorch_model.bin.")
    state = plain_tensors(read_weights(origin / "pytorch_model.bin"), origin / "pytorch_model.bin")
    # tied and legacy names: clone what shares memory, rename what old LayerNorms were called
    renamed = {
        key.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"): tensor
        for key, tensor in state.items()
    }
    save_file(
        {key: tensor.clone().contiguous() for key, tensor in renamed.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )


def _joined(origin: Path) -> dict[str, Any]:
    """The tensors of weights in several files. Raises ValueError where one is missing, or outside of the folder."""
    index = read_json(origin / INDEX)
    places = index.get("weight_map") if isinstance(index, dict) else None
    names = sorted(set(map(str, places.values()))) if isinstance(places, dict) else []
    if not names or any(Path(name).name != name or Path(name).suffix != ".safetensors" for name in names):
        raise ValueError(f"{origin / INDEX}: names no files of its folder.")
    _refuse_links(origin, names)
    state: dict[str, Any] = {}
    for name in names:
        if not (origin / name).is_file():
            raise ValueError(f"{origin}: lacks {name}, which its index names.")
        state |= read_safetensors(origin / name)
    return state


def _make_tokenizer(origin: Path, folder: Path) -> None:
    """tokenizer.json, built from vocab.txt where the source has only that."""
    for name in TOKENIZER_FILES:
        if (origin / name).is_file():
            shutil.copyfile(origin / name, folder / name)
    if (folder / "tokenizer.json").is_file():
        return
    vocabulary = folder / "vocab.txt"
    if vocabulary.is_file() and "[CLS]" in vocabulary.read_text(encoding="utf-8").splitlines():
        from tokenizers import BertWordPieceTokenizer

        try:
            BertWordPieceTokenizer(str(vocabulary), lowercase=_is_uncased(folder)).save(str(folder / TOKENIZER))
        except Exception as error:  # one that lacks a token that BERT needs
            raise ValueError(f"{vocabulary}: is no vocabulary of BERT's ({first_line(error)}).") from None
        return
    if not any((folder / name).is_file() for name in TOKENIZER_FILES if name != "tokenizer_config.json"):
        raise ValueError(f"{origin}: has neither tokenizer.json nor vocab.txt.")
    from transformers import AutoTokenizer

    try:  # vocabularies of byte pairs and of sentence pieces
        AutoTokenizer.from_pretrained(origin, trust_remote_code=False).save_pretrained(folder)
    except Exception as error:  # each kind of vocabulary has errors of its own
        raise ValueError(f"{origin}: transformers cannot read its tokenizer ({first_line(error)}).") from None
    if not (folder / TOKENIZER).is_file():
        raise ValueError(f"{origin}: has no {TOKENIZER}, and transformers makes none of its vocabulary.")


def _check_vocabulary(folder: Path, largest: int, encoder: Any) -> None:
    """Raises ValueError where the tokenizer knows more tokens than the encoder has embeddings, or next to none."""
    from tokenizers import Tokenizer

    size = Tokenizer.from_file(str(folder / TOKENIZER)).get_vocab_size()
    known = encoder.config.vocab_size
    if largest >= known or size * 10 < known:
        raise ValueError(f"{folder}: its tokenizer has {size} tokens, its model {known}: they do not belong together.")


def _is_uncased(folder: Path) -> bool:
    """What tokenizer_config.json says; else whether the vocabulary has no word with a capital letter.

    A cased vocabulary that is fed small letters knows neither names nor sentence beginnings.
    """
    config = folder / "tokenizer_config.json"
    if config.is_file():
        lower_case = read_json(config).get("do_lower_case")
        if lower_case is not None:
            return bool(lower_case)
    words = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    return not any(word != word.lower() for word in words if not word.startswith("["))
