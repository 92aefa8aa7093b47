"""Builds the image encoder that a config names, from open_clip."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

DEFAULT_EMBED_DIM = 512


def build_image_encoder(
    architecture: dict[str, Any], image_size: int, weights: str | Path | None = None
) -> tuple[nn.Module, int]:
    """The encoder [B, 3, S, S] -> [B, embed_dim], and embed_dim.

    architecture: model.image_encoder of the config: an open_clip name, timm/NAME through open_clip's adapter, or
    sizes of open_clip's VisionTransformer with QuickGELU. weights: a safetensors file of the encoder; position
    embeddings are interpolated where the image size differs.
    Raises ValueError for a name that open_clip or timm does not know and for weights that do not fit.
    """
    name = architecture.get("architecture")
    if name is None:
        image_encoder = _transformer(architecture, image_size)
        embed_dim = architecture["embed_dim"]
    elif name.startswith("timm/"):
        embed_dim = architecture.get("embed_dim", DEFAULT_EMBED_DIM)
        image_encoder = _timm(name.removeprefix("timm/"), embed_dim, image_size)
    else:
        image_encoder, embed_dim = _open_clip(name, image_size)
    if weights is not None:
        _load(image_encoder, Path(weights), name or "sizes")
    return image_encoder, embed_dim


def _transformer(sizes: dict[str, Any], image_size: int) -> nn.Module:
    from open_clip.transformer import QuickGELU, VisionTransformer

    return VisionTransformer(
        image_size=image_size,
        patch_size=sizes["patch_size"],
        width=sizes["width"],
        layers=sizes["layers"],
        heads=sizes["width"] // sizes["head_width"],
        mlp_ratio=4.0,
        output_dim=sizes["embed_dim"],
        act_layer=QuickGELU,
    )


def _timm(name: str, embed_dim: int, image_size: int) -> nn.Module:
    from open_clip.timm_model import TimmModel

    import retclip.demo.image_encoder  # noqa: F401, registers the demo's image encoder with timm

    adapter = partial(TimmModel, name, embed_dim=embed_dim, image_size=image_size, proj="linear")
    try:
        return adapter(pool="avg")
    except RuntimeError as error:
        raise ValueError(f"model.image_encoder.architecture: timm has no model {name!r} ({error}).") from None


def _open_clip(name: str, image_size: int) -> tuple[nn.Module, int]:
    import open_clip
    from open_clip.model import _build_vision_tower

    # OpenAI's weights were trained with QuickGELU; plain GELU puts features off by 2.7e-2
    quick = f"{name}-quickgelu"
    known = open_clip.get_model_config(quick) or open_clip.get_model_config(name)
    if known is None:
        raise ValueError(
            f"model.image_encoder.architecture is {name!r}, which open_clip does not know; "
            "python -c 'import open_clip; print(open_clip.list_models())' prints the names."
        )
    sizes = {**known["vision_cfg"], "image_size": image_size}
    image_encoder = _build_vision_tower(known["embed_dim"], sizes, quick_gelu=known.get("quick_gelu", False))
    return image_encoder, known["embed_dim"]


def _load(image_encoder: nn.Module, path: Path, name: str) -> None:
    from open_clip.model import resize_pos_embed
    from safetensors.torch import load_file

    own = {key: tensor for key, tensor in load_file(path).items() if not key.startswith("retclip.")}
    state = {f"visual.{key}": tensor for key, tensor in own.items()}
    resize_pos_embed(state, torch.nn.ModuleDict({"visual": image_encoder}))
    state = {key.removeprefix("visual."): tensor for key, tensor in state.items()}
    try:
        image_encoder.load_state_dict(state)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise ValueError(f"{path}: these weights do not fit model.image_encoder ({name}): {first}") from None
