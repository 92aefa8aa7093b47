"""train_last_layers: only the last blocks of an encoder train, with what follows them and what is in no weights."""

import json

import pytest
import torch
from fine_tuned import (
    BLOCKS,
    NETWORKS,
    SIZE,
    TEXT_FAMILIES,
    batch_of,
    pretrained,
    text_model,
    write_bert,
    write_image_weights,
)
from running import merged

from retclip.core.config import check_config
from retclip.models.blocks import image_distances, text_distances
from retclip.models.encode import encode_batch
from retclip.models.image_encoder import build_image_encoder
from retclip.models.image_weights import fetch_image_weights
from retclip.models.loss import tripartite_loss
from retclip.models.pretrained import fetch_text_encoder

LAST_IMAGE = {
    "vit": ("visual.trunk.blocks.4.", "visual.trunk.blocks.5.", "visual.trunk.norm.", "visual.head."),
    "cnn": ("visual.trunk.layer3.", "visual.trunk.layer4.", "visual.head."),
    "clip": ("visual.transformer.resblocks.1.", "visual.transformer.resblocks.2.", "visual.ln_post.", "visual.proj"),
}
LAST_TEXT = ("bert.encoder.layer.2.",)
HEADS = ("global_feature", "left_feature", "right_feature", "text_projection", "logit_scale")


