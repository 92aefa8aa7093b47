"""Images are read as the weights want them, from the photograph to the exported model."""

import json

import numpy as np
import open_clip
import pytest
import timm
import torch
from documents import trial_of
from exports import DATA, VAL
from PIL import Image
from safetensors.torch import save_file
from tokenizers import BertWordPieceTokenizer
from torch.nn import functional
from transformers import BertConfig, BertModel

from retclip.core.io import read_json
from retclip.core.preprocessing import with_weights_settings
from retclip.data.cases import cases_of_paths
from retclip.data.images import load_fundus
from retclip.evaluation.predict import Predictor
from retclip.loading.augmentation import to_model_input
from retclip.models.export import export_model, load_exported
from retclip.models.factory import build_model
from retclip.models.image_weights import fetch_image_weights
from retclip.models.pretrained import fetch_text_encoder

SIZE = 160
MEAN, STD = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]


def text_encoder(folder):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "disc"]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    BertWordPieceTokenizer(str(folder / "vocab.txt")).save(str(folder / "tokenizer.json"))
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(words), **sizes)).save_pretrained(folder)


def timm_repository(folder, interpolation):
    """The folder, its network, and timm's own transform of it (without the crop to the middle)."""
    folder.mkdir()
    network = timm.create_model("test_vit", num_classes=0).eval()
    timm.models.save_for_hf(network, folder, model_config={}, safe_serialization=True)
    config = read_json(folder / "config.json")
    config["pretrained_cfg"] |= {"mean": MEAN, "std": STD, "interpolation": interpolation, "crop_pct": 1.0}
    (folder / "config.json").write_text(json.dumps(config))
    data = timm.data.resolve_data_config(pretrained_cfg=config["pretrained_cfg"])
    return network, timm.data.create_transform(**data)


def open_clip_repository(folder, interpolation):
    from open_clip.transform import PreprocessCfg, image_transform_v2

    folder.mkdir()
    vision = {"layers": 2, "width": 64, "head_width": 32, "patch_size": 16, "image_size": SIZE}
    text = {"context_length": 8, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1}
    clip = open_clip.CLIP(24, vision, text)
    save_file({name: value.contiguous() for name, value in clip.state_dict().items()},
              folder / "open_clip_model.safetensors")  # fmt: skip
    preprocess = {"mean": MEAN, "std": STD, "interpolation": interpolation, "size": SIZE}
    config = {"model_cfg": {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return clip.visual.eval(), image_transform_v2(PreprocessCfg(**preprocess), is_train=False)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("kind", ["timm", "open_clip"])
def test_an_image_has_the_same_features_in_training_export_and_predict_as_in_its_own_library(
    tmp_path, kind, interpolation
):
    make = timm_repository if kind == "timm" else open_clip_repository
    network, transform = make(tmp_path / "repository", interpolation)
    settings = {"architecture": str(tmp_path / "repository"), "weights": str(tmp_path / "repository"), "embed_dim": 24}
    fetch_image_weights(settings, SIZE, tmp_path / "weights.safetensors")
    text_encoder(tmp_path / "text")
    fetch_text_encoder("tiny", str(tmp_path / "text"), "main", tmp_path / "fetched")
    complete = with_weights_settings(settings, tmp_path / "weights.safetensors")
    trial = trial_of(image_encoder=complete, image_size=SIZE)
    model = build_model(trial, tmp_path / "fetched", tmp_path / "weights.safetensors").eval()
    prompts = {"a": ["a"], "b": ["disc"]}
    export_model(model, tmp_path / "model", image_encoder=complete, tokenizer_folder=tmp_path / "fetched",
                 image_size=SIZE, class_prompts=prompts, trial=trial, data=DATA, val=VAL)  # fmt: skip
    (tmp_path / "photographs").mkdir()
    path = tmp_path / "photographs/1_left.png"
    noise = np.random.default_rng(1).integers(60, 256, (30, 30, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((231, 231), Image.Resampling.BICUBIC).save(path)

    with torch.inference_mode():
        wanted = network(transform(Image.open(path))[None])
        exported = load_exported(tmp_path / "model")
        stored = torch.from_numpy(load_fundus(path, SIZE, interpolation).copy())[None]
        for each in (model, exported):
            images = to_model_input(stored, False, each.preprocessing)
            found = (each.visual.trunk if kind == "timm" else each.visual)(images)
            assert torch.allclose(found, wanted, atol=1e-5), "not as its own library has it"
        projected = model.visual.head(wanted) if kind == "timm" else wanted
        feature = functional.normalize(model.left_feature_mapping(projected), dim=1)
    predictor = Predictor(tmp_path / "model", torch.device("cpu"), "fp32")
    row = predictor.predict(cases_of_paths([tmp_path / "photographs"]), 4, 1).iloc[0]
    assert row["head"] == "left"
    assert [row["score_a"], row["score_b"]] == pytest.approx(
        (feature @ predictor.texts["left"].T)[0].tolist(), abs=1e-5
    )
    written = read_json(tmp_path / "model/preprocessing.json")
    assert (written["mean"], written["std"], written["interpolation"], written["native_size"]) == (
        MEAN, STD, interpolation, SIZE)  # fmt: skip


def test_the_interpolation_of_the_weights_makes_the_stored_images(tmp_path):
    noise = np.random.default_rng(1).integers(60, 256, (90, 90, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    found = {name: load_fundus(tmp_path / "a.png", 32, name) for name in ("bicubic", "bilinear", "lanczos", "nearest")}
    for name, pixels in found.items():
        wanted = Image.fromarray(noise).resize((32, 32), Image.Resampling[name.upper()], reducing_gap=2.0)
        assert np.array_equal(pixels, np.asarray(wanted))
