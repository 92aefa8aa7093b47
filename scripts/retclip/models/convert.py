"""Upstream's RET-CLIP checkpoints: read with every size inferred, written back key for key."""

import re
from typing import Any

import torch

from retclip.models.image_encoder import build_image_encoder
from retclip.models.retclip import RetClip

HEADS = ("text_projection", "text_projection_left", "text_projection_right")
HEAD_WIDTH = 64  # of the image encoder, always; of the text encoder unless given


def from_retclip(state_dict: dict[str, Any], text_num_attention_heads: int | None = None) -> RetClip:
    """The model that a checkpoint of upstream's describes, with its weights.

    Accepts `module.` prefixes and a wrapping {"state_dict": ...}. text_num_attention_heads:
    None takes hidden_size // 64. Raises ValueError naming the keys that are missing or unexpected.
    """
    state = unwrapped(state_dict)
    _require(state, ("visual.conv1.weight", "visual.proj", "visual.positional_embedding"))
    _require(state, ("bert.embeddings.word_embeddings.weight", "bert.embeddings.position_embeddings.weight"))
    _require(state, tuple(f"{head}.0.weight" for head in HEADS))
    depths = {head: len(_layers(state, rf"{head}\.(\d+)\.weight")) for head in HEADS}
    if len(set(depths.values())) > 1:
        raise ValueError(f"the text heads of this checkpoint have different depths: {depths}.")
    visual, embed_dim = _visual(state)
    model = RetClip(visual, _bert(state, text_num_attention_heads), embed_dim, depths[HEADS[0]])
    wanted, given = set(model.state_dict()), set(state)
    if wanted != given:
        raise ValueError(
            f"this is not a RET-CLIP checkpoint of a known form: missing keys {_some(wanted - given)}; "
            f"unexpected keys {_some(given - wanted)}."
        )
    model.load_state_dict(state)
    return model


def has_upstream_layout(model: RetClip) -> bool:
    """Whether upstream has such encoders."""
    is_bert = model.bert.config.model_type == "bert" and model.pooling == "cls"
    return is_bert and hasattr(model.visual, "class_embedding")


def to_retclip(model: RetClip) -> dict[str, torch.Tensor]:
    """The state dict in upstream's layout. Raises ValueError for encoders that upstream does not have."""
    if not has_upstream_layout(model):
        raise ValueError(
            "upstream's layout holds open_clip's VisionTransformer beside a BERT that gives its [CLS] only."
        )
    return model.state_dict()


def unwrapped(state_dict: dict[str, Any]) -> dict[str, Any]:
    """The state dict itself: out of a {"state_dict": ...}, without the `module.` of data-parallel training."""
    state = state_dict.get("state_dict", state_dict)
    return {key.removeprefix("module."): tensor for key, tensor in state.items()}


def _visual(state: dict[str, torch.Tensor]) -> tuple[torch.nn.Module, int]:
    width, _, patch_size, _ = state["visual.conv1.weight"].shape
    grid = round((state["visual.positional_embedding"].shape[0] - 1) ** 0.5)
    sizes = {
        "layers": len(_layers(state, r"visual\.transformer\.resblocks\.(\d+)\.ln_1\.weight")),
        "width": width,
        "head_width": HEAD_WIDTH,
        "patch_size": patch_size,
        "embed_dim": state["visual.proj"].shape[1],
    }
    return build_image_encoder(sizes, grid * patch_size)


def _bert(state: dict[str, torch.Tensor], heads: int | None) -> torch.nn.Module:
    from transformers import BertConfig, BertModel

    words = state["bert.embeddings.word_embeddings.weight"]
    hidden = words.shape[1]
    layers = _layers(state, r"bert\.encoder\.layer\.(\d+)\.intermediate\.dense\.weight")
    if not layers:
        raise ValueError("this checkpoint's text encoder has no layers (bert.encoder.layer.*).")
    config = BertConfig(
        vocab_size=words.shape[0],
        hidden_size=hidden,
        num_hidden_layers=len(layers),
        num_attention_heads=heads or hidden // HEAD_WIDTH,
        intermediate_size=state["bert.encoder.layer.0.intermediate.dense.weight"].shape[0],
        max_position_embeddings=state["bert.embeddings.position_embeddings.weight"].shape[0],
        type_vocab_size=state["bert.embeddings.token_type_embeddings.weight"].shape[0],
    )
    return BertModel(config, add_pooling_layer=False)


def _layers(state: dict[str, torch.Tensor], pattern: str) -> set[int]:
    found = (re.fullmatch(pattern, key) for key in state)
    return {int(match[1]) for match in found if match}


def _require(state: dict[str, torch.Tensor], keys: tuple[str, ...]) -> None:
    missing = [key for key in keys if key not in state]
    if missing:
        raise ValueError(f"this is not a RET-CLIP checkpoint: it lacks {', '.join(missing)}.")


def _some(keys: set[str]) -> str:
    shown = sorted(keys)
    return ", ".join(shown[:4]) + (f" and {len(shown) - 4} more" if len(shown) > 4 else "") if shown else "none"