def changed_by_a_step(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD([each for each in model.parameters() if each.requires_grad], lr=1.0)
    tripartite_loss(encode_batch(model, batch_of(), augment=False))["total"].backward()
    optimizer.step()
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_only_the_last_blocks_change(tmp_path, network, checkpointing):
    model = pretrained(tmp_path, network, image_layers=2, text_layers=1)
    if checkpointing and network != "cnn":
        model.enable_gradient_checkpointing()
    changed = changed_by_a_step(model)
    trained = (*LAST_IMAGE[network], *LAST_TEXT, *HEADS)
    assert not {name for name in changed if not name.startswith(trained)}
    for prefix in trained:
        assert any(name.startswith(prefix) for name in changed), prefix
    state = model.trained_state()
    assert not {name for name in state if not name.startswith(trained) and name in dict(model.named_parameters())}


def test_frozen_blocks_are_in_evaluation_mode_and_the_others_are_not(tmp_path):
    """Statistics and dropout of what does not train stay fixed, epoch after epoch."""
    model = pretrained(tmp_path, "cnn", image_layers=1, text_layers=2, dropout=0.3)
    model.eval()
    model.train()
    trunk = model.visual.trunk
    assert [part.training for part in (trunk.bn1, trunk.layer1, trunk.layer3, trunk.layer4)] == [False] * 3 + [True]
    before = trunk.bn1.running_mean.clone(), trunk.layer4[0].bn1.running_mean.clone()
    encode_batch(model, batch_of(), augment=False)
    assert torch.equal(trunk.bn1.running_mean, before[0])
    assert not torch.equal(trunk.layer4[0].bn1.running_mean, before[1])
    layers = model.bert.encoder.layer
    dropouts = [model.bert.embeddings.dropout, *(layer.output.dropout for layer in layers)]
    assert [each.training for each in dropouts] == [False, False, True, True]


def test_all_blocks_leave_the_embeddings_frozen(tmp_path):
    changed = changed_by_a_step(pretrained(tmp_path, "vit", image_layers=6, text_layers=3))
    assert "visual.trunk.blocks.0.mlp.fc1.weight" in changed
    assert not {name for name in changed if name.startswith(("visual.trunk.patch_embed", "visual.trunk.pos_embed"))}
    assert not {name for name in changed if name.startswith("bert.embeddings")}


# as many blocks as the papers say, by timm's own grouping: stages where a network has them
TIMM = {"vit_small_patch14_reg4_dinov2": 12, "resnet10t": 4, "tf_efficientnet_lite0": 7, "convnext_atto": 4,
        "swin_tiny_patch4_window7_224": 4, "eva02_tiny_patch14_224": 12, "vit_base_patch16_siglip_224": 12,
        "beit_base_patch16_224": 12, "mobilenetv4_conv_small": 5, "regnety_002": 4, "densenet121": 4,
        "cait_xxs24_224": 24, "vit_small_patch16_dinov3": 12}  # fmt: skip


@pytest.mark.parametrize("name", TIMM)
def test_blocks_of_networks_of_timm(name):
    import timm

    from retclip.models.timm_encoder import TimmEncoder

    with torch.device("meta"):
        encoder = TimmEncoder(timm.create_model(name, num_classes=0), 16, "")
    found = image_distances(encoder)
    assert found.blocks == TIMM[name]
    assert found.of.keys() == dict(encoder.named_parameters()).keys()
    assert found.of["head.proj.weight"] == 0
    assert set(found.of.values()) == set(range(TIMM[name] + 2)), "each block has parameters, and so has the stem"
    for part in ("cls_token", "pos_embed", "reg_token", "patch_embed.proj.weight"):
        assert found.of.get(f"trunk.{part}", TIMM[name] + 1) == TIMM[name] + 1


@pytest.mark.parametrize(("name", "blocks"), [("RN50", 4), ("ViT-B-32", 12), ("convnext_base", 4),
                                              ("ViT-B-16-SigLIP", 12)])  # fmt: skip
def test_blocks_of_networks_of_open_clip(name, blocks):
    with torch.device("meta"):
        encoder, _ = build_image_encoder(
            {"architecture": name, "weights": "x"}, 256 if name.startswith("conv") else 224
        )
    found = image_distances(encoder)
    assert found.blocks == blocks
    assert found.of.keys() == dict(encoder.named_parameters()).keys()
    assert set(found.of.values()) == set(range(blocks + 2))


@pytest.mark.parametrize("kind", TEXT_FAMILIES)
def test_blocks_of_text_encoders(kind):
    bert = text_model(kind)
    found = text_distances(bert)
    assert found.blocks == 3
    assert found.of.keys() == dict(bert.named_parameters()).keys()
    assert {distance for name, distance in found.of.items() if "embed" in name} == {4}
    assert {1, 2, 3, 4} <= set(found.of.values())


def test_an_encoder_whose_blocks_share_weights_is_refused():
    with pytest.raises(ValueError, match=r"a text encoder of type albert has no blocks of their own") as told:
        text_distances(text_model("albert"))
    assert len(str(told.value)) <= 300


@pytest.mark.parametrize("encoder", ["image", "text"])
def test_more_layers_than_there_are_end_at_the_build(tmp_path, encoder):
    with pytest.raises(ValueError, match=r"train_last_layers is 7, but .* has [36] blocks"):
        pretrained(tmp_path, **{f"{encoder}_layers": 7})


@pytest.mark.parametrize("network", NETWORKS)
def test_more_layers_than_there_are_end_where_the_image_encoder_is_fetched(tmp_path, network):
    write_image_weights(NETWORKS[network], tmp_path / "w.pt")
    settings, more = {**NETWORKS[network], "weights": str(tmp_path / "w.pt")}, BLOCKS[network] + 1
    with pytest.raises(ValueError, match=rf"model.image_encoder.train_last_layers is {more}, but .* has "):
        fetch_image_weights({**settings, "train_last_layers": more}, SIZE, tmp_path / "o.safetensors")
    assert not (tmp_path / "o.safetensors").exists()
    fetch_image_weights({**settings, "train_last_layers": BLOCKS[network]}, SIZE, tmp_path / "o.safetensors")


def test_more_layers_than_there_are_end_where_the_text_encoder_is_fetched(tmp_path):
    write_bert(tmp_path / "bert")
    with pytest.raises(ValueError, match=r"model.text_encoders.mine.train_last_layers is 4, but .* has 3 blocks"):
        fetch_text_encoder("mine", str(tmp_path / "bert"), "main", tmp_path / "out", last_layers=4)
    assert not (tmp_path / "out").exists()
    fetch_text_encoder("mine", str(tmp_path / "bert"), "main", tmp_path / "out", last_layers=3)


def config(**model):
    made = merged("demo")
    for key, value in model.items():
        made["model"][key] = {**made["model"][key], **value} if isinstance(value, dict) else value
    return made


def refused(made):
    with pytest.raises(ValueError, match="train_last_layers") as told:
        check_config(made)
    sentence = str(told.value)
    assert len(sentence) <= 300
    return sentence


def test_the_plan_refuses_what_cannot_be(tmp_path):
    write_bert(tmp_path / "bert")
    mine = {"mine": {"source": str(tmp_path / "bert"), "train_last_layers": 4}}
    weights = {**NETWORKS["clip"], "architecture": None, "weights": "x.pt"}
    said = refused(config(text_encoders=mine))
    assert "model.text_encoders.mine.train_last_layers is 4, but" in said
    assert "has 3 blocks" in said
    said = refused(config(image_encoder={**weights, "train_last_layers": 4}))
    assert "model.image_encoder.train_last_layers is 4, but" in said
    assert "has 3 blocks" in said
    said = refused(config(image_encoder={**weights, "weights": None, "train_last_layers": 2}))
    assert "model.image_encoder.train_last_layers" in said
    assert "weights" in said
    two = {**weights, "train_last_layers": 2}
    for freeze in ("image", "both"):
        assert "a frozen image encoder trains no layer" in refused(config(image_encoder=two, freeze=freeze))
    mine["mine"]["train_last_layers"] = 2
    assert "a frozen text encoder trains no layer" in refused(config(text_encoders=mine, freeze="text"))
    searched = config(image_encoder=two)
    searched["phase2"]["space"]["freeze"] = ["none", "image"]
    assert "phase2.space.freeze" in refused(searched)
    for wrong in (0, -1, 1.5, "2", True):
        assert "train_last_layers" in refused(config(image_encoder={**weights, "train_last_layers": wrong}))
    check_config(config(image_encoder=two, text_encoders=mine, freeze="none"))


def test_it_is_recorded_and_changes_the_states_key(tmp_path):
    from fine_tuned import trial

    from retclip.core.trial import Trial
    from retclip.training.checkpoint import state_key

    settings, keys = {**NETWORKS["clip"], "weights": "x"}, set()
    for image, text in ((None, None), (2, None), (None, 2), (1, None)):
        made = trial(tmp_path, settings, image, text)
        keys.add(state_key(made, {}, {}, "code"))
        document = made.to_dict()
        assert document["image_encoder"].get("train_last_layers") == image
        assert document["text_encoder_settings"].get("train_last_layers") == text
        assert Trial.from_dict(json.loads(json.dumps(document)), "trial.json") == made
    assert len(keys) == 4


def test_features_and_fetched_files_know_nothing_of_it(tmp_path):
    """They are of whole encoders: other runs share them."""
    from retclip.search.jobs import features_specification

    text = {name: {**entry, "train_last_layers": 1} for name, entry in merged("demo")["model"]["text_encoders"].items()}
    image = {**NETWORKS["clip"], "architecture": None, "weights": "x.pt"}
    plain = check_config(config(image_encoder=image))
    given = check_config(config(image_encoder={**image, "train_last_layers": 1}, text_encoders=text))
    encoder = plain["model"]["search_encoder"]
    assert features_specification(given, encoder) == features_specification(plain, encoder)


def test_the_model_card_and_the_methods_name_it(tmp_path):
    from exports import DATA, VAL
    from fine_tuned import trial

    from retclip.models.model_card import model_card
    from retclip.report.methods import trained_parts

    model = pretrained(tmp_path, "clip", image_layers=2, text_layers=1)
    settings = {**NETWORKS["clip"], "weights": "x.pt"}
    made = trial(tmp_path, settings, 2, 1)
    card = model_card(model, made, made.image_encoder, SIZE, {}, DATA, VAL)
    assert "| train_last_layers of the image encoder | 2 |" in card
    assert "| train_last_layers of the text encoder | 1 |" in card
    plain = trial(tmp_path, settings)
    assert "train_last_layers" not in model_card(model, plain, plain.image_encoder, SIZE, {}, DATA, VAL)
    assert trained_parts(made) == (
        "Of the pretrained weights, only the last 2 blocks of the image encoder and the last block of the text encoder "
        "were trained, with what follows them."
    )
    assert trained_parts(plain) == ""
