"""Image encoders' weights in the layouts that people bring: loaded from two lines of config, or refused in a sentence.

Each file is made in its layout, with random weights of the true architecture where that is small enough.
"""

import argparse
import json
import subprocess
import sys

import numpy as np
import open_clip
import pytest
import timm
import torch
from running import ENVIRONMENT, REPOSITORY
from safetensors.torch import save_file

from retclip.core.io import read_json
from retclip.core.preprocessing import settings_path, with_weights_settings
from retclip.models.image_encoder import build_image_encoder
from retclip.models.image_weights import fetch_image_weights

IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
HALF = ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5])


def fetch(folder, settings, image_size):
    """The encoder as a training builds it, the sentence, and the JSON beside its weights."""
    output = folder / "fetched.safetensors"
    sentence = fetch_image_weights(settings, image_size, output)
    assert len(sentence) <= 300
    complete = with_weights_settings(settings, output)
    torch.manual_seed(1)  # another one than what the file was drawn with
    encoder, _ = build_image_encoder(complete, image_size, output)
    return encoder.eval(), sentence, {**read_json(settings_path(output)), "complete": complete}


def images(size, count=2):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(3))


def randomized(network):
    """Every weight and statistic its own, so that one that was not loaded shows."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.1 + 0.01)
    return network.eval()


@torch.inference_mode()
def same(found, wanted, size):
    return torch.allclose(found(images(size)), wanted(images(size)), atol=1e-5, rtol=1e-4)


def retfound(network):
    """As the public file: a masked autoencoder's encoder under `model`, its decoder, and what its training saved."""
    state = {name: value for name, value in network.state_dict().items() if not name.startswith("fc_norm")}
    width = state["cls_token"].shape[2]
    decoder = {"mask_token": torch.zeros(1, 1, 8), "decoder_pos_embed": torch.zeros(1, 197, 8),
               "decoder_embed.weight": torch.zeros(8, width), "decoder_blocks.0.norm1.weight": torch.zeros(8),
               "decoder_norm.weight": torch.zeros(8), "decoder_pred.weight": torch.zeros(768, 8)}  # fmt: skip
    norm = {"norm.weight": torch.full((width,), 3.0), "norm.bias": torch.zeros(width)}
    return {"model": {**state, **norm, **decoder}, "optimizer": {"state": {}, "param_groups": [{"lr": 1e-3}]},
            "epoch": 799, "scaler": {"scale": 1.0}, "args": argparse.Namespace(lr=1e-3, output_dir="x"),
            "loss": np.float64(0.3)}  # fmt: skip


@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", pytest.param("vit_large_patch16_224", marks=pytest.mark.slow)]
)
def test_retfound(tmp_path, name):
    network = timm.create_model(name, num_classes=0, global_pool="avg")  # with fc_norm, as RETFound's own code has it
    if name != "vit_large_patch16_224":
        randomized(network)
    torch.nn.init.ones_(network.fc_norm.weight), torch.nn.init.zeros_(network.fc_norm.bias)
    torch.save(retfound(network), tmp_path / "RETFound_cfp_weights.pth")
    settings = {"architecture": f"timm/{name}", "weights": str(tmp_path / "RETFound_cfp_weights.pth")}
    encoder, sentence, facts = fetch(tmp_path, settings, 224)
    assert same(encoder.trunk, network.eval(), 224)
    assert (facts["complete"]["mean"], facts["complete"]["std"]) == IMAGENET
    assert "decoder_embed.weight" in facts["dropped"]
    assert "dropped 8 (" in sentence
    assert "RETFound" in sentence
    assert set(facts["new"]) == {"trunk.fc_norm.weight", "trunk.fc_norm.bias", "head.proj.weight"}


