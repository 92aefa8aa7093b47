"""The card of an exported model: what it was trained on, how it scores, and code that needs nothing of this project."""

import inspect
from pathlib import Path
from string import Template
from typing import Any

from retclip.core.plain_text import markdown
from retclip.core.trial import Trial
from retclip.data import images
from retclip.metrics.metrics_document import Validation
from retclip.metrics.registry import METRICS
from retclip.models.image_encoder import known_config
from retclip.models.retclip import RetClip
from retclip.models.timm_encoder import TimmEncoder, width

DEMO_ENCODER = "timm/demo_conv"
# What a card says of a model in a run's folder, and of none elsewhere.
LOCAL_FOLDER = 'folder = Path(".")  # the folder of this file'
TEST_SCORES = "Test scores with 95 % CI are in evaluation.json beside this folder."
# The text encoder's feature from what transformers makes of a batch.
POOLING_CODE = {
    "cls": "    feature = output.last_hidden_state[:, 0]",
    "mean": (
        '    read = batch["attention_mask"].unsqueeze(2)\n'
        "    feature = (output.last_hidden_state * read).sum(1) / read.sum(1)"
    ),
    "pooler": "    feature = output.pooler_output",
}


def model_card(
    model: RetClip,
    trial: Trial,
    settings: dict[str, Any],
    image_size: int,
    source: dict[str, Any],
    data: dict[str, Any],
    val: Validation,
) -> str:
    """README.md of an exported model; its code block runs as it stands, in the model's folder.

    source: source.json of the text encoder's folder. data, val: see export_model. Names are the user's and the hub's,
    and Markdown lets HTML through.
    """
    hyperparameters = trial.hyperparameters
    layers = {
        "train_last_layers of the image encoder": settings.get("train_last_layers"),
        "train_last_layers of the text encoder": trial.text_encoder_settings.train_last_layers,
    }
    given = {name: value for name, value in layers.items() if value}
    rows = "\n".join(f"| {name} | {value} |" for name, value in {**hyperparameters, **given}.items())
    return Template(CARD).substitute(
        name=trial.text_encoder,
        seed=trial.seed,
        encoder=markdown(f"{trial.text_encoder} ({trial.text_encoder_settings.source})"),
        revision=markdown(str(source.get("revision"))),
        license=markdown(str(source.get("license") or "not stated")),
        weights=markdown(Path(settings["weights"]).name if settings.get("weights") else "none (random)"),
        rows=rows,
        scores=_score_rows(val),
        data=markdown(_data_sentence(data)),
        image_encoder=_image_encoder_code(model, settings, image_size),
        text=_text_encoder_code(model),
        pooling=POOLING_CODE[model.pooling],
        folder=LOCAL_FOLDER,
        test_scores=TEST_SCORES,
        crop=_crop_code(),
        interpolation=model.preprocessing.interpolation.upper(),
        text_head=_text_head_code((len(model.text_projection) + 1) // 2),
        truncation_side=trial.text_encoder_settings.truncation_side,
        size=image_size,
        mean=model.preprocessing.mean,
        std=model.preprocessing.std,
        context_length=hyperparameters["context_length"],
    )


def _score_rows(val: Validation) -> str:
    """A row per validation score that is known: its value, standard error, chance and majority level."""

    def shown(value: float | None) -> str:
        return "" if value is None else f"{value:.3f}"

    levels = val.levels
    rows = [
        [name.replace("_", " "), shown(val.scores[name]), shown(val.standard_error.get(name)),
         shown(levels.chance.get(name)), shown(levels.majority.get(name))]
        for name in METRICS if val.scores[name] is not None
    ]  # fmt: skip
    return "\n".join(f"| {' | '.join(row)} |" for row in rows or [["none: the training did not end", "", "", "", ""]])


def _data_sentence(data: dict[str, Any]) -> str:
    train, val = (data["splits"][name] for name in ("train", "val"))
    kind = "made from the labels" if data["texts_from_labels"] else "reports"
    labels = {"none": "no labels"}.get(data["label_level"], f"labels per {data['label_level']}")
    classes = ", ".join(f"{name} ({train['per_class'].get(name, 0):,})" for name in data["classes"])
    return (
        f"{train['patients']:,} patients to train on and {val['patients']:,} to validate; texts {kind}; {labels}"
        f"{f', in the training split {classes}' if classes else ''}. Content hash {data['sha256'][:16]}."
    )


def _image_encoder_code(model: RetClip, settings: dict[str, Any], image_size: int) -> str:
    name, embed_dim = settings.get("architecture"), model.global_feature_mapping.out_features
    if isinstance(model.visual, TimmEncoder):
        return (_demo_encoder_code() if name == DEMO_ENCODER else "") + (
            "from collections import OrderedDict\n"
            f"import timm\n{model.visual.code}\n"
            f"projection = torch.nn.Linear({width(model.visual.trunk)}, {embed_dim}, bias=False)\n"
            "image_encoder = torch.nn.Sequential(\n"
            "    OrderedDict(trunk=trunk, head=torch.nn.Sequential(OrderedDict(proj=projection)))\n"
            ")"
        )
    if "open_clip_config" in settings:
        config = settings["open_clip_config"]
        sizes = {**config["vision_cfg"], "image_size": image_size, "timm_model_pretrained": False}
        resize = f"\nimage_encoder.set_input_size({image_size})" if hasattr(model.visual, "set_input_size") else ""
        return (
            "from open_clip.model import _build_vision_tower\n"
            f"image_encoder = _build_vision_tower({embed_dim}, {sizes}, {config.get('quick_gelu', False)}){resize}"
        )
    if name is None:
        return (
            "from open_clip.transformer import QuickGELU, VisionTransformer\n"
            f"image_encoder = VisionTransformer({image_size}, {settings['patch_size']}, {settings['width']}, "
            f"{settings['layers']}, {settings['width'] // settings['head_width']}, 4.0, output_dim={embed_dim}, "
            "act_layer=QuickGELU)"
        )
    quick = ", force_quick_gelu=True" if known_config(name, settings.get("quick_gelu"))["quick_gelu"] else ""
    made = f'open_clip.create_model("{name}"{quick}, force_image_size={image_size}).visual'
    return f"import open_clip\nimage_encoder = {made}"


def _text_encoder_code(model: RetClip) -> str:
    kind = type(model.bert).__name__
    pooler = ", add_pooling_layer=False" if kind == "BertModel" and model.pooling != "pooler" else ""
    return (
        f'from transformers import AutoTokenizer, {kind}\ntext = {kind}.from_pretrained(folder / "text"{pooler}).eval()'
    )


def _demo_encoder_code() -> str:
    """The one network that timm does not know, as it stands in its module."""
    from retclip.demo import image_encoder

    _, _, code = inspect.getsource(image_encoder).split('"""', 2)
    return f"{code.strip()}\n\n\n"


def _crop_code() -> str:
    """What crops photographs before a model sees them, as it stands in its module."""
    names = ("DARK", "LIT_SHARE", "SMALLEST_CROP", "MAX_PIXELS")
    constants = "\n".join(f"{name} = {getattr(images, name)}" for name in names)
    return f"{constants}\n\n\n{inspect.getsource(images.crop_to_fundus).strip()}"


def _text_head_code(depth: int) -> str:
    """The layers of a text head: linear, with a ReLU between two of them."""
    layers = [f"text_projection.{2 * layer}" for layer in range(depth)]
    lines = [f'    feature = linear(feature, heads["{name}.weight"], heads["{name}.bias"])' for name in layers]
    return ".relu()\n".join(lines)


CARD = """# RET-CLIP with $name, seed $seed

For research; not a medical device.

Text encoder: $encoder, revision $revision, license $license. Initial weights of the image encoder: $weights; they
have a license of their own. Neither allows more than its own terms do.

## Scores on validation

The hyperparameters were chosen by validation scores, which are optimistically biased by this choice.

| score | value | standard error | chance | largest class |
|---|---|---|---|---|
$scores

$test_scores

## Data

$data

## Limitations

- Scored on patients of one data set. On other cameras, clinics, ages and stages of disease it may do worse; score it
  there first (`evaluation.external_tests`).
- It names one of the given classes, whatever the image shows, a photograph of no eye included.
- Its probabilities are shared among those classes and are not calibrated to how often a disease occurs.
- It sees $size px, so that signs of a few pixels in the original photograph are lost.

## Use

`scripts/predict.py --model-dir THIS_FOLDER --output found.csv IMAGES` of retclip-tune scores photographs in every form.
In plain open_clip or timm, and transformers (a large JPEG, which predict.py decodes at a smaller scale, may score
otherwise in the third decimal):

```python
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file
from torch.nn.functional import linear, normalize

$folder
$image_encoder
image_encoder.load_state_dict(load_file(folder / "vision.safetensors"))
image_encoder.eval()
$text
tokenizer = AutoTokenizer.from_pretrained(folder / "text", truncation_side="$truncation_side")
heads = load_file(folder / "heads.safetensors")
mean, std = torch.tensor($mean).view(3, 1, 1), torch.tensor($std).view(3, 1, 1)
class_prompts = json.loads((folder / "class_prompts.json").read_text(encoding="utf-8"))
classes = list(class_prompts)
$crop


def read(path):  # RGB in [0, 1], [1, 3, $size, $size]
    square = crop_to_fundus(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
    pixels = np.asarray(square.resize(($size, $size), Image.Resampling.$interpolation, reducing_gap=2.0))
    return torch.from_numpy(pixels / np.float32(255)).permute(2, 0, 1)[None]


@torch.inference_mode()
def encode_patient(left, right):  # RGB in [0, 1], [B, 3, $size, $size]; a single eye is given twice
    eyes = torch.cat([image_encoder((left - mean) / std), image_encoder((right - mean) / std)], dim=1)
    return normalize(linear(eyes, heads["global_feature_mapping.weight"]), dim=1)


@torch.inference_mode()
def encode_text(sentences):
    batch = tokenizer(sentences, padding=True, truncation=True, max_length=$context_length, return_tensors="pt")
    output = text(batch["input_ids"], attention_mask=batch["attention_mask"])
$pooling
$text_head
    return normalize(feature, dim=1)


def score(left, right):  # two files: similarity to each class, and probabilities among these classes alone
    ensembles = torch.stack([encode_text(class_prompts[name]).sum(0) for name in classes])
    scores = (encode_patient(read(left), read(right)) @ normalize(ensembles, dim=1).T)[0]
    return scores, (heads["logit_scale"].exp() * scores).softmax(0)
```

The left and right views use `left_feature_mapping` with `text_projection_left`, and their right twins.

| hyperparameter | value |
|---|---|
$rows
"""
