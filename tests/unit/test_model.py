"""The model and its loss against slow, obvious oracles; freezing; export; formats in the wild."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from documents import ENCODER, trial_of
from exports import DATA, VAL, WORDS, save_tiny_bert
from PIL import Image
from running import declared_defaults
from torch.nn import functional

from retclip.core.io import write_json
from retclip.core.preprocessing import CLIP
from retclip.data.images import load_fundus
from retclip.evaluation.predict import Predictor
from retclip.loading import augmentation as augment
from retclip.models import image_encoder, loss
from retclip.models import retclip as model
from retclip.models.convert import from_retclip, to_retclip
from retclip.models.export import export_model, load_exported
from retclip.models.factory import build_model
from retclip.models.image_weights import fetch_image_weights
from retclip.models.pretrained import fetch_text_encoder
from retclip.models.text_encoder import load_text_encoder, load_tokenizer
from retclip.training import optimizer as optim

SIZES = {"layers": 2, "width": 64, "head_width": 64, "patch_size": 16, "embed_dim": 32}


@pytest.fixture(scope="module")
def bert_folder(tmp_path_factory):
    return save_tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def fetched(bert_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fetched")
    fetch_text_encoder("tiny", str(bert_folder), "main", folder)
    return folder


def build(fetched, sizes=SIZES):
    torch.manual_seed(0)
    visual, embed_dim = image_encoder.build_image_encoder(sizes, 32)
    return model.RetClip(visual, load_text_encoder(fetched), embed_dim).eval()


def batch(size=4):
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(2, size, 3, 32, 32, generator=generator)
    ids = torch.randint(5, len(WORDS), (size, 8), generator=generator)
    ids[:, 0] = 2
    return left, right, ids


# --- the model -----------------------------------------------------------------------------------------------


def test_features_are_what_the_paper_says(fetched):
    net = build(fetched)
    left, right, ids = batch()
    with torch.no_grad():
        found = net(left, right, ids)
        one, two = net.encode_image(left), net.encode_image(right)
        patient = functional.normalize(torch.cat([one, two], 1) @ net.global_feature_mapping.weight.T, dim=1)
        token = net.bert(input_ids=ids).last_hidden_state[:, 0]
        head = net.text_projection_left
        text = functional.normalize(head[2](torch.relu(head[0](token))), dim=1)
    assert torch.allclose(found["image_features"], patient, atol=1e-6)
    assert torch.allclose(found["text_features_left"], text, atol=1e-6)
    assert torch.allclose(found["left_features"].norm(dim=1), torch.ones(4))


def test_padding_changes_nothing(fetched):
    net = build(fetched)
    left, right, ids = batch()
    padded = torch.cat([ids, torch.zeros(4, 5, dtype=torch.long)], 1)
    mask = (torch.arange(13) < 8).long().expand(4, 13)
    with torch.no_grad():
        plain, longer = net(left, right, ids, torch.ones_like(ids)), net(left, right, padded, mask)
    assert torch.allclose(plain["text_features"], longer["text_features"], atol=1e-5)


@pytest.mark.parametrize("view", ["patient", "left", "right"])
def test_texts_without_a_mask_are_read_as_each_alone(fetched, view):
    """Against the slow way: one text after the other, cut to its own length, so that there is no padding at all."""
    net = build(fetched)
    left, right, ids = batch()
    lengths = [8, 3, 5, 2]
    for row, length in enumerate(lengths):
        ids[row, length:] = 0
    name = "text_features" if view == "patient" else f"text_features_{view}"
    with torch.no_grad():
        alone = [net.encode_text(ids[[row], :length], None, view)[0] for row, length in enumerate(lengths)]
        assert torch.allclose(net.encode_text(ids, None, view), torch.stack(alone), atol=1e-6)
        assert torch.allclose(net(left, right, ids)[name], torch.stack(alone), atol=1e-6)
        own = net(left, right, ids, text_ids_left=ids.flip(0), text_ids_right=ids.flip(0))[name]
    assert torch.allclose(own, torch.stack(alone if view == "patient" else alone[::-1]), atol=1e-6)


def test_padding_is_what_the_tokenizer_calls_so(bert_folder, tmp_path):
    """Its number is not 0 in every vocabulary, whatever the config of the weights says."""
    own = tmp_path / "own"
    shutil.copytree(bert_folder, own)
    words = [*WORDS[1:], WORDS[0]]  # [PAD] comes last
    (own / "vocab.txt").write_text("\n".join(words) + "\n")
    fetch_text_encoder("tiny", str(own), "main", tmp_path / "fetched")
    net = build(tmp_path / "fetched")
    ids, mask = load_tokenizer(tmp_path / "fetched")(["a", "a normal fundus with drusen"], 16)
    assert (ids[0] == len(words) - 1).any()
    with torch.no_grad():
        found, wanted = net.encode_text(ids, None, "patient"), net.encode_text(ids, mask, "patient")
    assert torch.equal(found, wanted)


def test_an_eye_reads_its_own_text(fetched):
    net = build(fetched)
    left, right, ids = batch()
    with torch.no_grad():
        shared = net(left, right, ids)
        own = net(left, right, ids, text_ids_left=ids.flip(0), attention_mask_left=torch.ones_like(ids))
    assert torch.allclose(own["text_features_left"], shared["text_features_left"].flip(0), atol=1e-6)
    assert torch.equal(own["text_features_right"], shared["text_features_right"])


@pytest.mark.parametrize(("encoders", "frozen"), [("none", ()), ("image", ("visual",)), ("text", ("bert",)),
                                                ("both", ("visual", "bert"))])  # fmt: skip
def test_frozen_encoders_stay_as_they_are(fetched, encoders, frozen):
    net = build(fetched)
    net.freeze(encoders)
    net.train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=1.0)
    loss.tripartite_loss(net(*batch()))["total"].backward()
    optimizer.step()
    after = net.state_dict()
    for prefix in ("visual", "bert"):
        changed = any(not torch.equal(before[n], after[n]) for n in before if n.startswith(f"{prefix}."))
        assert changed != (prefix in frozen)
        assert getattr(net, prefix).training != (prefix in frozen)
    assert not torch.equal(before["text_projection.0.weight"], after["text_projection.0.weight"])


def test_scales_stay_within_clips_bounds(fetched):
    net = build(fetched)
    net.logit_scale.data.fill_(9.0)
    net.logit_scale_left.data.fill_(-1.0)
    net.clamp_logit_scales()
    assert net.logit_scale.exp().item() == pytest.approx(100.0)
    assert net.logit_scale_left.exp().item() == pytest.approx(1.0)


def test_to_retclip_undoes_from_retclip(fetched):
    state = to_retclip(build(fetched))
    again = to_retclip(from_retclip({"state_dict": {f"module.{k}": v for k, v in state.items()}}))
    assert again.keys() == state.keys()
    assert all(torch.equal(again[name], state[name]) for name in state)


# --- the loss ------------------------------------------------------------------------------------------------


def info_nce(image, text, scale):
    """Both directions, written out."""
    logits = scale * image @ text.T
    rows = [-(logits[i, i] - logits[i].logsumexp(0)) for i in range(len(logits))]
    columns = [-(logits[i, i] - logits[:, i].logsumexp(0)) for i in range(len(logits))]
    return (sum(rows) + sum(columns)) / (2 * len(logits))


def outputs(size=6, dimension=8):
    generator = torch.Generator().manual_seed(3)
    names = ("image_features", "left_features", "right_features", "text_features", "text_features_left",
             "text_features_right")  # fmt: skip
    found = {name: functional.normalize(torch.randn(size, dimension, generator=generator), dim=1) for name in names}
    return {**found, "logit_scale": torch.tensor(10.0), "logit_scale_left": torch.tensor(5.0),
            "logit_scale_right": torch.tensor(7.0)}  # fmt: skip


def test_the_loss_is_three_info_nces():
    given = outputs()
    found = loss.tripartite_loss(given)
    wanted = {
        "patient": info_nce(given["image_features"], given["text_features"], 10.0),
        "left": info_nce(given["left_features"], given["text_features_left"], 5.0),
        "right": info_nce(given["right_features"], given["text_features_right"], 7.0),
    }
    for name, value in wanted.items():
        assert found[name].item() == pytest.approx(value.item(), rel=1e-5)
    assert found["total"].item() == pytest.approx(sum(wanted.values()).item(), rel=1e-5)


def test_an_absent_eye_gives_no_loss():
    given = outputs()
    present = torch.tensor([True, True, False, True, False, True])
    found = loss.tripartite_loss(given, present, torch.zeros(6, dtype=torch.bool))
    kept = info_nce(given["left_features"][present], given["text_features_left"][present], 5.0)
    assert found["left"].item() == pytest.approx(kept.item(), rel=1e-5)
    assert found["right"].item() == 0.0


def test_chance_is_three_log_batch():
    given = {name: torch.ones_like(value) / 8**0.5 if value.ndim else value for name, value in outputs(16).items()}
    assert loss.tripartite_loss(given)["total"].item() == pytest.approx(3 * np.log(16), rel=1e-5)


# --- images, schedules, text ---------------------------------------------------------------------------------


def test_model_input_is_normalized_as_clip_does():
    images = torch.full((2, 8, 8, 3), 255, dtype=torch.uint8)
    found = augment.to_model_input(images, False, CLIP)
    wanted = (1 - torch.tensor(CLIP.mean)) / torch.tensor(CLIP.std)
    assert found.shape == (2, 3, 8, 8)
    assert torch.allclose(found[0, :, 4, 4], wanted, atol=1e-5)


def test_augmentation_never_mirrors():
    """An image with its left half bright stays brighter on the left, whatever is drawn."""
    images = torch.zeros(64, 32, 32, 3, dtype=torch.uint8)
    images[:, :, :16] = 200
    torch.manual_seed(0)
    found = augment.to_model_input(images, True, CLIP)
    assert not torch.equal(found[0], found[1])
    assert (found[..., :10].mean((1, 2, 3)) > found[..., -10:].mean((1, 2, 3))).all()


@pytest.mark.parametrize(("schedule", "middle", "last"), [("constant", 1.0, 1.0), ("linear", 0.5, 0.0),
                                                          ("cosine", 0.5, 0.0)])  # fmt: skip
def test_warm_up_then_schedule(schedule, middle, last):
    values = {"learning_rate": 1.0, "warmup_steps": 10, "lr_scheduler": schedule}
    rates = [optim.learning_rate_at(step, 110, values) for step in range(110)]
    assert rates[:10] == sorted(rates[:10])
    assert rates[0] > 0
    assert max(rates) == pytest.approx(1.0)
    assert rates[60] == pytest.approx(middle, abs=0.02)
    assert rates[-1] == pytest.approx(last, abs=0.02)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_no_weight_decay_on_biases_and_scales(fetched, name):
    net = build(fetched)
    values = {**declared_defaults(), "optimizer": name, "learning_rate": 0.1, "weight_decay": 0.3}
    decayed, free = optim.build_optimizer(net, values).param_groups
    assert decayed["weight_decay"] == 0.3
    assert free["weight_decay"] == 0.0
    assert any(parameter is net.logit_scale for parameter in free["params"])
    assert all(parameter.ndim >= 2 for parameter in decayed["params"])


def test_the_tokenizer_keeps_sep_when_it_cuts(fetched):
    ids, mask = load_tokenizer(fetched)(["a normal fundus with drusen", "disc"], 5)
    assert ids[0].tolist() == [2, 5, 6, 7, 3]
    assert ids[1].tolist() == [2, 11, 3, 0, 0]
    assert mask[1].tolist() == [1, 1, 1, 0, 0]


def test_capitals_are_read_by_an_uncased_vocabulary(fetched):
    ids, _ = load_tokenizer(fetched)(["Normal Fundus"], 8)
    assert ids[0].tolist() == [2, 6, 7, 3]


# --- fetching and exporting ----------------------------------------------------------------------------------


def test_old_torch_weights_are_taken_without_running_them(bert_folder, tmp_path):
    from safetensors.torch import load_file

    state = load_file(bert_folder / "model.safetensors")
    source = tmp_path / "old"
    source.mkdir()
    for name in ("config.json", "vocab.txt"):
        (source / name).write_bytes((bert_folder / name).read_bytes())
    torch.save({name.replace("LayerNorm.weight", "LayerNorm.gamma"): value for name, value in state.items()},
               source / "pytorch_model.bin")  # fmt: skip
    fetch_text_encoder("old", str(source), "main", tmp_path / "new")
    first, second = load_text_encoder(bert_folder), load_text_encoder(tmp_path / "new")
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


def test_an_incomplete_folder_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"has no config\.json"):
        fetch_text_encoder("x", str(tmp_path / "empty"), "main", tmp_path / "out")
    write_json(tmp_path / "empty/config.json", {"model_type": "bert"})
    with pytest.raises(ValueError, match=r"neither model\.safetensors nor pytorch_model\.bin"):
        fetch_text_encoder("x", str(tmp_path / "empty"), "main", tmp_path / "out")
    with pytest.raises(ValueError, match="neither a folder nor a hub id"):
        fetch_text_encoder("x", str(tmp_path / "gone"), "main", tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoder", "depth", "truncation_side"),
    [(SIZES, 2, "right"), (SIZES, 1, "left"), (SIZES, 3, "right"), ({"architecture": "ViT-S-32-alt"}, 2, "right"),
     ({"architecture": "timm/test_vit"}, 2, "right")],
)  # fmt: skip
def test_the_model_card_runs_as_it_stands(fetched, tmp_path, encoder, depth, truncation_side):
    """The card's own code, in a process that knows nothing of this project, gives the model's features."""
    size = 224 if encoder.get("architecture") == "ViT-S-32-alt" else 32
    torch.manual_seed(0)
    visual, embed_dim = image_encoder.build_image_encoder(encoder, size)
    net = model.RetClip(visual, load_text_encoder(fetched), embed_dim, depth).eval()
    texts = ["normal fundus", "a disc with drusen, and another disc with a normal fundus"]
    trial = trial_of(
        text_encoder_settings={**ENCODER, "truncation_side": truncation_side},
        hyperparameters={"context_length": 8, "learning_rate": 1e-3, "precision": "bf16"},
    )
    folder = tmp_path / "model"
    export_model(net, folder, image_encoder=encoder, tokenizer_folder=fetched, image_size=size,
                 class_prompts={"a": ["a"]}, trial=trial, data=DATA, val=VAL)  # fmt: skip
    left, right = torch.rand(2, 3, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        mean, std = torch.tensor(CLIP.mean).view(3, 1, 1), torch.tensor(CLIP.std).view(3, 1, 1)
        ids, mask = load_tokenizer(fetched, truncation_side)(texts, 8)
        wanted = [net.encode_eyes((left - mean) / std, (right - mean) / std)[0], net.encode_text(ids, mask, "patient")]
        again = load_exported(folder).encode_eyes((left - mean) / std, (right - mean) / std)[0]
    assert torch.allclose(again, wanted[0], atol=1e-6)
    torch.save({"left": left, "right": right}, folder / "in.pt")
    card = (folder / "README.md").read_text()
    assert "| zero shot balanced accuracy | 0.600 | 0.050 | 0.500 | 0.500 |" in card
    assert (
        "90 patients to train on and 10 to validate; texts reports; labels per eye, in the training split a (7)" in card
    )
    code = card.split("```python\n")[1].split("```")[0]
    code += (
        f"\nimages = torch.load('in.pt')\ntexts = {texts}\n"
        "torch.save([encode_patient(images['left'], images['right']), encode_text(texts)], 'out.pt')\n"
    )
    (folder / "card.py").write_text(code)
    done = subprocess.run([sys.executable, "card.py"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for found, known in zip(torch.load(folder / "out.pt"), wanted, strict=True):
        assert torch.allclose(found, known, atol=1e-5)
    for wanted, taken in (("auto", "bf16"), ("fp32", "fp32")):  # a CPU's own choice would be fp32
        assert Predictor(folder, torch.device("cpu"), wanted).precision == taken
    assert (folder / "retclip.pt").is_file() == (not encoder.get("architecture", "").startswith("timm/"))


@pytest.mark.parametrize("known", [0, 50])
def test_heads_that_no_known_eye_has_trained_score_nothing(fetched, tmp_path, known):
    """Without a known eye in train, the left and the right head stay random: a name with _left must not open them."""
    from retclip.data.cases import cases_of_paths

    visual, embed_dim = image_encoder.build_image_encoder(SIZES, 32)
    net = model.RetClip(visual, load_text_encoder(fetched), embed_dim, 2).eval()
    trial = trial_of(hyperparameters={"context_length": 8, "learning_rate": 1e-3, "precision": "fp32"})
    train = {**DATA["splits"]["train"], "eyes": {"left": known, "right": known}}
    export_model(net, tmp_path / "model", image_encoder=SIZES, tokenizer_folder=fetched, image_size=32,
                 class_prompts={"a": ["a"], "b": ["disc"]}, trial=trial, val=VAL,
                 data={**DATA, "splits": {**DATA["splits"], "train": train}})  # fmt: skip
    (tmp_path / "photographs").mkdir()
    for eye, seed in (("left", 1), ("right", 2)):
        noise = np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"photographs/1_{eye}.png")
    cases = cases_of_paths([tmp_path / "photographs"])
    predictor = Predictor(tmp_path / "model", torch.device("cpu"), "fp32")
    found = predictor.predict(cases, 4, 1)
    assert found["eye"].tolist() == (["left", "right", "patient"] if known else ["left", "right"])
    assert found["head"].tolist() == (["left", "right", "patient"] if known else ["patient", "patient"])
    left, right = (torch.from_numpy(load_fundus(cases[0].images[eye], 32))[None] for eye in ("left", "right"))
    views = {"left": 1, "right": 2, "patient": 0}
    for row in found.to_dict("records"):
        own = {"left": (left, left), "right": (right, right), "patient": (left, right)}[row["eye"]]
        with torch.no_grad():
            feature = net.encode_eyes(*(augment.to_model_input(eye, False, CLIP) for eye in own))[views[row["head"]]]
        wanted = (feature @ predictor.texts[row["head"]].T)[0]
        assert [row["score_a"], row["score_b"]] == pytest.approx(wanted.tolist(), abs=1e-5)


def test_a_model_that_version_0_1_exported_is_read(fetched, tmp_path):
    visual, embed_dim = image_encoder.build_image_encoder(SIZES, 32)
    net = model.RetClip(visual, load_text_encoder(fetched), embed_dim, 2).eval()
    trial = trial_of(text_encoder_settings={**ENCODER, "truncation_side": "left"},
                     hyperparameters={"context_length": 8, "precision": "fp32"})  # fmt: skip
    export_model(net, tmp_path / "model", image_encoder=SIZES, tokenizer_folder=fetched, image_size=32,
                 class_prompts={"a": ["disc"], "b": ["disc with drusen"]}, trial=trial, data=DATA, val=VAL)  # fmt: skip
    today = Predictor(tmp_path / "model", torch.device("cpu"), "fp32")
    for name, renamed in (("model", ("image_encoder", "vision")), ("preprocessing", ("truncation_side", "long_texts"))):
        path = tmp_path / f"model/{name}.json"
        write_json(path, json.loads(path.read_text().replace(*renamed).replace('"left",', '"tail",')))
    old = Predictor(tmp_path / "model", torch.device("cpu"), "fp32")
    assert old.reading["truncation_side"] == "left"
    for name, features in today.texts.items():
        assert torch.equal(old.texts[name], features)
    assert all(torch.equal(old.model.state_dict()[name], value) for name, value in net.state_dict().items())


def start(fetched, weights, seed, from_checkpoint):
    trial = trial_of(
        seed=seed,
        image_encoder=SIZES,
        text_encoder_settings={**ENCODER, "from_checkpoint": from_checkpoint},
        hyperparameters={"temperature": 0.07, "learnable_temperature": True, "freeze": "none", "lora_rank": 0},
    )
    return build_model(trial, fetched, weights).state_dict()


def test_a_training_starts_from_a_whole_checkpoint(fetched, tmp_path):
    net = build(fetched)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.01)
    torch.save({"state_dict": {f"module.{name}": value for name, value in net.state_dict().items()}},
               tmp_path / "retclip.pt")  # fmt: skip
    fetch_image_weights({**SIZES, "weights": str(tmp_path / "retclip.pt")}, 32, tmp_path / "whole.safetensors")
    known = net.state_dict()
    for from_checkpoint, expected in ((False, ("visual.", "global_", "left_", "right_")), (True, ("",))):
        found = start(fetched, tmp_path / "whole.safetensors", 5, from_checkpoint)
        for name, value in found.items():
            if name.startswith(expected) and not name.startswith("logit_scale"):
                assert torch.equal(value, known[name]), name
        assert from_checkpoint or not torch.equal(found["text_projection.0.weight"], known["text_projection.0.weight"])


def test_a_checkpoint_of_another_text_encoder_is_named(fetched, tmp_path):
    net = build(fetched)
    state = net.state_dict()
    state["bert.embeddings.word_embeddings.weight"] = torch.zeros(7, 64)
    torch.save(state, tmp_path / "other.pt")
    fetch_image_weights({**SIZES, "weights": str(tmp_path / "other.pt")}, 32, tmp_path / "other.safetensors")
    start(fetched, tmp_path / "other.safetensors", 0, False)
    with pytest.raises(
        ValueError, match=r"word_embeddings\.weight is \(7, 64\), the model's is \(12, 64\); tiny must be"
    ):
        start(fetched, tmp_path / "other.safetensors", 0, True)
    only_visual = {name: value for name, value in state.items() if name.startswith("visual.")}
    torch.save(only_visual, tmp_path / "visual.pt")
    fetch_image_weights({**SIZES, "weights": str(tmp_path / "visual.pt")}, 32, tmp_path / "visual.safetensors")
    with pytest.raises(
        ValueError, match=r"from_checkpoint is set, but model\.image_encoder\.weights is no whole RET-CLIP"
    ):
        start(fetched, tmp_path / "visual.safetensors", 0, True)


def test_masked_negatives_are_left_out():
    """Against the slow definition: for each row, the softmax over its own pair and the rows of other classes."""
    generator = torch.Generator().manual_seed(0)
    images, texts = (functional.normalize(torch.randn(6, 5, generator=generator), dim=1) for _ in range(2))
    codes = torch.tensor([0, 0, 1, -1, -1, 1])
    total = 0.0
    for queries, answers in ((images, texts), (texts, images)):
        for row in range(6):
            allowed = [k for k in range(6) if k == row or codes[k] != codes[row] or codes[k] < 0]
            scores = torch.stack([7.0 * queries[row] @ answers[k] for k in allowed])
            total += -torch.log_softmax(scores, 0)[allowed.index(row)] / 12
    assert torch.allclose(loss.masked_loss(images, texts, torch.tensor(7.0), codes), total, atol=1e-6)
    outputs = {name: value for image, text, scale in loss.PARTS.values()
               for name, value in ((image, images), (text, texts), (scale, torch.tensor(7.0)))}  # fmt: skip
    nobody = {view: torch.full((6,), -1) for view in loss.PARTS}
    assert torch.allclose(loss.tripartite_loss(outputs, labels=nobody)["total"], loss.tripartite_loss(outputs)["total"])
