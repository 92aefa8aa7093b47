"""LoRA (Hu et al. 2022) of the attention projections of encoders, through peft, which is imported where a trial has a
rank alone: a frozen weight W becomes W + 2 B A, and only the two narrow matrices B and A are trained."""

import copy
from typing import TYPE_CHECKING, Any

from torch import nn

from retclip.models.blocks import Distances, image_distances, text_distances
from retclip.models.timm_encoder import parts

if TYPE_CHECKING:
    from retclip.core.trial import ModelSpecification
    from retclip.models.retclip import RetClip

# lora_alpha over the rank: the same for each rank, so that a search over ranks does not search over step sizes, too
SCALE = 2


def adapt(model: "RetClip", trial: "ModelSpecification") -> None:
    """Adapts the encoders that are not frozen, in those blocks that train; the rest of them is frozen.

    Raises ValueError where an encoder has no attention projections.
    """
    rank, (network, _) = trial.hyperparameters["lora_rank"], parts(model.visual)
    if not model.is_frozen(network):
        model.freeze("image")
        found = _inside(image_distances(model.visual), network is not model.visual)
        layers = trial.image_encoder.get("train_last_layers", found.blocks)
        adapt_encoder(network, found, layers, rank, "model.image_encoder")
        model.is_adapted = True
    if not model.is_frozen(model.bert):
        model.freeze("text")
        found = text_distances(model.bert)
        layers = trial.text_encoder_settings.train_last_layers or found.blocks
        adapt_encoder(model.bert, found, layers, rank, f"model.text_encoders.{trial.text_encoder}")
        model.is_adapted = True


def check_image_encoder(encoder: nn.Module) -> None:
    """Raises ValueError where LoRA can adapt nothing in an image encoder."""
    network, _ = parts(encoder)
    found = _inside(image_distances(encoder), network is not encoder)
    projections(network, found, found.blocks, "model.image_encoder")


def check_text_encoder(bert: nn.Module, name: str) -> None:
    """Raises ValueError where LoRA can adapt nothing in a text encoder. name: in the config."""
    found = text_distances(bert)
    projections(bert, found, found.blocks, f"model.text_encoders.{name}")


def adapt_encoder(encoder: nn.Module, found: Distances, layers: int, rank: int, key: str) -> None:
    """Puts adapters of this rank beside the attention projections of the last `layers` blocks, in place; all else of
    the encoder is frozen. found: by names in the encoder. key: where it stands in the config.

    Raises ValueError where there are no such projections.
    """
    modules, parameters = projections(encoder, found, layers, key)
    from peft import LoraConfig, inject_adapter_in_model

    settings = LoraConfig(r=rank, lora_alpha=SCALE * rank, target_modules=modules, target_parameters=parameters or None)
    inject_adapter_in_model(settings, encoder)


def projections(encoder: nn.Module, found: Distances, layers: int, key: str) -> tuple[list[str], list[str]]:
    """The names of linear maps in the attention of the last `layers` blocks, and of bare weights; see adapt_encoder.

    torch's own attention has its query, key and value in one bare weight, which peft adapts without touching it. The
    output projection of that is read past its module, and is not adapted. Raises ValueError where there are none.
    """
    modules, parameters = [], []
    for name, part in encoder.named_modules():
        weight = "in_proj_weight" if isinstance(part, nn.MultiheadAttention) else "weight"
        if not 1 <= found.of.get(f"{name}.{weight}", 0) <= layers:
            continue
        if isinstance(part, nn.MultiheadAttention):
            parameters.append(f"{name}.in_proj_weight")
        elif type(part) is nn.Linear and ("attn" in name or "attention" in name) and "mlp" not in name:
            modules.append(name)  # an MLP may stand in a block of attention, or make its position bias
    if not modules and not parameters:
        raise ValueError(
            f"{key}: {type(encoder).__name__} has no attention projections, which lora_rank adapts; "
            "set lora_rank to 0, or freeze this encoder."
        )
    return modules, parameters


def merged(model: "RetClip") -> "RetClip":
    """The model itself, or of an adapted one a copy in which W + 2 B A is a plain weight again."""
    if not model.is_adapted:
        return model
    from peft.tuners.tuners_utils import BaseTunerLayer

    plain = copy.deepcopy(model)
    adapted: list[tuple[str, Any]] = [
        (name, part) for name, part in plain.named_modules() if isinstance(part, BaseTunerLayer)
    ]
    for name, part in adapted:
        part.merge()
        plain.set_submodule(name, part.get_base_layer())
    plain.is_adapted = False
    return plain


def _inside(found: Distances, is_trunk: bool) -> Distances:
    """By names in the network of timm itself, where an encoder has one."""
    prefix = "trunk." if is_trunk else ""
    return Distances({name.removeprefix(prefix): one for name, one in found.of.items()}, found.blocks)
