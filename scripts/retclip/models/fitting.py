"""Fits a state dict of any layout to the image encoder that was asked for, and says what it used."""

import re
import sys
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import nn

from retclip.models.timm_encoder import TimmEncoder

# A sentence names so many keys, and no more of a key.
KEYS_NAMED, KEY_LENGTH = 3, 36
CLASSIFIERS = {"head", "heads", "head_dist", "fc", "classifier", "last_linear", "linear_head", "pre_logits"}
COUNTER = "num_batches_tracked"  # of batch normalization, which old files lack and no image depends on
# DINOv2 trains its blocks in chunks, whose numbers stand before theirs
CHUNKED = re.compile(r"\bblocks\.\d+\.(\d+)\.")


class Fit(NamedTuple):
    """state: what the encoder loads. dropped: keys of the file that it has no use for. new: its own tensors, which the
    file lacks. resized: what was interpolated to the image size, in words."""

    state: dict[str, torch.Tensor]
    dropped: list[str]
    new: list[str]
    resized: list[str]


def fit(state: dict[str, torch.Tensor], encoder: nn.Module, what: str) -> Fit:
    """Fits `state`, of whatever prefix. what: file and architecture, for messages.

    Raises ValueError with one sentence where a tensor of the encoder is not in the file, or has another shape, or where
    the file holds parts of the same network that this architecture does not have.
    """
    is_timm = hasattr(encoder, "trunk")
    network: nn.Module = encoder.trunk if is_timm else encoder  # type: ignore[assignment]
    wanted = network.state_dict()
    if not any(CHUNKED.search(key) for key in wanted):
        state = {CHUNKED.sub(r"blocks.\1.", key): value for key, value in state.items()}
    prefix = _prefix(state, wanted)
    inside = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    outside = [key for key in state if not key.startswith(prefix)]
    before = dict(inside)
    try:
        inside = _converted(inside, network, is_timm)
    except Exception as error:  # timm's conversions meet files that they were not made for
        reason = " ".join(str(error).split())[:80]
        raise ValueError(f"{what}: timm cannot convert this file ({type(error).__name__}: {reason}).") from None
    found = {key: value for key, value in inside.items() if key in wanted}
    missing = [key for key in wanted if key not in found and not key.endswith(COUNTER)]
    new = [key for key in missing if key.startswith("fc_norm.")]
    shapes = [key for key, value in found.items() if value.shape != wanted[key].shape]
    extra = [key for key in inside if key not in wanted]
    tops = {key.split(".")[0] for key in wanted} - CLASSIFIERS
    foreign = [key for key in extra if key.split(".")[0] in tops and not set(key.split(".")) & CLASSIFIERS]
    missing = [key for key in missing if key not in new]
    if missing or shapes or foreign:
        raise ValueError(_misfit(what, wanted, found, missing, shapes, foreign))
    dropped = outside + extra + [key for key in before if key not in inside and not _is_renamed(key)]
    resized = [f"{key} {_side(before[key])} -> {_side(value)}" for key, value in found.items()
               if key in before and before[key].shape != value.shape]  # fmt: skip
    counters = {key: value for key, value in wanted.items() if key.endswith(COUNTER)}
    fitted = counters | {key: value.to(wanted[key].dtype) for key, value in found.items()}
    if is_timm:
        fitted, dropped, new = _with_head(fitted, state, encoder, prefix, dropped, new)
        if not isinstance(encoder, TimmEncoder) and any(key.startswith("head.") for key in new):
            raise ValueError(_misfit(what, encoder.state_dict(), fitted, new, [], []))
    return Fit(fitted, dropped, new, resized)


def named(keys: Iterable[str]) -> str:
    """The first keys, shortened, and how many more."""
    shown = list(keys)
    words = [key if len(key) <= KEY_LENGTH else f"{key[:14]}..{key[16 - KEY_LENGTH :]}" for key in shown[:KEYS_NAMED]]
    more = len(shown) - len(words)
    return ", ".join(words) + (f" and {more} more" if more else "")


def _prefix(state: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> str:
    """What stands before the network's keys in the file: the prefix behind which most of them are found.

    Of a teacher and its student, which have the same ones, the teacher's.
    """
    found: Counter[str] = Counter()
    for key in state:
        words = key.split(".")
        for start in range(len(words)):
            if ".".join(words[start:]) in wanted:
                found["".join(f"{word}." for word in words[:start])] += 1
    if not found:
        return ""
    return max(found, key=lambda prefix: (found[prefix], "teacher" in prefix, -len(prefix)))


def _converted(state: dict[str, torch.Tensor], network: nn.Module, is_timm: bool) -> dict[str, torch.Tensor]:
    """In the network's own names and sizes: position embeddings and patches are interpolated to its image size."""
    if is_timm:
        module: Any = sys.modules[type(network).__module__]
        convert = getattr(module, "checkpoint_filter_fn", None)
        return convert(dict(state), network) if convert else state
    from open_clip.model import resize_pos_embed

    visual = {f"visual.{key}": value for key, value in state.items()}
    resize_pos_embed(visual, nn.ModuleDict({"visual": network}))
    return {key.removeprefix("visual."): value for key, value in visual.items()}


def _with_head(
    fitted: dict[str, torch.Tensor],
    state: dict[str, torch.Tensor],
    encoder: nn.Module,
    prefix: str,
    dropped: list[str],
    new: list[str],
) -> tuple[dict[str, torch.Tensor], list[str], list[str]]:
    """The encoder's state from its trunk's, with the projection behind it where an open_clip file has one that fits."""
    whole = {f"trunk.{key}": value for key, value in fitted.items()}
    new = [f"trunk.{key}" for key in new]
    head = prefix.removesuffix("trunk.")
    wanted = {key: value for key, value in encoder.state_dict().items() if key.startswith("head.")}
    found = {key: state[head + key] for key in wanted if prefix.endswith("trunk.") and head + key in state}
    if found.keys() == wanted.keys() and all(found[key].shape == wanted[key].shape for key in wanted):
        return {**whole, **found}, [key for key in dropped if key.removeprefix(head) not in found], new
    return whole, dropped, [*new, *wanted]


def _misfit(
    what: str,
    wanted: dict[str, torch.Tensor],
    found: dict[str, torch.Tensor],
    missing: list[str],
    shapes: list[str],
    foreign: list[str],
) -> str:
    fitting = len(found) - len(shapes)
    reasons = []
    if missing:
        reasons.append(f"missing {named(missing)}")
    if shapes:
        first = shapes[0]
        sizes = f"{tuple(found[first].shape)}, not {tuple(wanted[first].shape)}"
        reasons.append(f"{named([first])} is {sizes}{f', as {len(shapes) - 1} more' if shapes[1:] else ''}")
    if foreign:
        reasons.append(f"unknown {named(foreign)}")
    return f"{what}: {fitting} of {len(wanted)} tensors fit; {'; '.join(reasons)}."


def _is_renamed(key: str) -> bool:
    """Whether timm's conversion of a DINOv2 gives this key another name, so that it is not dropped."""
    return key == "register_tokens" or ".mlp.w" in key


def _side(value: torch.Tensor) -> str:
    """A shape in words: tokens, or pixels of a patch."""
    return str(value.shape[1] if value.ndim == 3 else value.shape[-1] if value.ndim == 4 else value.shape[0])
