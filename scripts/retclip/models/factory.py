"""Builds a trial's model: the encoders that it names, new heads, logit scales at its temperature."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from retclip.core.preprocessing import preprocessing_of
from retclip.core.trial import ModelSpecification
from retclip.models.image_encoder import WHOLE
from retclip.models.weights_file import read_safetensors

if TYPE_CHECKING:
    from retclip.models.retclip import RetClip

IMAGE_HEADS = ("global_feature_mapping.", "left_feature_mapping.", "right_feature_mapping.")
TEXT_HALF = ("bert.", "text_projection")


def build_model(trial: ModelSpecification, encoder_dir: Path, image_weights: Path | None) -> "RetClip":
    """The untrained model of `trial`, frozen as it says; the same seed gives the same initial weights.

    encoder_dir: the text encoder's folder, as fetched. image_weights: the image encoder's initial weights, as fetched;
    None starts at random. Raises ValueError where weights do not fit the model.
    """
    from retclip.models.image_encoder import build_image_encoder, check_forward
    from retclip.models.retclip import RetClip
    from retclip.models.text_encoder import load_text_encoder, pooling_of

    torch.manual_seed(trial.seed)
    image_encoder, embed_dim = build_image_encoder(trial.image_encoder, trial.image_size, image_weights)
    if image_weights is None:  # weights were tried where they were fetched
        name = trial.image_encoder.get("architecture", "sizes")
        check_forward(image_encoder, name, trial.image_size, embed_dim)
    pooling = pooling_of(encoder_dir, trial.text_encoder_settings.pooling)
    model = RetClip(image_encoder, load_text_encoder(encoder_dir, pooling), embed_dim, pooling=pooling)
    model.preprocessing = preprocessing_of(trial.image_encoder)
    hyperparameters = trial.hyperparameters
    for scale in (model.logit_scale, model.logit_scale_left, model.logit_scale_right):
        scale.data.fill_(-math.log(hyperparameters["temperature"]))
        scale.requires_grad_(hyperparameters["learnable_temperature"])
    if image_weights is not None:
        _start_from_checkpoint(model, trial, image_weights)
    model.freeze(hyperparameters["freeze"])
    _freeze_first_blocks(model, trial)
    if hyperparameters["lora_rank"]:
        from retclip.models.adapters import adapt

        adapt(model, trial)
    return model


def _freeze_first_blocks(model: "RetClip", trial: ModelSpecification) -> None:
    """Where an encoder has train_last_layers. Raises ValueError where it has fewer blocks."""
    from retclip.core.fine_tuning import check_blocks
    from retclip.models.blocks import image_distances, text_distances, train_last_layers

    layers = trial.image_encoder.get("train_last_layers")
    if layers:
        found = image_distances(model.visual)
        name = trial.image_encoder.get("architecture", "the encoder")
        check_blocks("model.image_encoder.train_last_layers", layers, name, found.blocks)
        train_last_layers(model.visual, found, layers)
    layers = trial.text_encoder_settings.train_last_layers
    if layers:
        found = text_distances(model.bert)
        key = f"model.text_encoders.{trial.text_encoder}.train_last_layers"
        check_blocks(key, layers, model.bert.config.model_type, found.blocks)
        train_last_layers(model.bert, found, layers)


def _start_from_checkpoint(model: "RetClip", trial: ModelSpecification, path: Path) -> None:
    """Loads the image heads of a RET-CLIP checkpoint, and its text half where the encoder is set to from_checkpoint.

    Raises ValueError where the file has no such half, or where sizes differ.
    """
    whole = {
        name.removeprefix(WHOLE): value for name, value in read_safetensors(path).items() if name.startswith(WHOLE)
    }
    with_text = trial.text_encoder_settings.from_checkpoint
    if with_text and not whole:
        raise ValueError(
            f"model.text_encoders.{trial.text_encoder}.from_checkpoint is set, but model.image_encoder.weights is "
            "no whole RET-CLIP checkpoint."
        )
    parts = (*IMAGE_HEADS, *TEXT_HALF) if with_text else IMAGE_HEADS
    taken = {name: value for name, value in whole.items() if name.startswith(parts)}
    own = model.state_dict()
    for name, value in taken.items():
        if name not in own or own[name].shape != value.shape:
            found = tuple(own[name].shape) if name in own else "nothing of that name"
            raise ValueError(
                f"model.image_encoder.weights: the checkpoint's {name} is {tuple(value.shape)}, the model's is "
                f"{found}; {trial.text_encoder} must be the text encoder that the checkpoint was trained with."
            )
    model.load_state_dict(taken, strict=False)
