"""lora_rank: LoRA of the attention projections of both encoders, by peft, and exported models that need none of it."""

import io
import shutil
import subprocess
import sys

import pytest
import torch
from exports import DATA, VAL
from fine_tuned import (
    NETWORKS,
    SIZE,
    TEXT_FAMILIES,
    WORDS,
    batch_of,
    pretrained,
    text_model,
    trial,
    write_bert,
    write_image_weights,
)
from running import ENVIRONMENT, REPOSITORY, declared_defaults, merged

from retclip.core.config import check_config
from retclip.core.fine_tuning import adapts
from retclip.models.adapters import adapt_encoder, projections
from retclip.models.blocks import image_distances, text_distances
from retclip.models.encode import encode_batch
from retclip.models.export import export_model, load_exported
from retclip.models.image_weights import fetch_image_weights
from retclip.models.loss import tripartite_loss
from retclip.models.pretrained import fetch_text_encoder
from retclip.models.timm_encoder import TimmEncoder
from retclip.training.optimizer import build_optimizer, set_learning_rate

RANK = 3
ADAPTED = ("vit", "clip")
VALUES = {**declared_defaults(), "learning_rate": 1e-2, "weight_decay": 0.1, "optimizer": "adamw"}


@pytest.fixture(scope="module", autouse=True)
def _peft():
    pytest.importorskip("peft", reason="peft is not installed: make env makes the environment of this lock")


def run(script):
    options = {"cwd": REPOSITORY, "env": ENVIRONMENT, "capture_output": True, "text": True}
    done = subprocess.run([sys.executable, "-c", script], check=False, **options)
    assert done.returncode == 0, done.stderr
    return done


def step(model, optimizer, count=1, first=0):
    for position in range(first, first + count):
        torch.manual_seed(position)
        set_learning_rate(optimizer, 1e-2)
        optimizer.zero_grad()
        tripartite_loss(encode_batch(model, batch_of(), augment=False))["total"].backward()
        optimizer.step()


@pytest.mark.parametrize("network", ADAPTED)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_adapters_and_heads_alone_change(tmp_path, network, checkpointing):
    plain, model = pretrained(tmp_path, network), pretrained(tmp_path, network, lora_rank=RANK)
    with torch.inference_mode():
        untouched = encode_batch(plain.eval(), batch_of(), augment=False)
        at_first = encode_batch(model.eval(), batch_of(), augment=False)
    for name, value in untouched.items():
        torch.testing.assert_close(at_first[name], value, msg=name)
    if checkpointing:
        model.enable_gradient_checkpointing()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    step(model.train(), build_optimizer(model, VALUES), 2)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    adapters = {name for name in before if "lora_" in name}
    assert adapters <= changed
    assert all(RANK in before[name].shape for name in adapters)
    assert not {name for name in changed - adapters if name.startswith("bert.")}
    # of the image encoder a projection of timm's network, which is in no weights, trains beside them
    new = {"visual.head.proj.weight"} if network == "vit" else set()
    assert {name for name in changed - adapters if name.startswith("visual.")} == new
    assert {"global_feature_mapping.weight", "text_projection.0.weight", "logit_scale"} <= changed
    assert adapters < model.trained_state().keys()
    assert not {name for name in model.trained_state() if "base_layer" in name}


def test_each_attention_projection_of_each_block_has_an_adapter(tmp_path):
    model = pretrained(tmp_path, "vit", lora_rank=RANK)
    adapted = {name.split(".lora_")[0] for name, _ in model.named_parameters() if "lora_" in name}
    image = {f"visual.trunk.blocks.{block}.attn.{part}" for block in range(6) for part in ("qkv", "proj")}
    text = {f"bert.encoder.layer.{block}.attention.{part}" for block in range(3)
            for part in ("self.query", "self.key", "self.value", "output.dense")}  # fmt: skip
    assert adapted == image | text
    (tmp_path / "clip").mkdir()
    clip = pretrained(tmp_path / "clip", "clip", lora_rank=RANK)
    # torch's own attention has its three projections in one bare weight, and reads its fourth past any module
    shapes = [tuple(one.shape) for name, one in clip.named_parameters() if "resblocks.0" in name and "lora_" in name]
    assert sorted(shapes) == [(RANK, 64), (192, RANK)]


@pytest.mark.parametrize(
    ("name", "parts"),
    [("swinv2_tiny_window8_256", {"qkv", "proj"}), ("maxvit_tiny_tf_224", {"qkv", "proj"}),
     ("vit_small_patch16_dinov3", {"qkv", "proj"}), ("beit_base_patch16_224", {"qkv", "proj"}),
     ("twins_svt_small", {"q", "kv", "qkv", "proj"})],
)  # fmt: skip
def test_nothing_but_attention_projections_is_adapted(name, parts):
    """Some networks have a layer of another kind inside of what they call attention."""
    import timm

    with torch.device("meta"):
        encoder = TimmEncoder(timm.create_model(name, num_classes=0), 16, "")
    found = image_distances(encoder)
    modules, parameters = projections(encoder, found, found.blocks, "model.image_encoder")
    assert {module.split(".")[-1] for module in modules} <= parts
    assert not [module for module in modules if "mlp" in module]
    assert modules
    assert not parameters