@pytest.mark.slow
@pytest.mark.parametrize("pooled_before_norm", [False, True])
def test_retfound_green(tmp_path, pooled_before_norm):
    name = "vit_small_patch14_reg4_dinov2"
    choice = {"global_pool": "avg"} if pooled_before_norm else {}
    network = randomized(timm.create_model(name, num_classes=0, img_size=392, **choice))
    torch.save(network.state_dict(), tmp_path / "retfoundgreen_statedict.pth")
    settings = {"architecture": f"timm/{name}", "weights": str(tmp_path / "retfoundgreen_statedict.pth")}
    encoder, sentence, facts = fetch(tmp_path, settings, 392)
    network.reset_classifier(0, global_pool="avg")
    assert same(encoder.trunk, network, 392)
    assert (facts["complete"]["mean"], facts["complete"]["std"]) == HALF
    assert facts["complete"]["native_size"] == 392
    assert "RETFound-Green" in sentence
    assert facts["dropped"] == []


@pytest.mark.slow
@pytest.mark.parametrize("chunked", [False, True])
def test_dinov2(tmp_path, chunked, capsys):
    """A training's checkpoint: teacher and student, blocks in chunks, heads beside the backbone; at another size."""
    name = "vit_small_patch14_dinov2"
    network = randomized(timm.create_model(name, num_classes=0))
    backbone = {f"backbone.{key}": value for key, value in network.state_dict().items()}
    backbone["backbone.mask_token"] = torch.zeros(1, network.embed_dim)
    if chunked:
        backbone = {key.replace("blocks.", "blocks.0."): value for key, value in backbone.items()}
    student = {key: value + 1 for key, value in backbone.items()}
    heads = {"dino_head.mlp.0.weight": torch.zeros(3, 3), "ibot_head.last_layer.weight": torch.zeros(3)}
    torch.save({"student": student, "teacher": {**backbone, **heads}, "iteration": 5}, tmp_path / "checkpoint.pth")
    settings = {"architecture": f"timm/{name}", "weights": str(tmp_path / "checkpoint.pth")}
    encoder, sentence, facts = fetch(tmp_path, settings, 224)
    network.set_input_size(224)
    assert same(encoder.trunk, network, 224)
    assert (facts["complete"]["mean"], facts["complete"]["std"]) == IMAGENET
    assert "dino_head.mlp.0.weight" in facts["dropped"]
    assert "resized pos_embed 1370 -> 257" in sentence
    assert "data.image_size is 224" in capsys.readouterr().err


@pytest.mark.slow
def test_flair(tmp_path):
    network = randomized(timm.create_model("resnet50", num_classes=0))
    state = {f"vision_model.model.{key}": value for key, value in network.state_dict().items() if "tracked" not in key}
    state |= {
        "vision_model.projection_head_vision.projection.weight": torch.zeros(512, 2048),
        "text_model.model.embeddings.word_embeddings.weight": torch.zeros(9, 4),
        "logit_scale": torch.ones(1),
    }
    torch.save(state, tmp_path / "flair_resnet.pth")
    settings = {"architecture": "timm/resnet50", "weights": str(tmp_path / "flair_resnet.pth")}
    encoder, _, facts = fetch(tmp_path, settings, 64)
    assert same(encoder.trunk, network, 64)
    assert (facts["complete"]["mean"], facts["complete"]["std"]) == ([0.0, 0.0, 0.0], [1.0, 1.0, 1.0])
    assert "text_model.model.embeddings.word_embeddings.weight" in facts["dropped"]


@pytest.fixture(scope="module")
def clip():
    return open_clip.create_model("ViT-S-32-alt")


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("image_size", [224, 256])
def test_a_clip_of_open_clip(tmp_path, clip, prefix, image_size):
    """Its text half is dropped; its activation is what the name says, as in open_clip: no QuickGELU."""
    torch.save({"state_dict": {f"{prefix}{key}": value for key, value in clip.state_dict().items()}, "epoch": 3},
               tmp_path / "clip.pt")  # fmt: skip
    settings = {"architecture": "ViT-S-32-alt", "weights": str(tmp_path / "clip.pt")}
    encoder, sentence, facts = fetch(tmp_path, settings, image_size)
    if image_size == 224:
        assert same(encoder, clip.visual.eval(), 224)
    assert f"{prefix}text_projection" in facts["dropped"]
    assert ("resized positional_embedding" in sentence) == (image_size != 224)


PREFIXES = ("", "module.", "backbone.", "visual.trunk.", "model.visual.trunk.", "trunk.", "vision_model.", "_orig_mod.",
            "encoder.backbone.")  # fmt: skip


