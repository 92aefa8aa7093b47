"""What runs on a GPU, on this machine's or a stand-in for one: nothing stays on the CPU, and numbers are the CPU's."""

import contextlib
import itertools
import threading
from dataclasses import replace
from functools import cache, partial

import documents
import numpy as np
import pandas as pd
import pytest
import torch
from fake_cuda import HAS_GPU, a_gpu, fake_cuda, waits_of
from PIL import Image
from running import declared_defaults

from retclip.core.io import file_sha256, read_json, write_json
from retclip.data.images import load_fundus
from retclip.data.store import write_store
from retclip.demo.text_encoders import make_encoder
from retclip.evaluation.examples import collect_examples
from retclip.evaluation.predict import Case, Predictor
from retclip.evaluation.test_set import evaluate_on_test, initial_model, trained_model
from retclip.loading.dataset import Split
from retclip.loading.device import choose_device, choose_precision, is_out_of_memory
from retclip.loading.feature_cache import serves
from retclip.metrics.registry import METRICS
from retclip.models.encode import eye_features, pooled_texts
from retclip.models.export import export_model, load_exported
from retclip.models.factory import build_model
from retclip.models.text_encoder import load_tokenizer
from retclip.training import saving
from retclip.training.checkpoint import StateFolder
from retclip.training.checkpoint_file import save_checkpoint
from retclip.training.lr_finder import range_test
from retclip.training.rescoring import keep_weights, rescore, restore_weights
from retclip.training.trainer import Trainer

# Several threads add in an order of their own, and a score of a few eyes tells ranks that differ by a rounding.
torch.set_num_threads(1)

SIZE, LENGTH, BATCH = 32, 32, 8
CPU = torch.device("cpu")
CLASSES = ["normal", "drusen"]
PROMPTS = {"normal": ["a normal fundus", "no sign of disease"], "drusen": ["drusen at the macula"]}
EYES = ["both", "left", "both", "right", "both", "unknown", "left", "both"]
COUNTS = {"train": 32, "val": 10, "test": 10}
ENCODERS = {
    "vit": {"layers": 1, "width": 32, "head_width": 16, "patch_size": 16, "embed_dim": 16},
    "demo": {"architecture": "timm/demo_conv", "embed_dim": 16},
    "batch norm": {"architecture": "timm/test_efficientnet", "embed_dim": 16},
}
VALUES = {**declared_defaults(),
          "learning_rate": 1e-2, "batch_size": BATCH, "warmup_steps": 0, "weight_decay": 0.1, "temperature": 0.1,
          "learnable_temperature": True, "epochs": 1, "lr_scheduler": "constant", "optimizer": "adamw",
          "max_grad_norm": 1.0, "freeze": "none", "augment": False, "same_class_negatives": "keep",
          "context_length": LENGTH, "early_stopping_patience": None, "precision": "fp32"}  # fmt: skip
