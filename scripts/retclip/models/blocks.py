"""The blocks of an encoder in the order of their depth, for whatever trains the last ones alone, or each at a learning
rate of its own. A network with stages, such as a CNN, has these as its blocks."""

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import nn

from retclip.models.timm_encoder import parts

if TYPE_CHECKING:
    from retclip.models.retclip import RetClip

Key = tuple[float, ...]
# Of open_clip's own networks, in the form in which timm describes its: VisionTransformer, ModifiedResNet.
TRANSFORMER = {
    "stem": r"^(class_embedding|positional_embedding|conv1|ln_pre)",
    "blocks": r"^transformer\.resblocks\.(\d+)\.",
}
RESNET = {"stem": r"^(conv|bn)\d\.", "blocks": r"^layer(\d+)\."}
# timm's mark of what it counts to the last block, the norm behind it; BEiT's and MAE's rule does not
WITH_THE_LAST = (99999,)


class Distances(NamedTuple):
    """of: a parameter's name -> its distance from the head: 0 for what follows the blocks, 1 for the last block, and so
    on, blocks + 1 for the embeddings. blocks: how many there are."""

    of: dict[str, int]
    blocks: int


def image_distances(encoder: nn.Module) -> Distances:
    """Of an image encoder. Raises ValueError where nobody says what its blocks are."""
    network: Any = getattr(encoder, "trunk", encoder)
    if network is encoder:
        matcher: Any = TRANSFORMER if hasattr(encoder, "transformer") else RESNET
        prefix = ""
    else:
        matcher, prefix = getattr(network, "group_matcher", lambda coarse: {})(coarse=True), "trunk."
    names = [name for name, _ in encoder.named_parameters()]
    found = _distances(names, prefix, _timm_key(matcher))
    if not found.blocks:
        raise ValueError(
            f"model.image_encoder: {type(network).__name__} does not say what its blocks are, so that "
            "train_last_layers, layer_decay and lora_rank do not go with it."
        )
    return found


def text_distances(bert: Any) -> Distances:
    """Of a text encoder of transformers. Raises ValueError where its blocks are no list of their own, as in ALBERT."""
    count = getattr(bert.config, "num_hidden_layers", None)
    lists = [name for name, part in bert.named_modules() if isinstance(part, nn.ModuleList) and len(part) == count]
    outer = [name for name in lists if not any(name.startswith(f"{other}.") for other in lists)]
    if len(outer) != 1 or getattr(bert.config, "num_hidden_groups", None):
        raise ValueError(
            f"model.text_encoders: a text encoder of type {bert.config.model_type} has no blocks of their own, so that "
            "train_last_layers, layer_decay and lora_rank do not go with it."
        )
    block = re.compile(rf"{re.escape(outer[0])}\.(\d+)\.")
    children = [name for name, _ in bert.named_children()]
    behind = children[children.index(outer[0].split(".")[0]) + 1 :]

    def key(name: str) -> Key | None:
        match = block.match(name)
        if match:
            return (float(match[1]),)
        return None if name.split(".")[0] in behind else ()

    return _distances([name for name, _ in bert.named_parameters()], "", key)


def distances(model: "RetClip") -> dict[str, int]:
    """Of all parameters of the encoders that train, by their names in the model; heads and logit scales have none.

    Raises ValueError where nobody says what the blocks of one of them are.
    """
    found = {}
    if not model.is_frozen(parts(model.visual)[0]):
        found["visual"] = image_distances(model.visual)
    if not model.is_frozen(model.bert):
        found["bert"] = text_distances(model.bert)
    return {f"{part}.{name}": distance for part, one in found.items() for name, distance in one.of.items()}


def train_last_layers(encoder: nn.Module, found: Distances, layers: int) -> None:
    """Freezes an encoder's embeddings and all but its last `layers` blocks. What follows the blocks still trains."""
    for name, parameter in encoder.named_parameters():
        if found.of[name] > layers:
            parameter.requires_grad_(False)


def _distances(names: Iterable[str], prefix: str, key_of: Callable[[str], Key | None]) -> Distances:
    """prefix: of the network with blocks; whatever else is there follows it. key_of: name in the network -> the key by
    which blocks are in order, () for what comes before them, None for what follows."""
    keys = {name: key_of(name.removeprefix(prefix)) if name.startswith(prefix) else None for name in names}
    order = sorted({key for key in keys.values() if key})
    nearness = {key: len(order) - position for position, key in enumerate(order)}
    return Distances(
        {name: 0 if key is None else nearness.get(key, len(order) + 1) for name, key in keys.items()}, len(order)
    )


def _timm_key(matcher: Any) -> Callable[[str], Key | None]:
    """key_of for a description of timm's: name of a group -> one regular expression, or several with a mark each; or a
    function that counts from 0."""
    if callable(matcher):

        def counted(name: str) -> Key | None:
            number = float(matcher(name))
            return None if number == float("inf") or name.split(".")[0] == "norm" else (number,) if number else ()

        return counted
    patterns = [
        (re.compile(pattern), () if group == "stem" else (float(place),))
        for place, (group, given) in enumerate(matcher.items())
        for pattern, mark in ([(given, None)] if isinstance(given, str) else given or ())
        if mark != WITH_THE_LAST
    ]

    def key(name: str) -> Key | None:
        for pattern, start in patterns:
            match = pattern.match(name)
            if match:
                return start and (*start, *(float(number) for number in match.groups() if number is not None))
        return None

    return key