@pytest.mark.parametrize(
    ("prefix", "wrapper", "kind"),
    [(prefix, None, "safetensors") for prefix in PREFIXES]
    + [(prefix, wrapper, "pt") for prefix in PREFIXES[:3] for wrapper in (None, "model", "state_dict", "teacher")],
)
def test_every_wrapping(tmp_path, prefix, wrapper, kind):
    network = randomized(timm.create_model("test_vit", num_classes=10))
    state = {f"{prefix}{key}": value for key, value in network.state_dict().items()}
    path = tmp_path / f"weights.{kind}"
    if kind == "safetensors":
        save_file({key: value.contiguous() for key, value in state.items()}, path)
    else:
        torch.save({wrapper: state, "epoch": 3} if wrapper else state, path)
    encoder, _, facts = fetch(tmp_path, {"architecture": "timm/test_vit", "weights": str(path), "embed_dim": 16}, 160)
    network.reset_classifier(0)
    assert same(encoder.trunk, network, 160)
    assert set(facts["dropped"]) == {"head.weight", "head.bias"}


def test_a_projection_of_open_clip_is_used(tmp_path):
    """Of a CLIP whose image half is timm's, with the projection to the joint space behind it."""
    torch.manual_seed(0)
    from open_clip.timm_model import TimmModel

    visual = randomized(TimmModel("test_vit", 24, 160, pool="", proj="linear"))
    torch.save({f"visual.{key}": value for key, value in visual.state_dict().items()}, tmp_path / "clip.pt")
    settings = {"architecture": "timm/test_vit", "weights": str(tmp_path / "clip.pt"), "embed_dim": 24}
    encoder, _, facts = fetch(tmp_path, settings, 160)
    assert same(encoder, visual, 160)
    assert facts["new"] == []
    assert not encoder.has_new_head


@pytest.mark.parametrize("settings", [{"architecture": "timm/vit_small_patch16_224"}, {"architecture": "timm/resnet18"},
                                      {"architecture": "ViT-B-16"}, {"architecture": "timm/vit_tiny_patch16_224",
                                                                     "timm_arguments": {"depth": 10}}])  # fmt: skip
def test_weights_of_another_architecture_are_refused_in_a_sentence(tmp_path, settings):
    network = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    torch.save(retfound(network), tmp_path / "RETFound_cfp_weights.pth")
    weights = str(tmp_path / "RETFound_cfp_weights.pth")
    with pytest.raises(ValueError, match=r"^model\.image_encoder\.weights: RETFound_cfp_weights") as refused:
        fetch_image_weights({**settings, "weights": weights}, 224, tmp_path / "x.safetensors")
    assert len(str(refused.value)) <= 300
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "x.safetensors").exists()


def test_nothing_is_left_random(tmp_path):
    """A file that lacks one tensor of the architecture."""
    state = timm.create_model("test_vit", num_classes=0).state_dict()
    del state["blocks.1.mlp.fc1.weight"]
    torch.save(state, tmp_path / "partial.pt")
    with pytest.raises(ValueError, match=r"missing blocks\.1\.mlp\.fc1\.weight"):
        fetch_image_weights({"architecture": "timm/test_vit", "weights": str(tmp_path / "partial.pt")}, 160,
                            tmp_path / "x.safetensors")  # fmt: skip


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"", "cannot be read as weights"), (b"not weights", "cannot be read as weights"), ([1, 2], "holds a list"),
     ({"epoch": 3}, "holds no state dict"), ({"model": {"a": 1}}, "holds no state dict"), ({}, "holds no state dict")],
)  # fmt: skip
def test_what_is_no_weights_is_refused(tmp_path, content, sentence):
    path = tmp_path / "weights.pt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(ValueError, match=sentence) as refused:
        fetch_image_weights({"architecture": "timm/test_vit", "weights": str(path)}, 160, tmp_path / "x.safetensors")
    assert len(str(refused.value)) <= 300


