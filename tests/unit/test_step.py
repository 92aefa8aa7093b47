"""A step's shortcuts against the plain way: each picture and text once, micro-batches, too little memory."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from documents import BUDGET, VALUES, trial_of
from fake_cuda import fake_cuda
from transformers import BertConfig, BertModel

from retclip.core.preprocessing import CLIP
from retclip.data.splits import of_patients_within
from retclip.data.store import write_store
from retclip.loading.augmentation import to_model_input
from retclip.loading.dataset import Split, prefetch
from retclip.loading.feature_cache import serves
from retclip.models import image_encoder
from retclip.models.encode import encode_batch, eye_features, has_batch_norm, pooled_texts
from retclip.models.loss import tripartite_loss
from retclip.models.retclip import RetClip
from retclip.training import saving
from retclip.training.checkpoint import StateFolder
from retclip.training.checkpoint_file import save_checkpoint
from retclip.training.gradient_cache import backward
from retclip.training.trainer import Trainer

SIZE, WORDS, LONGEST = 32, 40, 20
VIT = {"layers": 2, "width": 64, "head_width": 32, "patch_size": 16, "embed_dim": 32}
EYES = ["both", "left", "both", "right", "both", "unknown", "left", "both"] * 4
CPU = torch.device("cpu")


def tokenize(texts, context_length):
    """Ids as the text's own numbers; padded like a real tokenizer's."""
    rows = [[int(word) for word in text.split()][:context_length] for text in texts]
    length = max(map(len, rows))
    ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])
    return ids, (torch.arange(length) < torch.tensor([len(row) for row in rows])[:, None]).long()


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """32 samples with one or two eyes, whose texts are of every length and stand in several places."""
    folder = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)
    texts = [" ".join(map(str, generator.integers(1, WORDS, generator.integers(3, LONGEST)))) for _ in EYES]
    frame = pd.DataFrame({"sample_id": [f"s{i:02d}" for i in range(len(EYES))], "eyes": EYES, "text": texts})
    frame["patient_id"] = frame["sample_id"]
    frame["text_left"], frame["text_right"] = texts[1:] + texts[:1], texts
    frame[["label", "label_left", "label_right"]] = "x"
    frame.to_parquet(folder / "samples_train.parquet")
    images = []
    for sample, eyes in zip(frame["sample_id"], EYES, strict=True):
        for side in {"both": ("left", "right"), "right": ("right",)}.get(eyes, ("left",)):
            images.append((f"{sample}/{side}", generator.bytes(SIZE * SIZE * 3)))
    write_store(folder / "train.lmdb", images, len(images), SIZE, "raw")
    return folder


@pytest.fixture(params=["eye", "patient"])
def split(data_dir, request):
    size = (data_dir / "train.lmdb").stat().st_size
    fingerprint = {"classes": ["x"], "splits": {"train": {"lmdb_bytes": size}}, "label_level": "eye",
                   "text_level": request.param}  # fmt: skip
    made = Split(data_dir, "train", fingerprint, tokenize, LONGEST)
    made.fingerprint = fingerprint
    made.read = {view: view if request.param == "eye" else "patient" for view in made.texts}
    return made


@pytest.fixture
def net():
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    bert = BertModel(BertConfig(vocab_size=WORDS, **sizes, **dropout), add_pooling_layer=False)
    return RetClip(image_encoder.build_image_encoder(VIT, SIZE)[0], bert, VIT["embed_dim"])


def plain_outputs(net, split, indices):
    """Every eye and every text one after the other, padded to the longest, by RetClip.forward."""
    sides = [("left", "right") if eyes == "both" else ("right",) * 2 if eyes == "right" else ("left",) * 2
             for eyes in np.array(EYES)[indices]]  # fmt: skip
    names = split.frame["sample_id"].to_numpy()[indices]
    stored = split.store.get
    images = [torch.stack([to_model_input(torch.from_numpy(stored(f"{name}/{side[eye]}"))[None], False, CLIP)[0]
                           for name, side in zip(names, sides, strict=True)]) for eye in (0, 1)]  # fmt: skip
    ids = {view: tokenize([split.texts[split.read[view]][i] for i in indices], LONGEST) for view in split.texts}
    return net(*images, *ids["patient"], text_ids_left=ids["left"][0], attention_mask_left=ids["left"][1],
               text_ids_right=ids["right"][0], attention_mask_right=ids["right"][1])  # fmt: skip


def gradients(net):
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


def test_a_batch_is_what_one_sample_after_the_other_is(split, net):
    indices = np.random.default_rng(1).permutation(len(split))[:24]
    batch = split.batch(indices, CPU)
    assert len(batch["images"]) == sum(1 + (EYES[i] == "both") for i in indices)
    present = torch.from_numpy(split.present[indices])
    assert torch.equal(batch["present"], present)
    loss = tripartite_loss(encode_batch(net, batch, augment=False), *present.unbind(1))
    loss["total"].backward()
    found = gradients(net)
    net.zero_grad()
    wanted = tripartite_loss(plain_outputs(net, split, indices), *present.unbind(1))
    wanted["total"].backward()
    for part, value in wanted.items():
        torch.testing.assert_close(loss[part], value, rtol=1e-5, atol=1e-6)
    for name, value in gradients(net).items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")


def test_features_keep_fp32_where_encoders_compute_in_bf16(split, net):
    """Logits are up to 100 times the cosines of features, and bf16 has eight bits."""
    exact = encode_batch(net, split.batch(np.arange(8), CPU), augment=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = encode_batch(net, split.batch(np.arange(8), CPU), augment=False)
    for name, value in found.items():
        assert value.dtype == torch.float32, name
        torch.testing.assert_close(value, exact[name], atol=0.05, rtol=0)
    lengths = found["image_features"].norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths), atol=1e-6, rtol=0)


def test_images_are_moved_by_fp32_coordinates_where_encoders_compute_in_bf16():
    images = torch.randint(0, 256, (8, 64, 64, 3), dtype=torch.uint8)
    torch.manual_seed(1)
    exact = to_model_input(images, True, CLIP)
    torch.manual_seed(1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(to_model_input(images, True, CLIP), exact, rtol=0, atol=0)


def test_short_texts_are_not_padded_to_the_longest(split):
    chunks = split.batch(np.arange(len(split)), CPU)["texts"]
    tokens = sum(ids.numel() for ids, _ in chunks)
    assert tokens < 0.8 * sum(len(ids) for ids, _ in chunks) * max(ids.shape[1] for ids, _ in chunks)
    assert all(mask.sum(1).max() == mask.shape[1] for _, mask in chunks)


def test_a_gpu_gets_the_texts_of_a_small_batch_at_once(split):
    with fake_cuda() as device:
        texts = split.batch(np.arange(len(split)), device)["texts"]
    assert len(texts) == 1
    assert len(split.batch(np.arange(len(split)), CPU)["texts"]) == 4


@pytest.mark.parametrize("parts", [2, 3, 8])
def test_micro_batches_have_the_loss_and_gradients_of_the_whole(split, net, parts):
    indices = np.random.default_rng(2).permutation(len(split))[:24]
    left, right = torch.from_numpy(split.present[indices]).unbind(1)

    def run(chunks):
        net.zero_grad(set_to_none=True)
        loss = backward(
            lambda batch: encode_batch(net, batch, augment=False),
            [split.batch(chunk, CPU) for chunk in chunks],
            list(range(len(chunks))),
            lambda outputs: tripartite_loss(outputs, left, right)["total"],
        )
        return loss, gradients(net)

    whole, wanted = run([indices])
    cached, found = run(np.array_split(indices, parts))
    torch.testing.assert_close(cached, whole, rtol=1e-6, atol=1e-6)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")
    assert wanted["logit_scale"] != 0


def test_both_passes_over_a_micro_batch_drop_out_and_augment_the_same(split, net):
    """The gradients are those of one graph over the parts, each encoded from its own seed."""
    for part in net.bert.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.2
    net.train()
    chunks = np.array_split(np.arange(24), 3)
    batches = [split.batch(chunk, CPU) for chunk in chunks]
    left, right = torch.from_numpy(split.present[:24]).unbind(1)

    def loss_of(outputs):
        return tripartite_loss(outputs, left, right)["total"]

    loss = backward(lambda batch: encode_batch(net, batch, augment=True), batches, [5, 6, 7], loss_of)
    found = gradients(net)
    net.zero_grad(set_to_none=True)
    parts = []
    for batch, seed in zip(batches, [5, 6, 7], strict=True):
        torch.manual_seed(seed)
        parts.append(encode_batch(net, batch, augment=True))
    whole = loss_of({name: torch.cat([part[name] for part in parts]) if value.ndim else value
                     for name, value in parts[0].items()})  # fmt: skip
    whole.backward()
    torch.testing.assert_close(loss, whole.detach())
    for name, value in gradients(net).items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")


def test_what_is_not_kept_is_computed_again_with_the_same_gradients(split, net):
    for part in net.bert.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.2
    batch = split.batch(np.arange(16), CPU)
    left, right = torch.from_numpy(split.present[:16]).unbind(1)
    net.train()
    found, kept = [], []
    for _ in range(2):
        net.zero_grad(set_to_none=True)
        saved = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, seen=saved: seen.append(x.numel()) or x, lambda x: x):
            outputs = (torch.manual_seed(3), encode_batch(net, batch, augment=False))[1]
            loss = tripartite_loss(outputs, left, right)["total"]
        kept.append(sum(saved))
        loss.backward()
        found.append(gradients(net))
        net.enable_gradient_checkpointing()
    assert kept[1] < 0.5 * kept[0]
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, msg=lambda m, n=name: f"{n}: {m}")


def test_what_is_prefetched_comes_in_order_and_one_at_a_time():
    made, used = [], []
    for result in prefetch(lambda item: made.append(item) or item * 10, iter(range(6))):
        used.append(result)
        assert len(made) <= len(used) + 1
    assert used == [0, 10, 20, 30, 40, 50]
    assert list(prefetch(str, [])) == []
    with pytest.raises(ZeroDivisionError):
        list(prefetch(lambda item: 1 // item, [1, 0, 1]))


class Small(torch.nn.Module):
    """A device that holds the activations of so many images and no more."""

    def __init__(self, encoder, most):
        super().__init__()
        self.encoder, self.most = encoder, most

    def forward(self, images):
        if torch.is_grad_enabled() and len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.encoder(images)


HYPERPARAMETERS = {**VALUES, "batch_size": 32, "context_length": LONGEST}


def trainer_of(net, split, folder, metric="image_to_text_recall_at_10", epochs=1, patience=None):
    budget = {**BUDGET, "stop_epoch": epochs, "steps_per_epoch": 1, "total_steps": epochs}
    prompts = {name: ["1"] for name in split.classes}
    trial = trial_of(hyperparameters={**HYPERPARAMETERS, "epochs": epochs, "early_stopping_patience": patience},
                     budget=budget, class_prompts=prompts, selection_metric=metric)  # fmt: skip
    return Trainer(trial, net, split, split, tokenize, CPU, "fp32", StateFolder(folder, "k"), 999)


@pytest.mark.parametrize(("most", "status", "micro"), [(64, "completed", 32), (16, "completed", 8),
                                                       (3, "out_of_memory", 4)])  # fmt: skip
def test_a_batch_that_memory_does_not_hold_is_trained_in_parts(split, net, tmp_path, capsys, most, status, micro):
    """The scores are those of a device that holds it; only where four patients are too many, it is a result."""
    net.visual = Small(net.visual, most)
    trainer = trainer_of(net, split, tmp_path)
    outcome = trainer.run()
    assert outcome.progress.status == status
    assert trainer.micro_batch == micro
    assert ("micro-batches of 16" in capsys.readouterr().err) == (most < 64)


@pytest.fixture
def written(monkeypatch):
    """The name of each file of weights that a training writes."""
    names = []

    def recorded(path, content):
        names.append(path.name)
        save_checkpoint(path, content)

    monkeypatch.setattr(saving, "save_checkpoint", recorded)
    return names


@pytest.mark.slow
def test_the_best_weights_reach_the_disk_with_a_checkpoint_only(split, net, tmp_path, written):
    """A short training writes none, however often it gets better; each checkpoint writes the best so far, once."""
    start = {name: value.clone() for name, value in net.state_dict().items()}
    found = []
    for name, save_seconds in (("short", 999), ("saved", 0)):
        net.load_state_dict(start)
        trainer = trainer_of(net, split, tmp_path / name, epochs=6, patience=3)
        trainer.save_seconds = save_seconds
        outcome = trainer.run()
        weights = {key: value.clone() for key, value in net.state_dict().items()}
        found.append((outcome.progress.history, outcome.progress.best_epoch, weights))
        assert (written == []) == (name == "short")
    (history, epoch, weights), (again, same_epoch, same_weights) = found
    assert (history, epoch) == (again, same_epoch)
    assert all(torch.equal(value, same_weights[key]) for key, value in weights.items())
    best = [name for name in written if name.startswith("best-")]
    assert len(best) == len(set(best)) > 0
    # the checkpoint that names weights comes after them
    assert all(name == "checkpoint.pt" or after == "checkpoint.pt" for name, after in pairwise(written))
    assert written[-1] == "checkpoint.pt"


def test_scores_do_not_depend_on_micro_batches(split, net, tmp_path):
    start = {name: value.clone() for name, value in net.state_dict().items()}
    encoder, losses = net.visual, []
    for most in (64, 16):
        net.visual = encoder
        net.load_state_dict(start)
        net.visual = Small(encoder, most)
        losses.append(trainer_of(net, split, tmp_path / str(most)).run().progress.history[0]["val_loss"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_a_score_of_zero_after_zero_is_no_improvement(split, net, data_dir, tmp_path):
    """Two classes with the same prompts tie, the first is named, and no eye is of it: 0.0 in every epoch."""
    fingerprint = {**split.fingerprint, "classes": ["w", "x"]}
    always_wrong = Split(data_dir, "train", fingerprint, tokenize, LONGEST)
    metric = "zero_shot_balanced_accuracy"
    progress = trainer_of(net, always_wrong, tmp_path, metric, epochs=4, patience=1).run().progress
    assert [row[metric] for row in progress.history] == [0.0, 0.0]
    assert (progress.best_epoch, progress.best_score, progress.status) == (1, 0.0, "early_stopped")


GIB = 2**30


@pytest.mark.parametrize(("free", "total", "own", "crowded"), [(1, 40, 38, False), (1, 40, 9, True), (1, 80, 74, False),
                                                               (0, 8, 5, True), (1, 16, 13, False)])  # fmt: skip
def test_no_memory_on_a_gpu_that_others_fill_is_no_result(
    split, net, tmp_path, monkeypatch, capsys, free, total, own, crowded
):
    """GiB, in place of the GPU's word for them. Batch normalization, so that nothing is tried in parts."""

    class OnGpu(Small):
        def forward(self, images):
            trainer.device = torch.device("cuda", 0)
            return super().forward(images)

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free * GIB, total * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: own * GIB)
    net.visual = OnGpu(torch.nn.Sequential(net.visual, torch.nn.BatchNorm1d(VIT["embed_dim"])), 16)
    trainer = trainer_of(net, split, tmp_path)
    if crowded:
        with pytest.raises(ValueError, match=rf"other processes hold {total - free - own}.0 of the {total}.0 GiB"):
            trainer.run()
    else:
        assert trainer.run().progress.status == "out_of_memory"
    assert not trainer.folder.out_of_memory.exists()


