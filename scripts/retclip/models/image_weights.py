"""Initial weights of the image encoder: fetched, fitted to the architecture that was asked for, and described."""

import logging
import os
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from retclip.core.fine_tuning import check_blocks
from retclip.core.hub import downloading, fetch_snapshot
from retclip.core.io import atomic, file_sha256, read_json, write_json
from retclip.core.logs import log
from retclip.core.preprocessing import CLIP, INTERPOLATIONS, Preprocessing, preprocessing_of, settings_path
from retclip.models.adapters import check_image_encoder
from retclip.models.blocks import image_distances
from retclip.models.fitting import Fit, fit, named
from retclip.models.image_encoder import HUB, TIMM, WHOLE, as_large_as, build_image_encoder, check_forward, known_config
from retclip.models.known_weights import is_autoencoder, layout_of, native_size
from retclip.models.weights_file import networks_in, read_weights, refuse_not_finite, state_dict_in

# A repository of open_clip's or timm's: its description and its weights, of which the first that is there is read.
OPEN_CLIP_CONFIG, TIMM_CONFIG = "open_clip_config.json", "config.json"
WEIGHTS_FILES = ("open_clip_model.safetensors", "model.safetensors", "open_clip_pytorch_model.bin", "pytorch_model.bin")
SUPERSEDED = {"open_clip_pytorch_model.bin": "open_clip_model.safetensors", "pytorch_model.bin": "model.safetensors"}
OURS_TO_SAY = ("num_classes", "in_chans", "img_size")  # of a network's arguments in its repository
MAX_SENTENCE = 300
ADVICE = "run this where there is a network, or give a file."


class Source(NamedTuple):
    """What was fetched. name: short, for messages. settings: of model.image_encoder, unless the config has them."""

    name: str
    state: dict[str, torch.Tensor]
    settings: dict[str, Any]
    revision: str | None = None
    license: str | None = None


def fetch_image_weights(settings: dict[str, Any], image_size: int, output: Path, adapted: bool = False) -> str:
    """Writes the encoder's state dict as safetensors, and beside it, as JSON, how its images are read.

    settings: model.image_encoder of the config. weights: an open_clip tag of the architecture, `timm`,
    hf-hub:OWNER/NAME[@REVISION], or a file or folder. A whole RET-CLIP's heads and text encoder are kept, under WHOLE.
    adapted: LoRA must be able to adapt it. Returns one sentence: what fits, what was dropped, what is new. Raises
    ValueError with one such sentence where something that the architecture needs is not there.
    """
    try:
        return _fetch(settings, image_size, output, adapted)
    except ValueError as error:
        raise ValueError(_shortened(str(error))) from None


def _fetch(settings: dict[str, Any], image_size: int, output: Path, adapted: bool) -> str:
    from safetensors.torch import save_file

    name = settings.get("architecture", "sizes")
    source = _source(settings)
    brought = dict(source.settings)
    if brought.get("interpolation") not in INTERPOLATIONS:  # some were trained with several, drawn at random
        brought["interpolation"] = CLIP.interpolation
    with as_large_as(sum(tensor.nbytes for tensor in source.state.values()), source.name):
        encoder, embed_dim = build_image_encoder({**brought, **settings}, image_size)
    if _needs_norm_behind(source.state, encoder):
        brought["timm_arguments"] = {"global_pool": "avg", "fc_norm": True}
        brought.pop("pool", None)
        encoder, embed_dim = build_image_encoder({**brought, **settings}, image_size)
    found = fit(source.state, encoder, f"model.image_encoder.weights: {source.name} does not fit {name}")
    refuse_not_finite(found.state, source.name)
    encoder.load_state_dict(found.state, strict=False)
    check_forward(encoder, name, image_size, embed_dim)
    if "train_last_layers" in settings:
        key = "model.image_encoder.train_last_layers"
        check_blocks(key, settings["train_last_layers"], name, image_distances(encoder).blocks)
    if adapted:
        check_image_encoder(encoder)
    whole = _retclip_parts(source.state)
    state = {key: tensor.contiguous().clone() for key, tensor in {**found.state, **whole}.items()}
    with atomic(output) as temporary:
        save_file(state, temporary)
    encoder_settings = {**brought, "weights_sha256": file_sha256(output)}
    dropped = [key for key in found.dropped if not whole or key.removeprefix("module.") not in _kept(whole)]
    write_json(
        settings_path(output),
        {
            "encoder": encoder_settings,
            "source": {"name": source.name, "revision": source.revision, "license": source.license},
            "image_size": image_size,
            "dropped": dropped,
            "new": found.new,
            "resized": found.resized,
        },
    )
    reading = preprocessing_of({**encoder_settings, **settings})
    if reading.native_size not in (None, image_size):
        log(f"warning: data.image_size is {image_size}, but {source.name} was trained with {reading.native_size} px")
    return _sentence(source, name, found, dropped, reading, brought.get("quick_gelu"))


