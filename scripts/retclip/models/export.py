"""The trained model as files that plain open_clip and transformers can read, with a card that shows how."""

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from retclip.core.io import read_json, write_json
from retclip.core.preprocessing import preprocessing_of
from retclip.core.renamed import model_folder_in_new_words
from retclip.core.schemas import check
from retclip.core.trial import Trial
from retclip.metrics.metrics_document import Validation
from retclip.models.adapters import merged
from retclip.models.convert import has_upstream_layout, to_retclip
from retclip.models.image_encoder import as_large_as, build_image_encoder
from retclip.models.model_card import model_card
from retclip.models.retclip import RetClip
from retclip.models.text_encoder import TOKENIZER_FILES, load_text_encoder
from retclip.models.weights_file import read_safetensors

ENCODERS = ("visual.", "bert.")
MOST_CLASSES = 10_000  # counted before a schema looks at each


def export_model(
    model: RetClip,
    folder: Path,
    *,
    image_encoder: dict[str, Any],
    tokenizer_folder: Path,
    image_size: int,
    class_prompts: dict[str, list[str]],
    trial: Trial,
    data: dict[str, Any],
    val: Validation,
) -> None:
    """Fills the empty `folder`: vision.safetensors, text/, heads.safetensors, model.json, preprocessing.json,
    class_prompts.json, README.md, and retclip.pt in upstream's layout where the image encoder is open_clip's ViT.

    data: fingerprint.json. val: the validation scores of metrics.json, for the card. LoRA's adapters are merged: who
    reads the files needs no peft.
    """
    model = merged(model)
    (folder / "text").mkdir(parents=True)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    save_file(_part(state, "visual."), folder / "vision.safetensors")
    save_file(
        {name: tensor for name, tensor in state.items() if not name.startswith(ENCODERS)},
        folder / "heads.safetensors",
    )
    model.bert.save_pretrained(folder / "text", state_dict=_part(state, "bert."))
    for name in (*TOKENIZER_FILES, "source.json"):
        if (tokenizer_folder / name).is_file():
            shutil.copyfile(tokenizer_folder / name, folder / "text" / name)
    embed_dim, head_depth = model.global_feature_mapping.out_features, (len(model.text_projection) + 1) // 2
    write_json(
        folder / "model.json",
        {"image_encoder": image_encoder, "image_size": image_size, "embed_dim": embed_dim, "head_depth": head_depth},
    )
    write_json(
        folder / "preprocessing.json",
        {
            "crop": "bounding box of the fundus, padded with black to a square (retclip.data.images)",
            "image_size": image_size,
            "mean": model.preprocessing.mean,
            "std": model.preprocessing.std,
            "interpolation": model.preprocessing.interpolation,
            "native_size": model.preprocessing.native_size,
            "single_eye": "the patient's feature takes the one eye twice",
            # two eyes at least: one alone has no negatives, and its head stays random
            "heads": [*(eye for eye, count in data["splits"]["train"]["eyes"].items() if count > 1), "patient"],
            "image_encoding": data["image_encoding"],
            "context_length": trial.hyperparameters["context_length"],
            "truncation_side": trial.text_encoder_settings.truncation_side,
            "text_pooling": model.pooling,
            "precision": trial.hyperparameters["precision"],
        },
    )
    write_json(folder / "class_prompts.json", class_prompts)
    if has_upstream_layout(model):
        torch.save({name: tensor.cpu() for name, tensor in to_retclip(model).items()}, folder / "retclip.pt")
    source = read_json(tokenizer_folder / "source.json")
    card = model_card(model, trial, image_encoder, image_size, source, data, val)
    (folder / "README.md").write_text(card, encoding="utf-8")


def load_exported(folder: Path) -> RetClip:
    """The model in `folder`, in evaluation mode. Raises ValueError where its files are broken, or do not fit."""
    sizes = read_exported(folder, "model.json")
    reading = read_exported(folder, "preprocessing.json")
    pooling = reading.get("text_pooling", "cls")  # exports of version 0.1 do not say
    text = load_text_encoder(folder / "text", pooling)
    parts = [folder / name for name in ("vision.safetensors", "heads.safetensors")]
    with as_large_as(sum(path.stat().st_size for path in parts if path.is_file()), str(folder / "model.json")):
        visual, embed_dim = build_image_encoder(sizes["image_encoder"], sizes["image_size"])
        model = RetClip(visual, text, embed_dim, sizes["head_depth"], pooling)
    model.preprocessing = preprocessing_of(reading)
    for part, name, strict in ((visual, "vision.safetensors", True), (model, "heads.safetensors", False)):
        state = read_safetensors(folder / name)
        try:
            part.load_state_dict(state, strict=strict)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:120]
            raise ValueError(f"{folder / name}: does not fit the sizes of model.json ({reason}).") from None
    return model.eval()


def read_exported(folder: Path, name: str) -> dict[str, Any]:
    """A JSON file of an exported model, which may be a stranger's, in today's words. Raises ValueError where it says
    what no model of ours does, or has sizes that nothing holds."""
    content = read_json(folder / name)
    if not isinstance(content, dict):
        raise ValueError(f"{folder / name}: is no JSON object, so it belongs to no exported model.")
    if name == "class_prompts.json":
        if len(content) > MOST_CLASSES:
            raise ValueError(f"{folder / name}: names {len(content):,} classes; a model has at most {MOST_CLASSES:,}.")
    else:
        content = model_folder_in_new_words(content)
    check({name: content}, "exported_model", str(folder))
    return content


def _part(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
