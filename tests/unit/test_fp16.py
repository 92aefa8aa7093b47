"""Training in fp16, for GPUs without bf16 of their own, here in the CPU's fp16: scale, limit, overflow, resuming."""

import numpy as np
import pandas as pd
import pytest
import torch
from documents import BUDGET, VALUES, trial_of
from transformers import BertConfig, BertModel

from retclip.data.store import write_store
from retclip.loading.dataset import Split
from retclip.loading.device import grad_scaler
from retclip.models.image_encoder import build_image_encoder
from retclip.models.retclip import RetClip
from retclip.training.checkpoint import StateFolder
from retclip.training.optimizer import SGD_MOMENTUM
from retclip.training.trainer import Trainer

CPU = torch.device("cpu")
SAMPLES, BATCH, STEPS, SIZE, WORDS, LENGTH = 32, 8, 4, 32, 40, 12
VIT = {"layers": 1, "width": 32, "head_width": 16, "patch_size": 16, "embed_dim": 16}
HYPERPARAMETERS = {**VALUES, "batch_size": BATCH, "context_length": LENGTH}


def tokenize(texts, context_length):
    ids = torch.tensor([[int(word) for word in text.split()] for text in texts])
    return ids, torch.ones_like(ids)


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """Two-eye samples, each with a text of its own."""
    folder = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)
    frame = pd.DataFrame({"sample_id": [f"s{i}" for i in range(SAMPLES)], "eyes": "both"})
    frame["patient_id"] = frame["sample_id"]
    for name in ("text", "text_left", "text_right"):
        frame[name] = [" ".join(map(str, generator.integers(1, WORDS, LENGTH))) for _ in range(SAMPLES)]
    frame[["label", "label_left", "label_right"]] = "x"
    frame.to_parquet(folder / "samples_train.parquet")
    images = [(f"{name}/{eye}", generator.bytes(SIZE * SIZE * 3)) for name in frame["sample_id"]
                for eye in ("left", "right")]  # fmt: skip
    write_store(folder / "train.lmdb", images, len(images), SIZE, "raw")
    fingerprint = {"classes": ["x"], "label_level": "eye", "text_level": "eye",
                   "splits": {"train": {"lmdb_bytes": (folder / "train.lmdb").stat().st_size}}}  # fmt: skip
    return Split(folder, "train", fingerprint, tokenize, LENGTH)


@pytest.fixture
def net():
    torch.manual_seed(0)
    config = BertConfig(vocab_size=WORDS, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
                        intermediate_size=32, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)  # fmt: skip
    return RetClip(build_image_encoder(VIT, SIZE)[0], BertModel(config, add_pooling_layer=False), VIT["embed_dim"])


def trainer_of(net, split, folder, precision="fp16", **values):
    budget = {**BUDGET, "stop_epoch": 1, "steps_per_epoch": STEPS, "total_steps": STEPS}
    trial = trial_of(hyperparameters={**HYPERPARAMETERS, **values}, budget=budget, class_prompts={"x": ["1"]},
                     selection_metric="image_to_text_recall_at_10")  # fmt: skip
    return Trainer(trial, net, split, split, tokenize, CPU, precision, StateFolder(folder, "k"), 999)


def weights(trainer):
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def step(trainer, number=0):
    return trainer._step(number, *trainer._read(np.arange(BATCH)))


@pytest.mark.slow
def test_a_training_learns_in_fp16_what_it_learns_in_fp32(net, split, tmp_path):
    start, losses = {name: value.clone() for name, value in net.state_dict().items()}, []
    for precision in ("fp32", "fp16"):
        net.load_state_dict(start)
        outcome = trainer_of(net, split, tmp_path / precision, precision).run()
        assert outcome.progress.status == "completed"
        losses.append(outcome.progress.history[0]["train_loss"])
    assert losses[1] != losses[0]
    assert losses[1] == pytest.approx(losses[0], rel=0.01)


@pytest.mark.parametrize("micro", [BATCH, 4])
def test_gradients_are_limited_by_their_own_size_not_by_the_scaled_one(net, split, tmp_path, micro):
    """SGD's first step is as long as its learning rate times the limit, whatever the scale is."""
    trainer = trainer_of(net, split, tmp_path, optimizer="sgd", max_grad_norm=1e-2, learning_rate=1e-1, weight_decay=0)
    trainer.micro_batch = micro
    before = weights(trainer)
    loss = step(trainer)
    assert 1 < float(loss) < 20, "the loss is not the scaled one"
    moved = torch.cat([(value - before[name]).flatten() for name, value in trainer.model.state_dict().items()])
    count = sum(one.numel() for one in trainer.model.parameters() if one.requires_grad)
    assert float(moved.norm()) == pytest.approx(1e-3 * (1 - SGD_MOMENTUM) * count**0.5, rel=1e-3)


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_a_step_whose_gradients_overflow_is_left_out_and_the_next_ones_are_scaled_less(net, split, tmp_path, optimizer):
    trainer = trainer_of(net, split, tmp_path, optimizer=optimizer)
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**30)
    before = weights(trainer)
    assert torch.isfinite(step(trainer))
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.state_dict().items())
    assert trainer.scaler.get_scale() == 2.0**29
    for number in range(1, 30):
        assert torch.isfinite(step(trainer, number))
    assert trainer.scaler.get_scale() < 2.0**25
    assert not all(torch.equal(value, before[name]) for name, value in trainer.model.state_dict().items())
    assert all(torch.isfinite(value).all() for value in trainer.model.state_dict().values())


@pytest.mark.slow
def test_a_training_in_fp16_resumes_bit_for_bit_with_its_scale(net, split, tmp_path):
    """The scale halves in the first step: a second process that began at the old one would leave out a step, too."""
    start = {name: value.clone() for name, value in net.state_dict().items()}
    found = []
    for name, stopped in (("whole", False), ("resumed", True)):
        net.load_state_dict(start)
        trainer = trainer_of(net, split, tmp_path / name)
        trainer.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24, growth_interval=2)
        if stopped:
            trainer.stop_requested = True
            with pytest.raises(SystemExit):
                trainer.run()
            net.load_state_dict(start)
            trainer = trainer_of(net, split, tmp_path / name)
        outcome = trainer.run()
        assert outcome.resumed_from_epoch == (1 / STEPS if stopped else None)
        found.append((weights(trainer), trainer.scaler.state_dict(), outcome.progress.history[0]["train_loss"]))
    assert found[1][1:] == found[0][1:]
    assert found[0][1]["scale"] < 2.0**24
    for name, value in found[0][0].items():
        assert torch.equal(found[1][0][name], value), name


@pytest.mark.slow
def test_a_training_begun_in_another_precision_resumes_in_this_one(net, split, tmp_path):
    """A queue may give a preempted training another kind of GPU."""
    for before, after in (("fp32", "fp16"), ("fp16", "fp32")):
        trainer = trainer_of(net, split, tmp_path / before, before)
        trainer.stop_requested = True
        with pytest.raises(SystemExit):
            trainer.run()
        outcome = trainer_of(net, split, tmp_path / before, after).run()
        assert outcome.resumed_from_epoch == 1 / STEPS
        assert outcome.progress.status == "completed"


def test_other_precisions_are_not_scaled():
    for precision in ("fp32", "bf16"):
        scaler = grad_scaler(CPU, precision)
        assert float(scaler.scale(torch.tensor(3.0))) == 3.0
        assert scaler.state_dict() == {}
