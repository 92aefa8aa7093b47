"""Puts a trial's model together: the towers that it names, new heads, scales at its temperature."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from retclip.ml.model import RetClip


def build_model(trial: dict[str, Any], encoder_dir: Path, vision_weights: Path | None) -> "RetClip":
    """The untrained model of `trial`, frozen as it says; the same seed gives the same initial weights."""
    from retclip.ml.model import RetClip
    from retclip.ml.text import load_text_encoder
    from retclip.ml.vision import build_vision

    torch.manual_seed(trial["seed"])
    vision, embed_dim = build_vision(trial["vision"], trial["image_size"], vision_weights)
    model = RetClip(vision, load_text_encoder(encoder_dir), embed_dim)
    hyperparameters = trial["hyperparameters"]
    for scale in (model.logit_scale, model.logit_scale_left, model.logit_scale_right):
        scale.data.fill_(-math.log(hyperparameters["temperature"]))
        scale.requires_grad_(hyperparameters["learnable_temperature"])
    model.freeze(hyperparameters["freeze"])
    return model