def _source(settings: dict[str, Any]) -> Source:
    weights, name = settings["weights"], settings.get("architecture", "sizes")
    if weights.startswith(HUB):
        return _of_hub(weights, settings)
    if os.path.isdir(weights):
        return _of_repository(Path(weights), Path(weights).name, settings)
    if os.path.isfile(weights):
        return _of_file(Path(weights), Path(weights).name, settings)
    if Path(weights).suffix or "/" in weights:
        raise ValueError(f"model.image_encoder.weights is {weights[:150]}: no such file.")
    if weights == "timm":
        return _of_timm(name, settings)
    return _of_open_clip(name, weights)


def _of_open_clip(name: str, tag: str) -> Source:
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(name)
    if not open_clip.is_pretrained_cfg(name, tag):
        raise ValueError(
            f"model.image_encoder.weights: open_clip has no weights {tag!r} for {name}; it has "
            f"{', '.join(tags[:6]) or 'none'}{f' and {len(tags) - 6} more' if tags[6:] else ''}."
        )
    facts = open_clip.get_pretrained_cfg(name, tag)
    quick = bool(facts.get("quick_gelu", False) or known_config(name, None if "quick" in name else False)["quick_gelu"])
    try:
        logging.disable(logging.CRITICAL)  # its own lines would stand above our sentence
        with downloading(f"model.image_encoder.weights: {tag} of {name}", ADVICE):
            state = open_clip.create_model(name, pretrained=tag, force_quick_gelu=quick).visual.state_dict()
    finally:
        logging.disable(logging.NOTSET)
    native = known_config(name, False)["vision_cfg"].get("image_size", 224)
    return Source(f"{name} {tag}", state, {**_of_open_clip_facts(facts, native), "quick_gelu": quick})


def _of_open_clip_facts(facts: dict[str, Any], native: Any) -> dict[str, Any]:
    """Preprocessing in the words of open_clip, in ours."""
    known = {key: facts[key] for key in ("mean", "std", "interpolation") if facts.get(key) is not None}
    known |= {key: [float(value) for value in known[key]] for key in ("mean", "std") if key in known}
    size = facts.get("size", native)
    return {**known, "native_size": size if isinstance(size, int) else size[-1]}


def _of_timm(name: str, settings: dict[str, Any]) -> Source:
    import timm

    if not name.startswith(TIMM):
        raise ValueError(f"model.image_encoder.weights is timm, but the architecture {name} is none of timm/NAME.")
    known = timm.get_pretrained_cfg(name.removeprefix(TIMM)) if timm.is_model(name.removeprefix(TIMM)) else None
    if known is None:
        raise ValueError(f"model.image_encoder.weights: timm has no pretrained weights for {name}; give a file.")
    with downloading(f"model.image_encoder.weights: timm's weights of {name}", ADVICE):
        state = timm.create_model(name.removeprefix(TIMM), pretrained=True).state_dict()
    return Source(f"timm's {known.tag or name}", state, timm_preprocessing(known.to_dict()), known.hf_hub_id)


def timm_preprocessing(config: dict[str, Any]) -> dict[str, Any]:
    """mean, std, interpolation and native size of timm's data config."""
    from timm.data import resolve_data_config

    found = resolve_data_config(pretrained_cfg=config)
    return {"mean": list(found["mean"]), "std": list(found["std"]), "interpolation": found["interpolation"],
            "native_size": found["input_size"][-1]}  # fmt: skip


def _of_hub(weights: str, settings: dict[str, Any]) -> Source:
    identifier, _, revision = weights.removeprefix(HUB).partition("@")
    patterns = [OPEN_CLIP_CONFIG, TIMM_CONFIG, *WEIGHTS_FILES]
    key = "model.image_encoder.weights"
    snapshot = fetch_snapshot(key, "model", identifier, revision or "main", patterns, SUPERSEDED, (WEIGHTS_FILES,))
    source = _of_repository(snapshot.folder, identifier, settings)
    return source._replace(revision=snapshot.commit, license=snapshot.license)


