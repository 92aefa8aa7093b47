"""Pretrained encoders: Hugging Face BERTs and weights of image encoders, fetched for training offline."""

import shutil
from pathlib import Path
from typing import Any

from retclip.core.hub import fetch_snapshot, first_line, is_hub_id
from retclip.core.io import atomic, file_sha256, read_json, whole_folder, write_json
from retclip.models.text_encoder import TOKENIZER_FILES, load_text_encoder, load_tokenizer

# Remote code is never fetched; of weights that exist in two formats only the newer one.
MODEL_FILES = ["config.json", "model.safetensors", "pytorch_model.bin", *TOKENIZER_FILES]
SUPERSEDED = {"pytorch_model.bin": "model.safetensors"}
# Prefix of the parts of a RET-CLIP checkpoint besides the image encoder, in the file of image encoder weights.
WHOLE = "retclip."


def fetch_text_encoder(name: str, source: str, revision: str, folder: Path) -> dict[str, Any]:
    """Makes `folder` from a hub id or a local folder; returns the content of its source.json.

    Raises ValueError with one sentence where the source cannot be had or holds no complete BERT, or where `folder`
    holds what is not ours.
    """
    local = Path(source)
    if local.is_dir():
        origin, resolved, license = local, f"local folder {source}", None
    elif is_hub_id(source):
        key = f"model.text_encoders.{name}"
        origin, resolved, license = fetch_snapshot(key, "model", source, revision, MODEL_FILES, SUPERSEDED)
    else:
        raise ValueError(f"model.text_encoders.{name}.source: {source!r} is neither a folder nor a hub id.")
    with whole_folder(folder) as made:
        _copy_model(origin, made)
        _make_tokenizer(origin, made)
        try:
            load_text_encoder(made)
            load_tokenizer(made)(["optic disc"], 8)
        except ValueError as error:  # of a folder that is gone when this is read
            raise ValueError(str(error).replace(str(made), source)) from None
        content = {
            "name": name,
            "source": source,
            "revision": resolved,
            "license": license,
            "sha256": file_sha256(made / "model.safetensors"),
        }
        write_json(made / "source.json", content)
    return content


def fetch_vision_weights(architecture: str, weights: str, output: Path) -> None:
    """Writes the image encoder's state dict as safetensors.

    weights: an open_clip tag of `architecture`, a safetensors or torch file of the encoder, or a RET-CLIP
    checkpoint, whose heads and text encoder are kept beside it under WHOLE. Raises ValueError where it can be
    none of these.
    """
    from safetensors.torch import save_file

    path = Path(weights)
    if path.suffix:
        if not path.is_file():
            raise ValueError(f"model.image_encoder.weights is {weights}: no such file.")
        state = _image_encoder_state(_read(path), path)
    else:
        import open_clip

        if weights not in open_clip.list_pretrained_tags_by_model(architecture):
            raise ValueError(
                f"model.image_encoder.weights: open_clip has no weights {weights!r} for {architecture}; it has "
                f"{', '.join(open_clip.list_pretrained_tags_by_model(architecture)) or 'none'}."
            )
        try:
            state = open_clip.create_model(architecture, pretrained=weights).visual.state_dict()
        except Exception as error:  # as above
            raise ValueError(
                f"model.image_encoder.weights: {weights} of {architecture} cannot be downloaded ({first_line(error)}); "
                "run this where there is a network, or give a file."
            ) from None
    with atomic(output) as temporary:
        save_file({key: tensor.contiguous() for key, tensor in state.items()}, temporary)


def _copy_model(origin: Path, folder: Path) -> None:
    """config.json and model.safetensors; older weights are converted without running code of theirs."""
    from safetensors.torch import save_file

    if not (origin / "config.json").is_file():
        raise ValueError(f"{origin}: has no config.json, so it is not a Hugging Face model folder.")
    shutil.copyfile(origin / "config.json", folder / "config.json")
    if (origin / "model.safetensors").is_file():
        shutil.copyfile(origin / "model.safetensors", folder / "model.safetensors")
        return
    if not (origin / "pytorch_model.bin").is_file():
        raise ValueError(f"{origin}: has neither model.safetensors nor pytorch_model.bin.")
    state = _read(origin / "pytorch_model.bin")
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


def _make_tokenizer(origin: Path, folder: Path) -> None:
    """tokenizer.json, built from vocab.txt where the source has only that."""
    for name in TOKENIZER_FILES:
        if (origin / name).is_file():
            shutil.copyfile(origin / name, folder / name)
    if (folder / "tokenizer.json").is_file():
        return
    vocabulary = folder / "vocab.txt"
    if not vocabulary.is_file():
        raise ValueError(f"{origin}: has neither tokenizer.json nor vocab.txt.")
    from tokenizers import BertWordPieceTokenizer

    BertWordPieceTokenizer(str(vocabulary), lowercase=_is_uncased(folder)).save(str(folder / "tokenizer.json"))


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


def _read(path: Path) -> dict[str, Any]:
    """A state dict from safetensors or a torch file, which is read without running any code in it."""
    import pickle

    import torch
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as weights ({first_line(error)}).") from None


def _image_encoder_state(state: dict[str, Any], path: Path) -> dict[str, Any]:
    """The image encoder's part of its own, a CLIP's or a RET-CLIP's state dict."""
    import torch

    from retclip.models.convert import unwrapped

    state = unwrapped(state)
    visual = {key.removeprefix("visual."): value for key, value in state.items() if key.startswith("visual.")}
    whole = {f"{WHOLE}{key}": value for key, value in state.items() if not key.startswith("visual.")}
    # of a CLIP only the image encoder is used
    is_retclip = any(key.startswith(f"{WHOLE}bert.") for key in whole)
    found = {**visual, **(whole if is_retclip else {})} if visual else state
    if not found or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise ValueError(f"{path}: holds no state dict of an image encoder.")
    return found