def test_code_in_a_file_is_never_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

    torch.save({"model": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match="cannot be read as weights"):
        fetch_image_weights({"architecture": "timm/test_vit", "weights": str(tmp_path / "evil.pt")}, 160,
                            tmp_path / "x.safetensors")  # fmt: skip
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "mobilenetv4_conv_small", "ghostnet_100", "hgnetv2_b0",
                                  "vit_tiny_patch16_224", "resnet10t", "demo_conv"])  # fmt: skip
def test_networks_with_a_layer_behind_their_pooling_are_built_right(name):
    encoder, _ = build_image_encoder({"architecture": f"timm/{name}", "embed_dim": 16}, 96)
    with torch.inference_mode():
        assert encoder.eval()(images(96)).shape == (2, 16)


@pytest.mark.parametrize(("settings", "key"), [({"architecture": "timm/no_such"}, "timm has no model"),
                                               ({"architecture": "timm/levit_128s"}, "cannot read images of 100 px"),
                                               ({"architecture": "No-Such"}, "open_clip does not know")])  # fmt: skip
def test_a_network_that_cannot_be_is_named_before_training(tmp_path, settings, key):
    from retclip.models.image_encoder import check_forward

    def checked():
        encoder, embed_dim = build_image_encoder(settings, 100)
        check_forward(encoder, settings["architecture"], 100, embed_dim)

    with pytest.raises(ValueError, match=key) as refused:
        checked()
    assert len(str(refused.value)) <= 300


def hub_folder(folder, kind):
    """A repository as open_clip or timm pushes it, and its network."""
    folder.mkdir()
    if kind == "timm":
        network = randomized(timm.create_model("test_vit", num_classes=10))
        timm.models.save_for_hf(network, folder, model_config={"num_classes": 10}, safe_serialization=True)
        config = read_json(folder / "config.json")
        config["pretrained_cfg"] |= {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bilinear"}
        (folder / "config.json").write_text(json.dumps(config))
        network.reset_classifier(0)
        return network
    vision = {"timm_model_name": "test_vit", "timm_model_pretrained": False, "timm_pool": "", "timm_proj": "linear",
              "image_size": 160}  # fmt: skip
    text = {"context_length": 8, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1}
    clip = open_clip.CustomTextCLIP(24, vision, text)
    randomized(clip.visual)
    save_file(clip.state_dict(), folder / "open_clip_model.safetensors")
    config = {"model_cfg": {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text},
              "preprocess_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bilinear",
                                 "size": 160}}  # fmt: skip
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return clip.visual


@pytest.mark.parametrize("named", ["hub", "architecture"])
@pytest.mark.parametrize("kind", ["timm", "open_clip"])
def test_a_repository_brings_architecture_and_preprocessing(tmp_path, kind, named):
    folder = tmp_path / "repository"
    network = hub_folder(folder, kind)
    name = str(folder) if named == "hub" else "timm/test_vit"
    settings = {"architecture": name, "weights": str(folder), "embed_dim": 24}
    encoder, _, facts = fetch(tmp_path, settings, 160)
    assert same(encoder.trunk if kind == "timm" else encoder, network, 160)
    complete = facts["complete"]
    assert (complete["mean"], complete["std"], complete["interpolation"], complete["native_size"]) == (
        [0.1, 0.2, 0.3], [0.4, 0.5, 0.6], "bilinear", 160)  # fmt: skip


def test_the_config_has_the_last_word_on_preprocessing(tmp_path):
    hub_folder(tmp_path / "repository", "timm")
    settings = {"architecture": "timm/test_vit", "weights": str(tmp_path / "repository"), "mean": [0.7, 0.7, 0.7]}
    _, sentence, facts = fetch(tmp_path, settings, 160)
    assert facts["complete"]["mean"] == [0.7, 0.7, 0.7]
    assert facts["complete"]["std"] == [0.4, 0.5, 0.6]
    assert "mean 0.7/0.7/0.7" in sentence


