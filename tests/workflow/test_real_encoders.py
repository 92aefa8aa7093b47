"""Real pretrained encoders, frozen, on a CPU: what is fetched is what was trained, and the plan of config/laptop.yaml
ends in a report. `make weights` brings the encoders; the real photographs are not ours to ship."""

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


def test_a_text_is_read_as_its_authors_read_it(tmp_path):
    """The same ids and the same class token as transformers' own tokenizer and model."""
    from transformers import AutoModel, AutoTokenizer

    from retclip.models.text_encoder import load_text_encoder, load_tokenizer

    entry("fetch_text_encoder", "--name", "minilm", "--source", TEXT_ENCODER, "--revision", "main",
          "--output", tmp_path / "minilm")  # fmt: skip
    texts = ["Enlarged optic cup in the left eye; the right retina is normal.", "Drusen at the macula."]
    ids, mask = load_tokenizer(tmp_path / "minilm")(texts, 77)
    theirs = AutoTokenizer.from_pretrained(TEXT_ENCODER)(texts, padding=True, return_tensors="pt")
    assert torch.equal(ids, theirs["input_ids"])
    assert torch.equal(mask, theirs["attention_mask"])
    with torch.no_grad():
        found = load_text_encoder(tmp_path / "minilm")(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0]
        wanted = AutoModel.from_pretrained(TEXT_ENCODER)(**theirs).last_hidden_state[:, 0]
    assert torch.allclose(found, wanted, atol=1e-5)


def laptop_run(folder: Path, image_weights: Path, data: dict) -> Path:
    """config/laptop.yaml with little of everything: two encoders of the same weights, one trial of each search. Returns
    the run's results."""
    none = dict.fromkeys(("pubmedbert", "bert_base", "biobert"))
    one = {"learning_rate": [1e-3], "batch_size": [32], "warmup_steps": [10]}
    overlay = {
        "data": data,
        "model": {
            "vision": {"architecture": f"timm/{IMAGE_ARCHITECTURE}", "weights": str(image_weights)},
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
