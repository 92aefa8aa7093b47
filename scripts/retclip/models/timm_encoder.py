"""A network of timm as the image encoder: its own pooling, the image size that is asked for, a projection of ours."""

from collections import OrderedDict
from typing import Any

import torch
from torch import nn

# Averages the patches of a plain vision transformer instead of taking its class token; all others pool as they do.
AVERAGE_PATCHES = "average patches"


class TimmEncoder(nn.Module):
    """[B, 3, S, S] -> [B, embed_dim]: trunk, a network of timm without classifier, then head.proj, a linear map.

    Keys of the state dict are those of open_clip's TimmModel. has_new_head: no weights were loaded into the head.
    """

    def __init__(self, trunk: nn.Module, embed_dim: int, code: str) -> None:
        """code: the line of Python that builds the trunk, for whoever has timm and nothing of this project."""
        super().__init__()
        self.code = code
        self.trunk = trunk
        self.head = nn.Sequential(OrderedDict(proj=nn.Linear(width(trunk), embed_dim, bias=False)))
        self.has_new_head = True

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.trunk(images))

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recomputes activations in the backward pass, where timm's network can."""
        if hasattr(self.trunk, "set_grad_checkpointing"):
            trunk: Any = self.trunk
            trunk.set_grad_checkpointing(enable)


def build_timm(
    name: str, embed_dim: int, image_size: int, pool: str | None = None, arguments: dict[str, Any] | None = None
) -> TimmEncoder:
    """pool: timm's global_pool, or AVERAGE_PATCHES; None is the network's own. arguments: others of timm.create_model.

    Raises ValueError where timm has no such network, or not with this pooling or image size.
    """
    import timm
    from timm.models.vision_transformer import VisionTransformer

    import retclip.demo.image_encoder  # noqa: F401, registers the demo's image encoder with timm

    given = dict(arguments or {})
    if not timm.is_model(name):
        raise ValueError(f"model.image_encoder.architecture: timm has no model {name!r}.")
    native = timm.get_pretrained_cfg(name)
    if native is not None and native.fixed_input_size and native.input_size[-1] != image_size:
        given["img_size"] = image_size
    try:
        trunk: Any = timm.create_model(name, num_classes=0, **given)
        if pool == AVERAGE_PATCHES:
            pool = "avg" if type(trunk) is VisionTransformer and trunk.global_pool == "token" else None
        if pool is not None:
            trunk.reset_classifier(0, global_pool=pool)
    except (RuntimeError, TypeError, AssertionError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:100]
        raise ValueError(
            f"model.image_encoder: timm cannot build {name} for images of {image_size} px ({reason}); "
            "change data.image_size, model.image_encoder.pool or the architecture."
        ) from None
    shown = "".join(f", {key}={value!r}" for key, value in given.items())
    code = f'trunk = timm.create_model("{name}", num_classes=0{shown})'
    if pool is not None:
        code += f'\ntrunk.reset_classifier(0, global_pool="{pool}")'
    return TimmEncoder(trunk, embed_dim, code)


def width(trunk: nn.Module) -> int:
    """Features per image of a network without classifier: some have a layer between their pooling and it."""
    known: Any = trunk
    return getattr(known, "head_hidden_size", None) or known.num_features


def parts(encoder: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The network whose features [B, D] are computed once where it is frozen, and the projection behind it.

    That is nothing for networks of open_clip, whose projection is in their weights.
    """
    return (encoder.trunk, encoder.head) if isinstance(encoder, TimmEncoder) else (encoder, nn.Identity())