def _of_repository(folder: Path, name: str, settings: dict[str, Any]) -> Source:
    """A folder as open_clip or timm pushes it to the hub."""
    path = next((folder / file for file in WEIGHTS_FILES if (folder / file).is_file()), None)
    if path is None:
        raise ValueError(f"model.image_encoder.weights: {name} has none of {', '.join(WEIGHTS_FILES)}.")
    architecture = settings.get("architecture", "")
    from_hub = architecture.startswith(HUB) or Path(architecture).is_dir()
    if (folder / OPEN_CLIP_CONFIG).is_file():
        found = read_json(folder / OPEN_CLIP_CONFIG)
        config = found["model_cfg"]
        brought = _of_open_clip_facts(found.get("preprocess_cfg", {}), config["vision_cfg"].get("image_size", 224))
        kept = {key: config[key] for key in ("embed_dim", "vision_cfg", "quick_gelu") if key in config}
        brought |= {"open_clip_config": kept} if from_hub else {"quick_gelu": config.get("quick_gelu", False)}
    elif (folder / TIMM_CONFIG).is_file() and "architecture" in read_json(folder / TIMM_CONFIG):
        found = read_json(folder / TIMM_CONFIG)
        config = found.get("pretrained_cfg", found)
        brought = timm_preprocessing(config)
        arguments = {key: value for key, value in (found.get("model_args") or {}).items() if key not in OURS_TO_SAY}
        if found.get("global_pool") in ("avg", "token", "map"):
            arguments["global_pool"] = found["global_pool"]
        brought |= {"timm_name": found["architecture"], "timm_arguments": arguments} if from_hub else {}
    else:
        raise ValueError(
            f"model.image_encoder.weights: {name} is a repository of neither open_clip ({OPEN_CLIP_CONFIG}) nor timm "
            f"({TIMM_CONFIG} with an architecture)."
        )
    return Source(name, state_dict_in(read_weights(path), path), brought)


def _of_file(path: Path, name: str, settings: dict[str, Any]) -> Source:
    """A file says nothing of its images: a known layout does, else timm's or open_clip's words on the architecture."""
    content = read_weights(path)
    state, several = state_dict_in(content, path), networks_in(content)
    if len(several) > 1:
        log(f"{name} holds {' and '.join(several)}: {several[0]} is read; save another one alone to take it")
    architecture = settings.get("architecture", "sizes")
    brought: dict[str, Any] = {}
    if architecture.startswith(TIMM):
        import timm

        known = timm.get_pretrained_cfg(architecture.removeprefix(TIMM))
        brought = timm_preprocessing(known.to_dict()) if known else {}
    elif architecture != "sizes":
        import open_clip

        tags = open_clip.list_pretrained_tags_by_model(architecture)
        facts = open_clip.get_pretrained_cfg(architecture, tags[0]) if tags else {}
        known_here = known_config(architecture, False)
        brought = _of_open_clip_facts(facts, known_here["vision_cfg"].get("image_size", 224))
        brought["quick_gelu"] = architecture.endswith("-quickgelu")
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    side = native_size(shapes)
    brought |= {"native_size": side} if side else {}
    layout = layout_of(architecture, shapes)
    if layout:
        name, brought = f"{name} ({layout.name})", {**brought, **layout.settings}
    return Source(name, state, brought)


def _needs_norm_behind(state: dict[str, torch.Tensor], encoder: nn.Module) -> bool:
    """Whether a plain ViT of timm needs its norm behind the average of its patches: so the file was trained, or, as a
    masked autoencoder, is fine-tuned by everybody (He et al. 2022; RETFound), with a norm that starts as none."""
    from timm.models.vision_transformer import VisionTransformer

    trunk = getattr(encoder, "trunk", None)
    trained = any(key.split(".")[-2:] == ["fc_norm", "weight"] for key in state)
    return (
        (trained or is_autoencoder(state))
        and type(trunk) is VisionTransformer
        and isinstance(trunk.fc_norm, nn.Identity)
    )


def _retclip_parts(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The heads and the text encoder of a whole RET-CLIP, under WHOLE; nothing of a CLIP."""
    plain = {key.removeprefix("module."): value for key, value in state.items()}
    parts = {key: value for key, value in plain.items() if not key.startswith("visual.")}
    is_retclip = len(parts) < len(plain) and any(key.startswith("bert.") for key in parts)
    return {f"{WHOLE}{key}": value for key, value in parts.items()} if is_retclip else {}


def _kept(whole: dict[str, torch.Tensor]) -> set[str]:
    return {key.removeprefix(WHOLE) for key in whole}


def _sentence(
    source: Source, name: str, found: Fit, dropped: list[str], reading: Preprocessing, quick_gelu: bool | None
) -> str:
    parts = [f"{source.name} fits {name}: {len(found.state)} tensors"]
    parts += [f"dropped {len(dropped)} ({named(dropped)})"] if dropped else []
    parts += [f"new {named(found.new)}"] if found.new else []
    parts += [f"resized {named(found.resized)}"] if found.resized else []
    mean, std = ("/".join(f"{value:.3g}" for value in values) for values in (reading.mean, reading.std))
    parts += [f"mean {mean}, std {std}, {reading.interpolation}"]
    parts += [] if quick_gelu is None else ["QuickGELU" if quick_gelu else "GELU"]
    return _shortened("; ".join(parts))


def _shortened(sentence: str) -> str:
    sentence = " ".join(sentence.split())
    return sentence if len(sentence) <= MAX_SENTENCE else f"{sentence[: MAX_SENTENCE - 3]}..."
