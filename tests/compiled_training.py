"""A small training run, compiled or not, for processes of their own: a process keeps what it has compiled."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from documents import BUDGET, VALUES, trial_of
from transformers import BertConfig, BertModel

from retclip.data.store import write_store
from retclip.loading.dataset import Split
from retclip.models.image_encoder import build_image_encoder
from retclip.models.retclip import RetClip
from retclip.training import compiled_steps
from retclip.training.checkpoint import StateFolder
from retclip.training.trainer import Trainer

CPU = torch.device("cpu")
SAMPLES, SIZE, WORDS, LONGEST = 32, 32, 40, 20
EPOCHS, STEPS = 2, 4
HALF_WAY = 6  # steps, in the second epoch
VIT = {"layers": 1, "width": 32, "head_width": 16, "patch_size": 16, "embed_dim": 16}
BERT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
        "attention_probs_dropout_prob": 0.0}  # fmt: skip


def write_data(folder: Path) -> None:
    """Samples with one or two eyes, whose texts are of every length."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(3, LONGEST, SAMPLES)
    names = [f"s{i:02d}" for i in range(SAMPLES)]
    frame = pd.DataFrame({"sample_id": names, "patient_id": names, "eyes": ["both", "left", "right", "both"] * 8})
    frame["text"] = [" ".join(map(str, generator.integers(1, WORDS, length))) for length in lengths]
    frame["text_left"] = frame["text_right"] = frame["text"]
    frame[["label", "label_left", "label_right"]] = "x"
    frame.to_parquet(folder / "samples_train.parquet")
    images = [(f"{row.sample_id}/{side}", generator.bytes(SIZE * SIZE * 3)) for row in frame.itertuples()
              for side in (("left", "right") if row.eyes == "both" else (row.eyes,))]  # fmt: skip
    write_store(folder / "train.lmdb", images, len(images), SIZE, "raw")


def tokenize(texts: list[str], context_length: int) -> tuple[torch.Tensor, torch.Tensor]:
    rows = [torch.tensor([int(word) for word in text.split()][:context_length]) for text in texts]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return ids, (ids > 0).long()


def split_in(folder: Path) -> Split:
    size = (folder / "train.lmdb").stat().st_size
    fingerprint = {"classes": ["x"], "splits": {"train": {"lmdb_bytes": size}}, "label_level": "patient",
                   "text_level": "patient"}  # fmt: skip
    return Split(folder, "train", fingerprint, tokenize, LONGEST)


def model(dropout: float = 0.1) -> RetClip:
    torch.manual_seed(0)
    bert = BertModel(BertConfig(vocab_size=WORDS, hidden_dropout_prob=dropout, **BERT), add_pooling_layer=False)
    return RetClip(build_image_encoder(VIT, SIZE)[0], bert, VIT["embed_dim"])


def train(split: Split, folder: Path, compiled: bool, stop_after: int | None = None) -> tuple[list[float], Trainer]:
    """The losses of the steps that were taken here. stop_after: as if the time limit came in that step."""
    budget = {**BUDGET, "stop_epoch": EPOCHS, "steps_per_epoch": STEPS, "total_steps": EPOCHS * STEPS}
    trial = trial_of(hyperparameters={**VALUES, "epochs": EPOCHS, "context_length": LONGEST, "compile": compiled},
                     budget=budget, class_prompts={"x": ["1 2 3"]},
                     selection_metric="image_to_text_recall_at_10")  # fmt: skip
    net = model()
    if compiled:
        compiled_steps.compile_encoders(net, CPU, folder.parent)
    trainer = Trainer(trial, net, split, split, tokenize, CPU, "fp32", StateFolder(folder, "k"), 999)
    losses: list[float] = []
    step = trainer._step

    def counted(number, *batch):
        found = step(number, *batch)
        losses.append(float(found))
        trainer.stop_requested = number + 1 == stop_after
        return found

    trainer._step = counted  # type: ignore[method-assign]
    try:
        with compiled_steps.failures_named(compiled):
            trainer.run()
    except SystemExit:
        assert stop_after
    return losses, trainer


def trained_in_a_process(data: Path, folder: Path, what: str) -> None:
    """first: a whole training, and one that is stopped; second: the rest of that one. Writes WHAT.json and WHAT.pt."""
    from torch._dynamo.utils import counters

    split = split_in(data)
    if what == "first":
        losses, trainer = train(split, folder / "whole", True)
        train(split, folder / "stopped", True, HALF_WAY)
    else:
        losses, trainer = train(split, folder / "stopped", True)
    torch.save(trainer.model.state_dict(), folder / f"{what}.pt")
    caches = {kind: counters["inductor"][f"fxgraph_cache_{kind}"] for kind in ("hit", "miss")}
    found = {"losses": losses, "graphs": counters["stats"]["unique_graphs"], **caches,
             "val_loss": trainer.progress.history[-1]["val_loss"]}  # fmt: skip
    (folder / f"{what}.json").write_text(json.dumps(found))
