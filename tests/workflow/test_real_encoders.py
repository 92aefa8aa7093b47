"""Real pretrained encoders, frozen, on a CPU: what is fetched is what was trained, and the plan of config/laptop.yaml
ends in a report. `make weights` brings the encoders; the real photographs are not ours to ship."""

import json
import os
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from real_encoders import (
    IMAGE_ARCHITECTURE,
    TEXT_ENCODER,
    imagenet_classifier,
    skip_without_packages,
    write_image_weights,
)
from running import REPOSITORY, entry, snakemake

pytestmark = [pytest.mark.slow, pytest.mark.weights]
METRIC = "zero_shot_balanced_accuracy"
PLACES = (os.environ.get("RETCLIP_REAL_DATA"), REPOSITORY.parent / "shared/data/srahim_dr")


@pytest.fixture(scope="module", autouse=True)
def _packages():
    skip_without_packages()


@pytest.fixture(scope="module")
def image_weights(tmp_path_factory) -> Path:
    """timm's state dict with ImageNet's weights, in a file."""
    return write_image_weights(tmp_path_factory.mktemp("weights") / "lite0.pth")


def photographs() -> torch.Tensor:
    """A Chinese palace and a dahlia, [2, 3, 224, 224], pixels in [0, 1]: of scikit-learn's."""
    from sklearn.datasets import load_sample_images

    squares = [Image.fromarray(image[:, 106:533]).resize((224, 224), 3) for image in load_sample_images().images]
    return torch.from_numpy(np.stack([np.asarray(square) for square in squares])).permute(0, 3, 1, 2) / 255


def test_the_converted_network_names_a_palace():
    """In efficientnet_pytorch's order under timm's names: any other order would name nothing."""
    from torchvision.models import EfficientNet_B0_Weights

    with torch.no_grad():
        scores = imagenet_classifier()((photographs() - 0.5) / 0.5)
    names = [[EfficientNet_B0_Weights.DEFAULT.meta["categories"][k] for k in row] for row in scores.topk(3).indices]
    assert "palace" in names[0]
    assert "daisy" in names[1]