@pytest.mark.slow
@pytest.mark.parametrize("network", ADAPTED)
def test_an_exported_model_is_whole_and_needs_no_peft(tmp_path, network):
    """The same features by predict.py's own loading, in a process that has no peft."""
    model = pretrained(tmp_path, network, lora_rank=RANK, context_length=16)
    step(model, build_optimizer(model, VALUES), 3)
    with torch.inference_mode():
        wanted = encode_batch(model.eval(), batch_of(), augment=False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    settings = {**NETWORKS[network], "weights": str(tmp_path / "weights.pt")}
    made = trial(tmp_path, settings, lora_rank=RANK, context_length=16)
    export_model(model, tmp_path / "model", image_encoder=made.image_encoder, tokenizer_folder=tmp_path / "fetched",
                 image_size=SIZE, class_prompts={"a": ["a"]}, trial=made, data=DATA, val=VAL)  # fmt: skip
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items()), "the model itself stays"
    torch.save(wanted, tmp_path / "wanted.pt")
    script = f"""
import sys; sys.modules["peft"] = None
sys.path[:0] = ["scripts", "tests"]
import torch
from pathlib import Path
from fine_tuned import batch_of
from retclip.models.encode import encode_batch
from retclip.models.export import load_exported
folder = Path({str(tmp_path)!r})
model, wanted = load_exported(folder / "model"), torch.load(folder / "wanted.pt")
with torch.inference_mode():
    found = encode_batch(model, batch_of(), augment=False)
for name, value in wanted.items():
    torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-5)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "model/retclip.pt").is_file() == (network == "clip")
    assert "| lora_rank | 3 |" in (tmp_path / "model/README.md").read_text()
    assert not [
        name for name in load_exported(tmp_path / "model").state_dict() if "lora" in name or "base_layer" in name
    ]


@pytest.mark.slow
@pytest.mark.parametrize("network", ADAPTED)
def test_it_resumes_bit_for_bit(tmp_path, network):
    """Frozen weights are not saved: they must come back as they were, whatever adapters did to them."""
    values = {**VALUES, "layer_decay": 0.65}
    whole = pretrained(tmp_path, network, lora_rank=RANK)
    step(whole, build_optimizer(whole, values), 6)
    first, saved = pretrained(tmp_path, network, lora_rank=RANK), io.BytesIO()
    made = build_optimizer(first, values)
    step(first, made, 3)
    torch.save({"model": first.trained_state(), "optimizer": made.state_dict()}, saved)
    saved.seek(0)
    content = torch.load(saved, weights_only=True)
    second = pretrained(tmp_path, network, lora_rank=RANK)
    made = build_optimizer(second, values)
    second.load_trained_state(content["model"])
    made.load_state_dict(content["optimizer"])
    step(second, made, 3, first=3)
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in whole.state_dict().items())


def test_adapters_learn_at_the_rate_of_their_block(tmp_path):
    model = pretrained(tmp_path, "clip", lora_rank=RANK)
    optimizer = build_optimizer(model, {**VALUES, "layer_decay": 0.5})
    names = {parameter: name for name, parameter in model.named_parameters()}
    rates = {names[one]: group["lr"] for group in optimizer.param_groups for one in group["params"]}
    for block in range(3):
        found = {rate for name, rate in rates.items() if f"resblocks.{block}." in name}
        assert found == {1e-2 * 0.5 ** (3 - block)}
    assert {rate for name, rate in rates.items() if name.startswith("bert.encoder.layer.0.")} == {1e-2 / 8}


def test_only_the_last_blocks_are_adapted_where_only_they_train(tmp_path):
    model = pretrained(tmp_path, "vit", image_layers=2, text_layers=1, lora_rank=RANK)
    adapted = {name.split(".attn")[0].split(".attention")[0] for name, _ in model.named_parameters() if "lora_" in name}
    assert adapted == {"visual.trunk.blocks.4", "visual.trunk.blocks.5", "bert.encoder.layer.2"}


def test_a_frozen_encoder_has_no_adapters(tmp_path):
    model = pretrained(tmp_path, "cnn", freeze="image", lora_rank=RANK)
    assert {name.split(".")[0] for name, _ in model.named_parameters() if "lora_" in name} == {"bert"}
    assert model.is_frozen(model.visual.trunk)
    assert not model.is_frozen(model.bert)


def test_a_network_without_attention_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no attention projections") as told:
        pretrained(tmp_path, "cnn", lora_rank=RANK)
    assert "model.image_encoder" in str(told.value)
    assert len(str(told.value)) <= 300


@pytest.mark.parametrize("kind", TEXT_FAMILIES)
def test_every_text_encoder_is_adapted(kind):

    torch.manual_seed(0)
    bert = text_model(kind).eval()
    ids = torch.randint(5, 40, (2, 7))
    with torch.no_grad():
        before = bert(input_ids=ids).last_hidden_state
    adapt_encoder(bert, text_distances(bert), 3, RANK, "model.text_encoders.mine")
    found = bert(input_ids=ids).last_hidden_state
    torch.testing.assert_close(found, before)
    trained = {name: one for name, one in bert.named_parameters() if one.requires_grad}
    assert all("lora_" in name for name in trained)
    found.square().sum().backward()
    assert all(one.grad is not None for one in trained.values())
    for block in range(3):
        assert len({name for name in trained if f".{block}." in name and "lora_B" in name}) >= 2


@pytest.mark.slow
def test_without_a_rank_peft_is_not_imported(tmp_path):
    script = f"""