CLOSE = partial(pytest.approx, rel=1e-3, abs=1e-5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """data/ with three splits, and encoder/, a demo encoder."""
    folder = tmp_path_factory.mktemp("gpu")
    (folder / "data").mkdir()
    generator = np.random.default_rng(0)
    splits = {}
    for name, count in COUNTS.items():
        frame = pd.DataFrame({"sample_id": [f"{name}{i}" for i in range(count)]})
        frame["patient_id"], frame["split"] = frame["sample_id"], name
        frame["eyes"] = (EYES * 4)[:count]
        frame["label"] = [CLASSES[i // 2 % 2] for i in range(count)]
        frame["label_left"] = frame["label_right"] = frame["label"]
        words = ["drusen", "macula", "disc", "vessel", "normal", "left", "right", "bleeding"]
        frame["text"] = [" ".join(generator.choice(words, 2 + i % 16)) for i in range(count)]
        frame["text_left"] = frame["text_right"] = frame["text"]
        frame.to_parquet(folder / "data" / f"samples_{name}.parquet")
        images = [
            (f"{sample}/{side}", generator.bytes(SIZE * SIZE * 3))
            for sample, eyes in zip(frame["sample_id"], frame["eyes"], strict=True)
            for side in {"both": ("left", "right"), "right": ("right",)}.get(eyes, ("left",))
        ]
        store = folder / "data" / f"{name}.lmdb"
        write_store(store, images, len(images), SIZE, "raw")
        splits[name] = {"lmdb_bytes": store.stat().st_size, "sha256": file_sha256(store), "patients": count,
                        "per_class": dict.fromkeys(CLASSES, count // 2),
                        "eyes": dict.fromkeys(("left", "right"), count)}  # fmt: skip
    write_json(folder / "data" / "fingerprint.json", {
        "splits": splits, "classes": CLASSES, "label_level": "eye", "text_level": "eye", "texts_from_labels": False,
        "image_encoding": "raw", "sha256": "0" * 64,
    })  # fmt: skip
    make_encoder("pubmedbert", 1, folder / "encoder")
    return folder


def trial_of(encoder="vit", **values):
    return documents.trial_of(image_encoder=ENCODERS[encoder], image_size=SIZE, class_prompts=PROMPTS,
                              hyperparameters={**VALUES, **values})  # fmt: skip


def split_of(folder, name, frozen=None, samples=None):
    return Split(folder / "data", name, read_json(folder / "data/fingerprint.json"),
                 load_tokenizer(folder / "encoder"), LENGTH, samples, frozen=frozen)  # fmt: skip


def features_of(folder, trial, device):
    """The features that cache_features computes for the encoders that the trial freezes, on the CPU as its file is."""
    model = build_model(trial, folder / "encoder", None).to(device).eval()
    found = {}
    for name in ("train", "val"):
        split = split_of(folder, name)
        if serves("image", trial.hyperparameters):
            found[f"{name}.eyes"] = eye_features(model, split, device, "fp32")
        if serves("text", trial.hyperparameters):
            tokenize = load_tokenizer(folder / "encoder")
            found[f"{name}.texts"] = pooled_texts(model, split, tokenize, LENGTH, device, "fp32")
    return found


def trainer_of(folder, trial, device, state, frozen=None, less=False, wrap=lambda encoder: encoder):
    model = build_model(trial, folder / "encoder", None)
    model.visual = wrap(model.visual)
    if less:
        model.enable_gradient_checkpointing()
    budget = trial.budget
    train = split_of(folder, "train", frozen, budget.steps_per_epoch * trial.hyperparameters["batch_size"])
    return Trainer(trial, model, train, split_of(folder, "val", frozen), load_tokenizer(folder / "encoder"),
                   device, "fp32", StateFolder(state, "k"), 999)  # fmt: skip


def test_a_device_carries_its_index(monkeypatch):
    with fake_cuda():
        monkeypatch.delenv("LOCAL_RANK", raising=False)
        assert choose_device("auto") == choose_device("cuda") == torch.device("cuda", 0)
        monkeypatch.setenv("LOCAL_RANK", "0")
        assert choose_device("cuda") == torch.device("cuda", 0)
        monkeypatch.setenv("LOCAL_RANK", "1")
        with pytest.raises(ValueError, match=r"process 2 of this node has no GPU: torch sees 1\. Set training\.gpus"):
            choose_device("cuda")


@pytest.mark.parametrize("listed", [[], [object()]])
def test_a_gpu_that_nobody_lists_is_said_to_be_nobodys(monkeypatch, capsys, listed):
    """One that is listed and not leased is not called unlisted."""
    monkeypatch.setattr("retclip.loading.device.visible", lambda: listed)
    monkeypatch.setattr("retclip.loading.device.is_leased", lambda: False)
    with fake_cuda():
        choose_device("auto")
    assert ("nvidia-smi lists no GPU" in capsys.readouterr().err) == (listed == [])


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_what_is_cached_on_a_gpu_is_not_pinned_however_the_gpu_is_named(folder, device):
    features = {"train.eyes": torch.randn(56, 4), "train.texts": torch.randn(32, 4)}
    with a_gpu():
        device = torch.device(device)
        for frozen in (None, features):
            split = split_of(folder, "train", frozen)
            split.cache_on_device(device)
            batch = split.batch(np.arange(4), device)
            placed = {name: value.device.type for name, value in batch.items() if isinstance(value, torch.Tensor)}
            assert placed.pop("present") == "cpu"
            assert set(placed.values()) == {"cuda"}
        # what is cached there comes back to the CPU where it is requested there
        assert split_of(folder, "train", features).batch(np.arange(4), CPU)["eye_features"].device.type == "cpu"
        assert split.batch(np.arange(4), CPU)["eye_features"].device.type == "cpu"


@pytest.mark.parametrize(("capability", "chosen"), [((6, 1), "fp32"), ((7, 0), "fp16"), ((7, 5), "fp16"),
                                                    ((8, 0), "bf16"), ((9, 0), "bf16"), ((12, 0), "bf16")])  # fmt: skip
def test_a_gpu_that_only_emulates_bf16_is_not_given_it(capability, chosen, capsys):
    with fake_cuda(capability=capability) as device:
        assert choose_precision("auto", device) == chosen
        assert chosen in (said := capsys.readouterr().err) or chosen == "bf16", said
        assert choose_precision("fp32", device) == "fp32"
        assert capsys.readouterr().err == ""
        assert choose_precision("bf16", device) == "bf16"
        assert ("stand-in only emulates bf16" in capsys.readouterr().err) == (capability < (8, 0))
    assert choose_precision("auto", CPU) == "fp32"


class Small(torch.nn.Module):
    """A device that holds the activations of so many images and no more."""

    def __init__(self, encoder, most):
        super().__init__()
        self.encoder, self.most = encoder, most

    def forward(self, images):
        if torch.is_grad_enabled() and len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.encoder(images)


@pytest.mark.slow
def test_a_prefetched_batch_is_split_as_memory_allows_by_then(folder, tmp_path, capsys):
    """The first step of two finds that memory holds half a batch; the second was read before that was known."""
    trial = trial_of(batch_size=16)
    wanted = trainer_of(folder, trial, CPU, tmp_path / "cpu").run()
    with a_gpu() as device:
        trainer = trainer_of(folder, trial, device, tmp_path / "gpu", wrap=lambda encoder: Small(encoder, 16))
        outcome = trainer.run()
    assert trainer.micro_batch == 8
    assert capsys.readouterr().err.count("continuing in micro-batches") == 1
    assert outcome.progress.history[0] == {name: CLOSE(value) for name, value in wanted.progress.history[0].items()}


@pytest.mark.slow
def test_memory_that_is_short_while_prefetching_is_requested_again_after_the_step(folder, tmp_path, monkeypatch):
    trial = trial_of(batch_size=16)
    wanted = trainer_of(folder, trial, CPU, tmp_path / "cpu").run()
    with a_gpu() as device:
        trainer = trainer_of(folder, trial, device, tmp_path / "gpu")
        read, calls = trainer.train.batch, []

        def short(*arguments):
            calls.append(threading.current_thread() is threading.main_thread())
            if len(calls) == 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return read(*arguments)

        monkeypatch.setattr(trainer.train, "batch", short)
        outcome = trainer.run()
    assert calls == [False, False, True]
    assert outcome.progress.status == "completed"
    assert outcome.progress.history[0] == {name: CLOSE(value) for name, value in wanted.progress.history[0].items()}


@pytest.mark.slow
@pytest.mark.parametrize("micro", [BATCH, 4])
def test_a_step_never_waits_for_the_gpu(folder, tmp_path, micro):
    """Not even for the batch's copy; an evaluation has to."""
    with a_gpu() as device:
        trainer = trainer_of(folder, trial_of(augment=True, same_class_negatives="mask"), device, tmp_path)
        trainer.micro_batch = micro
        trainer.model.train()
        trainer._step(0, *trainer._read(np.arange(BATCH)))  # a GPU's libraries wake up in the first
        with waits_of(device) as waits:
            trainer._step(1, *trainer._read(np.arange(BATCH)))
        assert waits == []
        with waits_of(device) as waits:
            trainer._evaluate()
        assert waits


WAYS = [
    (freeze, cached, *rest)
    for freeze, cached in [("none", False), *itertools.product(("image", "text", "both"), (False, True))]
    for rest in itertools.product((BATCH, 4), (False, True), ("keep", "mask"), (True, False))
]


@pytest.mark.slow
@pytest.mark.parametrize(("freeze", "cached", "micro", "less", "negatives", "on_device"), WAYS)
def test_a_training_on_a_gpu_is_one_on_the_cpu(
    folder, on_the_cpu, by_the_gpu, tmp_path, freeze, cached, micro, less, negatives, on_device
):
    trial = trial_of(freeze=freeze, same_class_negatives=negatives)
    frozen = by_the_gpu(freeze) if cached else None
    with a_gpu(free_bytes=1 << 30 if on_device else 0) as device:
        trainer = trainer_of(folder, trial, device, tmp_path, frozen, less)
        trainer.micro_batch = micro
        outcome = trainer.run()
    assert {parameter.device.type for parameter in trainer.model.parameters()} == {"cuda"}
    wanted = on_the_cpu(freeze, negatives)
    assert outcome.progress.status == "completed"
    assert outcome.progress.history[0] == {name: CLOSE(value) for name, value in wanted.progress.history[0].items()}
    scores = [f"score_{k}" for k in range(len(CLASSES))]
    np.testing.assert_allclose(outcome.predictions[scores], wanted.predictions[scores], atol=1e-4)


@pytest.fixture(scope="module")
def by_the_gpu(folder):
    """features_of the GPU."""

    @cache
    def features(freeze):
        with a_gpu() as device:
            return features_of(folder, trial_of(freeze=freeze), device)

    return features


@pytest.fixture(scope="module")
def on_the_cpu(folder, tmp_path_factory):
    """The same training, plainly, on the CPU."""

    @cache
    def outcome(freeze, negatives):
        trial = trial_of(freeze=freeze, same_class_negatives=negatives)
        return trainer_of(folder, trial, CPU, tmp_path_factory.mktemp("cpu")).run()

    return outcome


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_training_resumes_on_a_gpu_and_is_scored_again_with_other_prompts(folder, tmp_path, encoder):
    """Its state is read to the CPU and taken up by what lies on the GPU; every encoder, augmented and with dropout."""
    trial = trial_of(encoder, augment=True, early_stopping_patience=3)
    with a_gpu() as device:
        # the stand-in draws what a CPU draws; a GPU's own augmentation is another one
        where = device if HAS_GPU else CPU
        whole = trainer_of(folder, trial, where, tmp_path / "whole", wrap=_no_draws).run()
        trainer = trainer_of(folder, trial, device, tmp_path / "gpu", wrap=_no_draws)
        trainer.stop_requested = True
        with pytest.raises(SystemExit):
            trainer.run()
        trainer = trainer_of(folder, trial, device, tmp_path / "gpu", wrap=_no_draws)
        outcome = trainer.run()
        assert outcome.resumed_from_epoch == 0.5
        assert outcome.progress.history[0] == {name: CLOSE(value) for name, value in whole.progress.history[0].items()}
        keep_weights(trainer.model, tmp_path / "k" / "weights.pt")
        scored = tmp_path / "scored"
        write_json(scored / "metrics.json", documents.metrics_of(trial).to_dict())
        pd.DataFrame(outcome.progress.history).to_csv(scored / "history.csv", index=False)
        model = _no_draws(build_model(trial, folder / "encoder", None))
        assert restore_weights(model, tmp_path / "k" / "weights.pt")
        again, _, _ = rescore(scored, trial, model, trainer.val, trainer.tokenize, device, "fp32")
    assert again.val.loss == CLOSE(outcome.val.loss)


@pytest.mark.slow
def test_a_gpu_computes_on_while_a_checkpoint_is_written(folder, tmp_path, monkeypatch):
    """Each write takes until the next step is made; what it writes is the state at the step that was saved."""
    budget = replace(trial_of().budget, stop_epoch=2, total_steps=4)
    trial = replace(trial_of(epochs=2), budget=budget)
    weights, overtaken = {}, []
    made = threading.Condition()

    def slow(path, content):
        progress = content["progress"]
        step = progress["epoch"] * budget.steps_per_epoch + progress["step_in_epoch"]
        with made:
            overtaken.append(step == budget.total_steps or made.wait_for(lambda: step + 1 in weights, timeout=30))
        assert all(torch.equal(value, weights[step][name]) for name, value in content["model"].items())
        save_checkpoint(path, content)

    monkeypatch.setattr(saving, "save_checkpoint", slow)
    with a_gpu() as device:
        trainer = trainer_of(folder, trial, device, tmp_path / "gpu")
        trainer.save_seconds = 0
        compute = trainer._step

        def step(number, *batch):
            loss = compute(number, *batch)
            with made:
                weights[number + 1] = {name: value.cpu() for name, value in trainer.model.trained_state().items()}
                made.notify_all()
            return loss

        monkeypatch.setattr(trainer, "_step", step)
        trainer.run()
    assert overtaken == [True, True]  # after the first step of an epoch the next save waits


@pytest.mark.slow
def test_a_checkpoint_that_cannot_be_written_ends_the_training_on_a_gpu_too(folder, tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(saving, "save_checkpoint", full)
    with a_gpu() as device:
        trainer = trainer_of(folder, trial_of(), device, tmp_path / "gpu")
        trainer.save_seconds = 0
        with pytest.raises(OSError, match="No space left"):
            trainer.run()


def _no_draws(module):
    """A GPU draws other numbers than a CPU when it drops out or, in timm, whole paths."""
    for part in module.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    return module


@pytest.mark.slow
@pytest.mark.parametrize("freeze", ["none", "both"])
def test_a_learning_rate_is_found_on_a_gpu_as_on_the_cpu(folder, freeze):
    trial, curves = trial_of(freeze=freeze, learning_rate=1e-4), []

    def found(device):
        frozen = features_of(folder, trial, device) if freeze == "both" else None
        model = build_model(trial, folder / "encoder", None)
        return range_test(trial, model, split_of(folder, "train", frozen), device, "fp32", 1e-2, 18)

    curves.append(found(CPU))
    with a_gpu() as device:
        curves.append(found(device))
    np.testing.assert_allclose(curves[1][0]["loss"], curves[0][0]["loss"], rtol=1e-3)
    assert curves[1][1] == pytest.approx(curves[0][1])


def evaluated(model, reader, folder):
    fingerprint = read_json(folder / "data" / "fingerprint.json")
    document, table = evaluate_on_test(model, reader, folder / "data", fingerprint, None, "code")
    split = reader.split(folder / "data", "test", fingerprint)
    counts = fingerprint["splits"]["train"]["per_class"]
    examples = collect_examples(model, reader, split, reader.embed(model, split), table, counts, private=False)
    return document, table, examples


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Two, of bright discs."""
    folder = tmp_path_factory.mktemp("photographs")
    y, x = np.mgrid[:64, :64] - 32
    for number, name in enumerate(("left", "right")):
        pixels = np.full((64, 64, 3), 90 + 40 * number, np.uint8) * (x**2 + y**2 < 900)[..., None].astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    assert load_fundus(folder / "left.png", SIZE).shape == (SIZE, SIZE, 3)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_model_is_exported_evaluated_probed_and_used_on_a_gpu_as_on_the_cpu(folder, photographs, tmp_path, encoder):
    """The demo's encoder, a ViT, and batch normalization; the initial weights with the encoder's own features, too."""
    trial, found = trial_of(encoder), []
    for name in ("cpu", "gpu"):
        with a_gpu() if name == "gpu" else contextlib.nullcontext(CPU) as device:
            model = build_model(trial, folder / "encoder", None).to(device)
            fingerprint = {**read_json(folder / "data" / "fingerprint.json"), "texts_from_labels": False}
            val = documents.validation_of(**dict.fromkeys(METRICS))
            export_model(model, tmp_path / name, image_encoder=ENCODERS[encoder], tokenizer_folder=folder / "encoder",
                         image_size=SIZE, class_prompts=PROMPTS, trial=trial, data=fingerprint, val=val)  # fmt: skip
            model, reader = trained_model(trial, tmp_path / name, "auto" if name == "gpu" else "cpu")
            assert reader.device == device
            trained = evaluated(model, reader, folder)
            untouched = evaluated(*initial_model(trial, folder / "encoder", None, device.type), folder)
            predictor = Predictor(tmp_path / name, device, "fp32")
            both = {side: photographs / f"{side}.png" for side in ("left", "right")}
            cases = [Case("both", both, dict.fromkeys(both, "both")),
                     Case("one", {"unknown": both["left"]}, {"unknown": "one"}),
                     Case("none", {"left": photographs / "no.png"}, {"left": "none"})]  # fmt: skip
            found.append((trained, untouched, predictor.predict(cases, 2, 1)))
    one, other = (load_exported(tmp_path / name).state_dict() for name in ("cpu", "gpu"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    for cpu, gpu in zip(found[0][:2], found[1][:2], strict=True):
        numbers = [name for name in cpu[1] if name.startswith(("score", "template", "probe"))]
        assert any(name.startswith("probe") for name in numbers)
        np.testing.assert_allclose(gpu[1][numbers], cpu[1][numbers], atol=2e-3)
        np.testing.assert_allclose(gpu[2].occlusion, cpu[2].occlusion, atol=1e-4)
        assert np.isfinite(gpu[2].occlusion).any()
    pd.testing.assert_frame_equal(found[1][2], found[0][2], atol=1e-4)


@pytest.mark.parametrize("message", ["CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED when calling x",
                                     "[enforce fail] DefaultCPUAllocator: can't allocate memory"])  # fmt: skip
def test_libraries_that_cannot_allocate_are_out_of_memory_too(message):
    assert is_out_of_memory(RuntimeError(message))
    assert is_out_of_memory(torch.OutOfMemoryError("x"))
    assert not is_out_of_memory(RuntimeError("CUDA error: device-side assert triggered"))
    assert not is_out_of_memory(ValueError(message))