def test_batch_normalization_is_never_trained_in_parts(split, net, tmp_path, capsys):
    net.visual = Small(torch.nn.Sequential(net.visual, torch.nn.BatchNorm1d(VIT["embed_dim"])), 16)
    assert has_batch_norm(net)
    assert trainer_of(net, split, tmp_path).run().progress.status == "out_of_memory"
    assert "batch normalization cannot be trained in parts" in capsys.readouterr().err
    net.freeze("image")
    assert not has_batch_norm(net.train())


@pytest.mark.parametrize(
    ("freeze", "augment", "served"),
    [
        ("both", False, {"image", "text"}),
        ("both", True, {"text"}),
        ("image", False, {"image"}),
        ("none", False, set()),
    ],
)
def test_only_what_a_trial_freezes_is_read_from_features(freeze, augment, served):
    values = {"freeze": freeze, "augment": augment}
    assert {encoder for encoder in ("image", "text") if serves(encoder, values)} == served


def test_features_are_the_same_with_any_number_of_threads(split, net):
    """Bit for bit: each batch is one thread's."""
    net.eval()
    alone, shared = (
        (
            eye_features(net, split, CPU, "fp32", threads),
            pooled_texts(net, split, tokenize, LONGEST, CPU, "fp32", threads),
        )
        for threads in (1, 3)
    )
    for one, other in zip(alone, shared, strict=True):
        assert len(one) > 16
        assert torch.equal(one, other)