def test_image_features_are_those_of_timm_itself(image_weights, tmp_path):
    """From the classifier's file to the features of uint8 images, by timm's own preprocessing. What is new is named."""
    from retclip.core.preprocessing import preprocessing_of, with_weights_settings
    from retclip.loading.augmentation import to_model_input
    from retclip.models.image_encoder import build_image_encoder

    settings = {"architecture": f"timm/{IMAGE_ARCHITECTURE}", "weights": str(image_weights)}
    fetched = tmp_path / "lite0.safetensors"
    printed = entry("fetch_vision_weights", "--settings", json.dumps(settings), "--image-size", 224,
                    "--output", fetched).stderr  # fmt: skip
    assert "dropped 2 (classifier.weight, classifier.bias); new head.proj.weight;" in printed
    settings = with_weights_settings(settings, fetched)
    encoder, embed_dim = build_image_encoder(settings, 224, fetched)
    pixels = photographs()
    images = (pixels * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    ready = to_model_input(images, augment=False, preprocessing=preprocessing_of(settings))
    classifier = imagenet_classifier()
    with torch.no_grad():
        trunk = encoder.eval().trunk(ready)
        wanted = classifier.forward_head(classifier.forward_features((pixels - 0.5) / 0.5), pre_logits=True)
        assert torch.allclose(trunk, wanted, atol=1e-5)
        assert encoder(ready).shape == (2, embed_dim)


def test_texts_are_read_as_their_authors_read_them(tmp_path):
    """The same ids as transformers' own tokenizer, the same features as its model's, pooled as the folder says: by the
    mean of the tokens. Sentences of one meaning are near each other."""
    from transformers import AutoModel, AutoTokenizer

    from retclip.models.text_encoder import load_text_encoder, load_tokenizer, pool, pooling_of

    folder = tmp_path / "minilm"
    entry("fetch_text_encoder", "--name", "minilm", "--source", TEXT_ENCODER, "--revision", "main", "--output", folder)
    texts = ["Blood leaks from damaged vessels of the retina.", "Retinal hemorrhages.", "A train leaves the station."]
    ids, mask = load_tokenizer(folder)(texts, 77)
    theirs = AutoTokenizer.from_pretrained(TEXT_ENCODER)(texts, padding=True, return_tensors="pt")
    assert torch.equal(ids, theirs["input_ids"])
    assert torch.equal(mask, theirs["attention_mask"])
    pooling = pooling_of(folder)
    assert pooling == "mean"
    with torch.no_grad():
        found = pool(load_text_encoder(folder, pooling)(input_ids=ids, attention_mask=mask), mask.bool(), pooling)
        tokens = AutoModel.from_pretrained(TEXT_ENCODER)(**theirs).last_hidden_state
    wanted = torch.stack([row[kept.bool()].mean(0) for row, kept in zip(tokens, mask, strict=True)])
    assert torch.allclose(found, wanted, atol=1e-5)
    near, far = (torch.cosine_similarity(found[0], found[k], dim=0) for k in (1, 2))
    assert near > far + 0.3


def laptop_run(folder: Path, image_weights: Path, data: dict) -> Path:
    """config/laptop.yaml with little of everything: two encoders of the same weights, one trial of each search. Returns
    the run's results."""
    none = dict.fromkeys(("pubmedbert", "bert_base", "biobert"))
    one = {"learning_rate": [1e-3], "batch_size": [32], "warmup_steps": [10]}
    overlay = {
        "data": data,
        "model": {
            "image_encoder": {"weights": str(image_weights)},
            "text_encoders": {**none, "minilm": {"source": str(TEXT_ENCODER)}, "other": {"source": str(TEXT_ENCODER)}},
            "search_encoder": "minilm",
        },
        "phase1": {"space": one},
        "phase2": {"trials": 1, "space": {"weight_decay": [0.1], "temperature": [0.07], "warmup_steps": [10]}},
        "confirm": {"top_k": 1, "seeds": 1},
        "final": {"seeds": 1},
        "lr_finder": {"num_iter": 20},
    }
    folder.mkdir(exist_ok=True)
    (folder / "mine.yaml").write_text(yaml.safe_dump(overlay))
    snakemake(folder, "--configfile", REPOSITORY / "config/laptop.yaml", folder / "mine.yaml")
    return folder / "results/laptop"


def assert_is_a_whole_run(results: Path) -> dict:
    """Both encoders ran once, every training run read their features, and there is a report. Returns the evaluation of
    the search's text encoder on test."""
    assert {path.stem for path in (results / "features").glob("*.safetensors")} >= {
        "image",
        "text-minilm",
        "text-other",
    }
    runs = [json.loads(path.read_text()) for path in results.glob("*/*/metrics.json")]
    assert {run["trial"]["hyperparameters"]["freeze"] for run in runs} == {"both"}
    assert {run["status"] for run in runs} <= {"completed", "early_stopped"}
    assert "tf_efficientnet_lite0" in (results / "report/index.html").read_text()
    return json.loads((results / "final/minilm-s2001/evaluation.json").read_text())


def test_the_laptop_plan_on_drawn_photographs(image_weights, tmp_path):
    """Ten drawn diseases, which networks that have seen the world tell apart: no interval of theirs holds chance."""
    data = {"source": "demo", "demo_patients": 200, "manifest": None, "image_root": None, "val_fraction": 0.2}
    evaluation = assert_is_a_whole_run(laptop_run(tmp_path, image_weights, data))
    assert evaluation["zero_shot"][METRIC]["low"] > evaluation["levels"]["chance"][METRIC]


def test_the_laptop_plan_on_real_photographs(image_weights, tmp_path):
    """298 patients with diabetes: set RETCLIP_REAL_DATA to the folder of the public set."""
    folder = next((Path(place) for place in PLACES if place and Path(place, "labels.csv").is_file()), None)
    if folder is None:
        pytest.skip("no real photographs: set RETCLIP_REAL_DATA to a folder with labels.csv and images/")
    script = Path(__file__).with_name("make_srahim_manifest.py")
    runpy.run_path(str(script))["make_manifest"](folder, tmp_path / "manifest.csv")
    data = {"manifest": str(tmp_path / "manifest.csv"), "image_root": str(folder), "val_fraction": 0.25}
    evaluation = assert_is_a_whole_run(laptop_run(tmp_path, image_weights, data))
    assert evaluation["counts"]["patients"] > 50
