"""The trained model as files that plain open_clip and transformers can read, with a card that shows how."""

import shutil
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from retclip.core.io import read_json, write_json
from retclip.core.renamed import model_folder_in_new_words
from retclip.core.trial import Trial
from retclip.loading.augmentation import MEAN, STD
from retclip.metrics.metrics_document import Validation
from retclip.metrics.registry import METRICS
from retclip.models.convert import to_retclip
from retclip.models.image_encoder import build_image_encoder
from retclip.models.retclip import RetClip
from retclip.models.text_encoder import TOKENIZER_FILES, load_text_encoder

ENCODERS = ("visual.", "bert.")
DEMO_ENCODER = "timm/demo_conv"


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

    data: fingerprint.json. val: the validation scores of metrics.json, for the card.
    """
    (folder / "text").mkdir(parents=True)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    save_file(_part(state, "visual."), folder / "vision.safetensors")
    save_file(
        {name: tensor for name, tensor in state.items() if not name.startswith(ENCODERS)},
        folder / "heads.safetensors",
    )
    model.bert.save_pretrained(folder / "text", state_dict=_part(state, "bert."))
    for name in TOKENIZER_FILES:
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
            "mean": MEAN,
            "std": STD,
            "single_eye": "the patient's feature takes the one eye twice",
            # two eyes at least: one alone has no negatives, and its head stays random
            "heads": [*(eye for eye, count in data["splits"]["train"]["eyes"].items() if count > 1), "patient"],
            "image_encoding": data["image_encoding"],
            "context_length": trial.hyperparameters["context_length"],
            "truncation_side": trial.text_encoder_settings.truncation_side,
            "precision": trial.hyperparameters["precision"],
        },
    )
    write_json(folder / "class_prompts.json", class_prompts)
    if hasattr(model.visual, "class_embedding"):
        torch.save({name: tensor.cpu() for name, tensor in to_retclip(model).items()}, folder / "retclip.pt")
    source = read_json(tokenizer_folder / "source.json")
    card = model_card(trial, image_encoder, image_size, embed_dim, head_depth, source, data, val)
    (folder / "README.md").write_text(card, encoding="utf-8")


def load_exported(folder: Path) -> RetClip:
    """The model in `folder`, in evaluation mode."""
    sizes = model_folder_in_new_words(read_json(folder / "model.json"))
    visual, embed_dim = build_image_encoder(sizes["image_encoder"], sizes["image_size"])
    model = RetClip(visual, load_text_encoder(folder / "text"), embed_dim, sizes["head_depth"])
    visual.load_state_dict(load_file(folder / "vision.safetensors"))
    model.load_state_dict(load_file(folder / "heads.safetensors"), strict=False)
    return model.eval()


def model_card(
    trial: Trial,
    image_encoder: dict[str, Any],
    image_size: int,
    embed_dim: int,
    head_depth: int,
    source: dict[str, Any],
    data: dict[str, Any],
    val: Validation,
) -> str:
    """README.md of an exported model; its code block runs as it stands, in the model's folder.

    source: source.json of the text encoder's folder. data, val: see export_model. Names are the user's and the hub's,
    and Markdown lets HTML through.
    """
    hyperparameters = trial.hyperparameters
    rows = "\n".join(f"| {name} | {value} |" for name, value in hyperparameters.items())
    return Template(CARD).substitute(
        name=trial.text_encoder,
        seed=trial.seed,
        encoder=escape(f"{trial.text_encoder} ({trial.text_encoder_settings.source})", quote=False),
        revision=escape(str(source.get("revision")), quote=False),
        license=escape(str(source.get("license") or "not stated"), quote=False),
        weights=escape(
            Path(image_encoder["weights"]).name if image_encoder.get("weights") else "none (random)", quote=False
        ),
        rows=rows,
        scores=_score_rows(val),
        data=escape(_data_sentence(data), quote=False),
        image_encoder=_image_encoder_code(image_encoder, image_size, embed_dim),
        text_head=_text_head_code(head_depth),
        truncation_side=trial.text_encoder_settings.truncation_side,
        size=image_size,
        mean=MEAN,
        std=STD,
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


def _image_encoder_code(image_encoder: dict[str, Any], image_size: int, embed_dim: int) -> str:
    name = image_encoder.get("architecture")
    if name is None:
        return (
            "from open_clip.transformer import QuickGELU, VisionTransformer\n"
            f"image_encoder = VisionTransformer({image_size}, {image_encoder['patch_size']}, {image_encoder['width']}, "
            f"{image_encoder['layers']}, {image_encoder['width'] // image_encoder['head_width']}, 4.0, "
            f"output_dim={embed_dim}, "
            "act_layer=QuickGELU)"
        )
    if name.startswith("timm/"):
        # the demo's own encoder is the one that timm does not know
        known = "import retclip.demo.image_encoder  # scripts/ of retclip-tune\n" if name == DEMO_ENCODER else ""
        return known + (
            "from open_clip.timm_model import TimmModel\n"
            f'image_encoder = TimmModel("{name.removeprefix("timm/")}", {embed_dim}, {image_size}, '
            'pool="avg", proj="linear")'
        )
    import open_clip

    quick = f"{name}-quickgelu"
    known = quick if open_clip.get_model_config(quick) else name
    made = f'open_clip.create_model("{known}", force_image_size={image_size}).visual'
    return f"import open_clip\nimage_encoder = {made}"


def _text_head_code(depth: int) -> str:
    """The layers of a text head: linear, with a ReLU between two of them."""
    layers = [f"text_projection.{2 * layer}" for layer in range(depth)]
    lines = [f'    token = linear(token, heads["{name}.weight"], heads["{name}.bias"])' for name in layers]
    return ".relu()\n".join(lines)


def _part(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


CARD = """# RET-CLIP with $name, seed $seed

