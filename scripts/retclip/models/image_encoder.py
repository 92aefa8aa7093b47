"""Builds the image encoder that a config names, from open_clip or timm, and loads fetched weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from retclip.core.hub import first_line
from retclip.core.memory_bound import memory_bounded
from retclip.core.schemas import check
from retclip.models.memory_layout import lay_out
from retclip.models.timm_encoder import AVERAGE_PATCHES, TimmEncoder, build_timm
from retclip.models.weights_file import read_safetensors

DEFAULT_EMBED_DIM = 512
SPARE_BYTES = 512 << 20  # of what building takes beside the weights
TIMM, HUB = "timm/", "hf-hub:"
# Prefix of the parts of a RET-CLIP checkpoint besides the image encoder, in the file of image encoder weights.
WHOLE = "retclip."


def build_image_encoder(
    settings: dict[str, Any], image_size: int, weights: str | Path | None = None
) -> tuple[nn.Module, int]:
    """The encoder [B, 3, S, S] -> [B, embed_dim], and embed_dim.

    settings: model.image_encoder of the config, with what its weights bring (core.preprocessing): an open_clip name,
    timm/NAME, a repository of the hub, or sizes of open_clip's VisionTransformer with QuickGELU. weights: what
    fetch_image_weights wrote for this image size. Raises ValueError for a name that open_clip or timm does not know,
    for an image size that the network cannot read, and for weights that do not fit.
    """
    check({"image_encoder": settings}, "exported_model", "model")
    name = settings.get("architecture")
    if "open_clip_config" in settings:
        encoder, embed_dim = _open_clip(settings["open_clip_config"], image_size)
    elif name is None:
        encoder, embed_dim = _transformer(settings, image_size), settings["embed_dim"]
    elif name.startswith(TIMM) or "timm_name" in settings:
        embed_dim = settings.get("embed_dim", DEFAULT_EMBED_DIM)
        timm_name = settings.get("timm_name", name.removeprefix(TIMM))
        # from scratch a class token learns too slowly; pretrained networks pool as they were trained to
        pool = settings.get("pool", AVERAGE_PATCHES if settings.get("weights") is None else None)
        encoder = build_timm(timm_name, embed_dim, image_size, pool, settings.get("timm_arguments"))
    elif name.startswith(HUB):
        raise ValueError(
            f"model.image_encoder.architecture is {name}, so model.image_encoder.weights must be the same repository."
        )
    else:
        encoder, embed_dim = _open_clip(known_config(name, settings.get("quick_gelu")), image_size)
    if weights is not None:
        _load(encoder, Path(weights), name or "sizes")
    lay_out(encoder)
    return encoder, embed_dim


@contextmanager
def as_large_as(weights_bytes: int, origin: str) -> Iterator[None]:
    """Builds a stranger's network within the memory that its weights give reason for: a few words can name one that
    takes the machine. origin: of the words.

    Raises ValueError where it takes more, or where the words make no network.
    """
    try:
        with memory_bounded(2 * weights_bytes + SPARE_BYTES):
            yield
    except ValueError:
        raise
    except Exception as error:  # each library has errors of its own
        if isinstance(error, MemoryError) or "memory" in str(error):
            much = f"takes more memory than weights of {weights_bytes >> 20} MB give reason for"
            raise ValueError(f"{origin}: the network {much}; it does not belong to them.") from error
        raise ValueError(f"{origin}: makes no network ({type(error).__name__}: {first_line(error)}).") from error


def known_config(name: str, quick_gelu: bool | None = None) -> dict[str, Any]:
    """open_clip's embed_dim, vision_cfg and quick_gelu of a name.

    quick_gelu: None takes the variant with QuickGELU where there is one: OpenAI's weights were trained with it, and
    plain GELU puts features off by 2.7e-2. Raises ValueError where open_clip does not know the name.
    """
    import open_clip

    place = ":" in name  # open_clip would read a folder, or ask the hub
    known = None if place else open_clip.get_model_config(name)
    if quick_gelu is None and not place:
        known = open_clip.get_model_config(f"{name}-quickgelu") or known
    if known is None:
        raise ValueError(
            f"model.image_encoder.architecture is {name!r}, which open_clip does not know; "
            "python -c 'import open_clip; print(open_clip.list_models())' prints the names."
        )
    chosen = known.get("quick_gelu", False) if quick_gelu is None else quick_gelu
    return {"embed_dim": known["embed_dim"], "vision_cfg": known["vision_cfg"], "quick_gelu": chosen}


@torch.inference_mode()
def check_forward(encoder: nn.Module, name: str, image_size: int, embed_dim: int) -> None:
    """Raises ValueError where the network cannot read one image [1, 3, S, S], or makes other features than [1, D]."""
    training = encoder.training
    try:
        shape = tuple(encoder.eval()(torch.zeros(1, 3, image_size, image_size)).shape)
    except (
        RuntimeError,
        AssertionError,
        ValueError,
        IndexError,
        TypeError,
        AttributeError,
        NotImplementedError,
    ) as error:
        reason = " ".join(str(error).split())[:100]
        raise ValueError(
            f"model.image_encoder: {name} cannot read images of {image_size} px ({reason}); "
            "set data.image_size to the network's own, or take another network."
        ) from None
    finally:
        encoder.train(training)
    if shape != (1, embed_dim):
        raise ValueError(f"model.image_encoder: {name} makes features of shape {shape}, not (1, {embed_dim}).")


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


def _open_clip(config: dict[str, Any], image_size: int) -> tuple[nn.Module, int]:
    from open_clip.model import _build_vision_tower

    sizes = {**config["vision_cfg"], "image_size": image_size, "timm_model_pretrained": False}
    encoder = _build_vision_tower(config["embed_dim"], sizes, quick_gelu=config.get("quick_gelu", False))
    if hasattr(encoder, "set_input_size"):  # of timm's networks, which open_clip builds at their own size
        encoder.set_input_size(image_size)
    return encoder, config["embed_dim"]


def _load(encoder: nn.Module, path: Path, name: str) -> None:
    """What the file lacks must be new by design: the projection behind a network of timm, and a norm at its start."""
    state = {key: tensor for key, tensor in read_safetensors(path).items() if not key.startswith(WHOLE)}
    try:
        missing, unexpected = encoder.load_state_dict(state, strict=False)
    except RuntimeError as error:
        first = " ".join(str(error).splitlines()[1].split())[:120]
        raise ValueError(f"{path}: these weights do not fit model.image_encoder ({name}): {first}") from None
    wrong = [key for key in missing if not key.startswith(("head.proj.", "trunk.fc_norm."))] + unexpected
    if wrong:
        raise ValueError(
            f"{path}: these weights do not fit model.image_encoder ({name}): {wrong[0]} and {len(wrong) - 1} more "
            "tensors are missing or unexpected; delete the file and fetch it again."
        )
    if isinstance(encoder, TimmEncoder):
        encoder.has_new_head = "head.proj.weight" in missing
