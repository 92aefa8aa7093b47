"""Freezing an encoder freezes what was pretrained, never a projection that no file holds; cached features or not."""

import pytest
import timm
import torch
from documents import ENCODER, VALUES, trial_of
from fine_tuned import SIZE, batch_of

from retclip.core.preprocessing import with_weights_settings
from retclip.loading.augmentation import to_model_input
from retclip.models.encode import encode_batch
from retclip.models.factory import build_model
from retclip.models.image_weights import fetch_image_weights
from retclip.models.loss import tripartite_loss
from retclip.models.pretrained import fetch_text_encoder


def make_bert(folder):
    from transformers import BertConfig, BertModel

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "d", "e", "f", "g"]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 32}
    config = BertConfig(vocab_size=len(words), hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **sizes)
    BertModel(config).save_pretrained(folder)


def frozen_model(folder, freeze, with_projection):
    """On weights of a timm network, alone or with the projection behind it as in a CLIP of open_clip."""
    from open_clip.timm_model import TimmModel

    torch.manual_seed(0)
    clip = TimmModel("test_vit", 24, SIZE, pool="", proj="linear")
    state = {f"visual.{name}": value for name, value in clip.state_dict().items()}
    torch.save(state if with_projection else clip.trunk.state_dict(), folder / "weights.pt")
    settings = {"architecture": "timm/test_vit", "weights": str(folder / "weights.pt"), "embed_dim": 24}
    fetch_image_weights(settings, SIZE, folder / "weights.safetensors")
    make_bert(folder / "bert")
    fetch_text_encoder("tiny", str(folder / "bert"), "main", folder / "fetched")
    trial = trial_of(image_encoder=with_weights_settings(settings, folder / "weights.safetensors"), image_size=SIZE,
                     text_encoder_settings=ENCODER, hyperparameters={**VALUES, "freeze": freeze})  # fmt: skip
    return build_model(trial, folder / "fetched", folder / "weights.safetensors").train()


@pytest.mark.parametrize("freeze", ["image", "both"])
@pytest.mark.parametrize("with_projection", [False, True])
def test_what_was_pretrained_is_frozen_and_a_new_projection_is_not(tmp_path, freeze, with_projection):
    model = frozen_model(tmp_path, freeze, with_projection)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD([each for each in model.parameters() if each.requires_grad], lr=1.0)
    tripartite_loss(encode_batch(model, batch_of(), augment=False))["total"].backward()
    optimizer.step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert not any(name.startswith("visual.trunk.") for name in changed)
    assert ("visual.head.proj.weight" in changed) == (not with_projection)
    assert ("visual.head.proj.weight" in model.trained_state()) == (not with_projection)
    assert not model.visual.trunk.training
    assert "left_feature_mapping.weight" in changed


@pytest.mark.parametrize("with_projection", [False, True])
def test_cached_features_train_the_same_numbers(tmp_path, with_projection):
    model = frozen_model(tmp_path, "both", with_projection)
    batch = batch_of()
    with torch.no_grad():
        features = model.image_features(to_model_input(batch["images"], False, model.preprocessing))
    cached = {
        **{key: value for key, value in batch.items() if key != "images"},
        "eye_features": features[batch["eyes"]],
    }
    gradients = []
    for each in (batch, cached):
        model.zero_grad()
        tripartite_loss(encode_batch(model, each, augment=False))["total"].backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    live, read = gradients
    assert live.keys() == read.keys()
    assert ("visual.head.proj.weight" in live) == (not with_projection)
    for name, gradient in live.items():
        assert torch.equal(gradient, read[name]), name


def test_the_trunk_gives_timms_own_features(tmp_path):
    """What a linear probe reads of initial weights: no random projection."""
    model = frozen_model(tmp_path, "both", False).eval()
    network = timm.create_model("test_vit", num_classes=0)
    network.load_state_dict(torch.load(tmp_path / "weights.pt"))
    images = torch.rand(2, 3, SIZE, SIZE)
    with torch.inference_mode():
        assert torch.allclose(model.image_features(images), network.eval()(images), atol=1e-5)