import sys; sys.path[:0] = ["scripts", "tests"]
from pathlib import Path
from fine_tuned import pretrained
import retclip.training.trainer, retclip.models.export
pretrained(Path({str(tmp_path)!r}), "clip")
assert "peft" not in sys.modules
pretrained(Path({str(tmp_path)!r}), "clip", lora_rank=2)
assert "peft" in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr


def test_under_bf16_adapters_train(tmp_path):
    model = pretrained(tmp_path, "clip", lora_rank=RANK)
    for _ in range(2):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs = encode_batch(model, batch_of(), augment=False)
        model.zero_grad()
        tripartite_loss(outputs)["total"].backward()
    grads = [one.grad for name, one in model.named_parameters() if "lora_B" in name]
    assert all(grad is not None and grad.abs().sum() > 0 for grad in grads)


def test_the_plan_refuses_what_adapters_cannot_do():
    def refused(**changes):
        config = merged("demo")
        config["defaults"]["lora_rank"] = changes.pop("rank", 4)
        config["model"]["image_encoder"] = {**NETWORKS["clip"], "weights": "x.pt"}
        config["model"] |= changes
        with pytest.raises(ValueError, match="lora_rank") as told:
            check_config(config)
        assert len(str(told.value)) <= 300
        return str(told.value)

    assert "model.freeze is both" in refused(freeze="both")
    assert "weights" in refused(image_encoder=NETWORKS["clip"])
    for wrong in (-1, 1.5, "4", 100_000):
        refused(rank=wrong)


@pytest.mark.parametrize("network", [*ADAPTED, "cnn"])
def test_a_network_without_attention_ends_where_it_is_fetched(tmp_path, network):
    write_image_weights(NETWORKS[network], tmp_path / "w.pt")
    settings, output = {**NETWORKS[network], "weights": str(tmp_path / "w.pt")}, tmp_path / "o.safetensors"
    if network == "cnn":
        with pytest.raises(ValueError, match=r"model.image_encoder: ResNet has no attention projections"):
            fetch_image_weights(settings, SIZE, output, adapted=True)
        assert not output.exists()
    fetch_image_weights(settings, SIZE, output, adapted=network != "cnn")


def test_a_text_encoder_whose_blocks_share_weights_ends_where_it_is_fetched(tmp_path):
    write_bert(tmp_path / "bert")
    fetch_text_encoder("mine", str(tmp_path / "bert"), "main", tmp_path / "out", adapted=True)
    shutil.rmtree(tmp_path / "out")
    shared = text_model("albert")
    shared.config.vocab_size = len(WORDS)
    shared.resize_token_embeddings(len(WORDS))
    shared.save_pretrained(tmp_path / "bert")
    with pytest.raises(ValueError, match=r"type albert has no blocks of their own"):
        fetch_text_encoder("mine", str(tmp_path / "bert"), "main", tmp_path / "out", adapted=True)
    assert not (tmp_path / "out").exists()
    fetch_text_encoder("mine", str(tmp_path / "bert"), "main", tmp_path / "out")


def test_what_is_fetched_for_a_run_with_ranks_is_looked_at():
    config = merged("demo")
    assert not adapts(config, "image")
    config["phase2"]["space"]["lora_rank"] = {"low": 0, "high": 8, "int": True}
    assert adapts(config, "image")
    assert adapts(config, "text")
    config["model"]["freeze"] = "image"
    assert not adapts(config, "image")
    assert adapts(config, "text")
    config["phase1"]["space"]["freeze"] = ["none", "image"]
    assert adapts(config, "image")


def test_a_search_may_hold_the_rank():
    from retclip.core.config import configured_defaults

    config = merged("demo")
    config["model"]["image_encoder"] = {**NETWORKS["clip"], "architecture": None, "weights": "x.pt"}
    config["phase2"]["space"]["lora_rank"] = [0, 4, 16]
    assert configured_defaults(check_config(config))["lora_rank"] == 0