For research; not a medical device.

Text encoder: $encoder, revision $revision, license $license. Initial weights of the image encoder: $weights; they
have a license of their own. Neither allows more than its own terms do.

## Scores on validation

The hyperparameters were chosen by validation scores, which are optimistically biased by this choice. Test scores with
95 % CI are in evaluation.json beside this folder.

| score | value | standard error | chance | largest class |
|---|---|---|---|---|
$scores

## Data

$data

## Limitations

- Scored on patients of one data set. On other cameras, clinics, ages and stages of disease it may do worse; score it
  there first (`evaluation.external_tests`).
- It names one of the given classes, whatever the image shows, a photograph of no eye included.
- Its probabilities are shared among those classes and are not calibrated to how often a disease occurs.
- It sees $size px, so that signs of a few pixels in the original photograph are lost.

## Use

`scripts/predict.py --model-dir THIS_FOLDER --output found.csv IMAGES` crops, resizes and scores photographs. In plain
open_clip and transformers, crop images to the fundus, pad them to a square and resize them to $size px first:

```python
import torch
from safetensors.torch import load_file
from torch.nn.functional import linear, normalize
from transformers import AutoTokenizer, BertModel
$image_encoder
image_encoder.load_state_dict(load_file("vision.safetensors"))
image_encoder.eval()
text = BertModel.from_pretrained("text", add_pooling_layer=False).eval()
tokenizer = AutoTokenizer.from_pretrained("text", truncation_side="$truncation_side")
heads = load_file("heads.safetensors")
mean, std = torch.tensor($mean).view(3, 1, 1), torch.tensor($std).view(3, 1, 1)


@torch.inference_mode()
def encode_patient(left, right):  # RGB in [0, 1], [B, 3, $size, $size]; a single eye is given twice
    eyes = torch.cat([image_encoder((left - mean) / std), image_encoder((right - mean) / std)], dim=1)
    return normalize(linear(eyes, heads["global_feature_mapping.weight"]), dim=1)


@torch.inference_mode()
def encode_text(sentences):
    batch = tokenizer(sentences, padding=True, truncation=True, max_length=$context_length, return_tensors="pt")
    token = text(batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state[:, 0]
$text_head
    return normalize(token, dim=1)
```

The left and right views use `left_feature_mapping` with `text_projection_left`, and their right twins.

| hyperparameter | value |
|---|---|
$rows
"""