@pytest.mark.slow
def test_the_entry_says_it_in_one_sentence(tmp_path):
    torch.save({"head.weight": torch.zeros(2, 2)}, tmp_path / "head.pt")
    settings = {"architecture": "timm/test_vit", "weights": str(tmp_path / "head.pt")}
    command = [sys.executable, str(REPOSITORY / "scripts/fetch_vision_weights.py"), "--settings", json.dumps(settings),
               "--image-size", "160", "--output", str(tmp_path / "out.safetensors")]  # fmt: skip
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: model.image_encoder.weights: head.pt does not fit timm/test_vit: 0 of ")
    assert len(done.stderr) <= 310
    assert len(done.stderr.splitlines()) == 1


def test_weights_of_a_diverged_training_are_refused(tmp_path):
    """Every training from them would diverge, and count as a result."""
    network = timm.create_model("test_vit", num_classes=0)
    state = {**network.state_dict(), "attn_mask": torch.full((2, 2), -torch.inf)}  # of what is dropped, it may be
    settings = {"architecture": "timm/test_vit", "weights": str(tmp_path / "weights.pt"), "embed_dim": 16}
    torch.save(state, tmp_path / "weights.pt")
    fetch(tmp_path, settings, 160)
    for value in (torch.nan, torch.inf):
        state["blocks.0.mlp.fc1.bias"][3] = value
        torch.save(state, tmp_path / "weights.pt")
        sentence = r"weights\.pt: trunk\.blocks\.0\.mlp\.fc1\.bias holds NaN or infinity, as of a training run"
        with pytest.raises(ValueError, match=sentence):
            fetch_image_weights(settings, 160, tmp_path / "x.safetensors")


@pytest.mark.parametrize(("first", "second"), [("model", "model_ema"), ("state_dict", "state_dict_ema"),
                                               ("ema", None)])  # fmt: skip
def test_which_of_several_networks_was_taken_is_said(tmp_path, capsys, first, second):
    networks = [randomized(timm.create_model("test_vit", num_classes=0)) for _ in range(2)]
    content = {name: one.state_dict() for name, one in zip((first, second), networks, strict=True) if name}
    torch.save({"epoch": 3, **content}, tmp_path / "weights.pt")
    settings = {"architecture": "timm/test_vit", "weights": str(tmp_path / "weights.pt"), "embed_dim": 16}
    encoder, _, _ = fetch(tmp_path, settings, 160)
    assert same(encoder.trunk, networks[0], 160)
    said = capsys.readouterr().err
    assert (f"weights.pt holds {first} and {second}: {first} is read" in said) == bool(second)


def test_a_network_within_two_wrappers_is_one_of_several(tmp_path, capsys):
    networks = [randomized(timm.create_model("test_vit", num_classes=0)) for _ in range(2)]
    first, second = (network.state_dict() for network in networks)
    torch.save({"model": {"state_dict": first}, "model_ema": second}, tmp_path / "weights.pt")
    settings = {"architecture": "timm/test_vit", "weights": str(tmp_path / "weights.pt"), "embed_dim": 16}
    encoder, _, _ = fetch(tmp_path, settings, 160)
    assert same(encoder.trunk, networks[0], 160)
    assert "weights.pt holds model and model_ema: model is read" in capsys.readouterr().err


def test_wrappers_within_themselves_have_an_end(tmp_path):
    content = {}
    content["model"] = content
    torch.save(content, tmp_path / "weights.pt")
    settings = {"architecture": "timm/test_vit", "weights": str(tmp_path / "weights.pt"), "embed_dim": 16}
    with pytest.raises(ValueError, match=r"weights\.pt: holds no state dict of an image encoder\."):
        fetch(tmp_path, settings, 160)


def test_a_whole_network_in_a_file_is_named_with_what_to_do(tmp_path):
    torch.save(timm.create_model("test_vit"), tmp_path / "weights.pt")
    (tmp_path / "text.pt").write_text("hello")
    for name, why in {"weights.pt": r"cannot be read as weights \(it holds objects that only code could restore; "
                      r"save torch\.save\(model\.state_dict\(\), FILE\)\)\.$",
                      "text.pt": r"cannot be read as weights \(torch\.save did not write it\)\.$"}.items():  # fmt: skip
        with pytest.raises(ValueError, match=why):
            fetch_image_weights({"architecture": "timm/test_vit", "weights": str(tmp_path / name)}, 160,
                                tmp_path / "x.safetensors")  # fmt: skip