def test_frozen_features_stand_for_their_encoders_in_a_subset_with_shuffled_texts(split, net, data_dir):
    frozen = {"train.eyes": eye_features(net, split, CPU, "fp32"),
              "train.texts": pooled_texts(net, split, tokenize, LONGEST, CPU, "fp32")}  # fmt: skip
    made = [Split(data_dir, "train", split.fingerprint, tokenize, LONGEST, samples=20, seed=4, shuffle_texts=True,
                  frozen=given) for given in ({}, frozen)]  # fmt: skip
    indices = np.random.default_rng(5).permutation(len(made[0]))
    plain, cached = (encode_batch(net.eval(), one.batch(indices, CPU), augment=False) for one in made)
    assert len(indices) == 20
    for name, value in plain.items():
        torch.testing.assert_close(cached[name], value, rtol=1e-4, atol=1e-5)


def test_a_share_of_the_patients_is_read_from_the_same_features(split, net, data_dir):
    frozen = {"train.eyes": eye_features(net, split, CPU, "fp32"),
              "train.texts": pooled_texts(net, split, tokenize, LONGEST, CPU, "fp32")}  # fmt: skip
    part = Split(data_dir, "train", split.fingerprint, tokenize, LONGEST, fraction=0.5, frozen=frozen)
    kept = np.flatnonzero(of_patients_within(split.frame, 0.5))
    assert 4 < len(kept) < 28
    assert part.frame["sample_id"].tolist() == split.frame["sample_id"].iloc[kept].tolist()
    plain = encode_batch(net.eval(), split.batch(kept, CPU), augment=False)
    cached = encode_batch(net.eval(), part.batch(np.arange(len(kept)), CPU), augment=False)
    for name, value in plain.items():
        torch.testing.assert_close(cached[name], value, rtol=1e-4, atol=1e-5)
