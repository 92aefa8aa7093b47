"""Trains every configuration of a grid, three seeds each: the table over which search strategies are replayed.

The task is real and small: scikit-learn's handwritten digits stand for the eyes, two different ones a patient, each
with a sentence. The model is our RetClip with all three heads, our loss, optimizer and schedule; the text encoder is
frozen, so that its features are computed once. Learning rate, batch size, temperature, weight decay and warm-up, what
the guide tunes, are the space. One process makes them all: torch is imported once.
"""

import itertools
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from running import REPOSITORY

SPACE: dict[str, list[Any]] = {
    "learning_rate": [3.0e-4, 8.0e-4, 2.0e-3, 5.0e-3, 1.2e-2, 3.0e-2],
    "batch_size": [32, 64, 128],
    "warmup_steps": [20, 80],
    "weight_decay": [0.01, 0.3],
    "temperature": [0.03, 0.1, 0.4],
}
SEEDS = (1, 2, 3)
EPOCHS = 10
TRAIN, VAL = 2048, 500  # patients of two digits, drawn from different images
TRAIN_IMAGES = 1200
SIDE = 16  # pixels; the digits have 8
EMBED_DIM = 64
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SENTENCES = ("a handwritten {}.", "this shows the number {}.", "someone wrote a {} here.", "{}, in ink.")
FIXED = {
    "learnable_temperature": True,
    "epochs": EPOCHS,
    "lr_scheduler": "cosine",
    "optimizer": "adamw",
    "layer_decay": 1.0,
}
COLUMNS = (*SPACE, "seed", "seconds", *(f"epoch_{epoch}" for epoch in range(1, EPOCHS + 1)))


def configurations() -> list[dict[str, Any]]:
    """Every point of the space."""
    return [dict(zip(SPACE, point, strict=True)) for point in itertools.product(*SPACE.values())]


def make_table(path: Path) -> None:
    """Trains what the CSV file at `path` does not hold yet. epoch_k: balanced accuracy on validation after epoch k."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(",".join(COLUMNS) + "\n")
    done = {tuple(map(float, line.split(",")[: len(SPACE) + 1])) for line in path.read_text().splitlines()[1:]}
    wanted = [(values, seed) for seed in SEEDS for values in configurations()]
    missing = [(values, seed) for values, seed in wanted if (*map(float, values.values()), float(seed)) not in done]
    task = Task() if missing else None
    for number, (values, seed) in enumerate(missing, start=len(wanted) - len(missing) + 1):
        assert task is not None
        started = time.process_time()
        scores = task.train(values, seed)
        cells = [*values.values(), seed, f"{time.process_time() - started:.2f}", *(f"{score:.4f}" for score in scores)]
        with path.open("a") as stream:
            stream.write(",".join(map(str, cells)) + "\n")
        if number % 50 == 0:
            print(f"{number} of {len(wanted)} training runs", file=sys.stderr, flush=True)


class Task:
    """The digits in memory, and the features of their sentences."""

    def __init__(self) -> None:
        import torch
        from sklearn.datasets import load_digits

        torch.set_num_threads(1)
        digits = load_digits()
        generator = np.random.default_rng(0)
        train, val = np.split(generator.permutation(len(digits.target)), [TRAIN_IMAGES])
        pairs = np.concatenate([generator.choice(train, (2, TRAIN)), generator.choice(val, (2, VAL))], axis=1)
        grey = torch.from_numpy(255 / 16 * digits.images).float()[:, None]
        large = torch.nn.functional.interpolate(grey, size=SIDE, mode="bilinear").round().to(torch.uint8)
        images = large.permute(0, 2, 3, 1).expand(-1, -1, -1, 3)
        self.images = images[torch.from_numpy(pairs)]  # [2, N, S, S, 3]
        self.targets = torch.from_numpy(digits.target[pairs]).long()  # [2, N]
        self.sentences = self.targets * len(SENTENCES) + torch.from_numpy(pairs % len(SENTENCES))
        self.tokens = _text_features()

    def train(self, values: dict[str, Any], seed: int) -> list[float]:
        """The validation score after every epoch; a training run that broke scores chance from there on."""
        import torch

        from retclip.core.preprocessing import CLIP
        from retclip.loading.augmentation import to_model_input
        from retclip.loading.dataset import epoch_batches
        from retclip.models.image_encoder import build_image_encoder
        from retclip.models.loss import tripartite_loss
        from retclip.models.retclip import RetClip
        from retclip.training.optimizer import build_optimizer, learning_rate_at, set_learning_rate

        settings = {**FIXED, **values}
        torch.manual_seed(seed)
        visual, width = build_image_encoder({"architecture": "timm/demo_conv", "embed_dim": EMBED_DIM}, SIDE)
        model = RetClip(visual, frozen_texts(self.tokens), width)
        for scale in (model.logit_scale, model.logit_scale_left, model.logit_scale_right):
            scale.data.fill_(-math.log(values["temperature"]))
        optimizer = build_optimizer(model, settings)
        total = EPOCHS * math.ceil(TRAIN / values["batch_size"])
        step, scores = 0, []
        for epoch in range(EPOCHS):
            model.train()
            for indices in epoch_batches(TRAIN, values["batch_size"], seed, epoch):
                set_learning_rate(optimizer, learning_rate_at(step, total, settings))
                images = to_model_input(self.images[:, indices].flatten(0, 1), False, CLIP)
                left, right = self.sentences[:, indices].unsqueeze(-1)
                # the patient's text is the left eye's sentence
                outputs = model(*images.chunk(2), left, text_ids_left=left, text_ids_right=right)
                loss = tripartite_loss(outputs)["total"]
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                model.clamp_logit_scales()
                step += 1
            scores.append(self._score(model))
        return scores

    def _score(self, model: Any) -> float:
        """Zero-shot balanced accuracy over both eyes of the validation patients."""
        import torch

        from retclip.core.preprocessing import CLIP
        from retclip.loading.augmentation import to_model_input

        model.eval()
        with torch.inference_mode():
            images = to_model_input(self.images[:, TRAIN:].flatten(0, 1), False, CLIP)
            _, *eyes = model.encode_eyes(*images.chunk(2))
            hits = []
            for eye, unit in zip(eyes, ("left", "right"), strict=True):
                texts = model.encode_text(torch.arange(len(self.tokens))[:, None], None, unit)
                classes = texts.view(len(WORDS), len(SENTENCES), -1).mean(1)
                hits.append((eye @ torch.nn.functional.normalize(classes, dim=1).T).argmax(1))
        right = (torch.stack(hits) == self.targets[:, TRAIN:]).double()
        return float(np.mean([right[self.targets[:, TRAIN:] == digit].mean() for digit in range(len(WORDS))]))


def _text_features() -> Any:
    """The standardised [CLS] of every sentence in the demo's plainest BERT, [words * sentences, H]."""
    import torch

    from retclip.demo.text_encoders import make_encoder
    from retclip.models.text_encoder import load_text_encoder, load_tokenizer

    with tempfile.TemporaryDirectory() as name:
        make_encoder("bert_base", 1, Path(name))
        bert, tokenize = load_text_encoder(Path(name)), load_tokenizer(Path(name))
        ids, mask = tokenize([sentence.format(word) for word in WORDS for sentence in SENTENCES], 32)
        with torch.no_grad():
            tokens = bert.eval()(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0]
        # of an encoder that saw no such sentence they are nearly one vector; the heads see what tells them apart
        return ((tokens - tokens.mean(0)) / tokens.std(0)).clone()


def frozen_texts(tokens: Any) -> Any:
    """A text encoder whose texts are known: input ids [B, 1] are rows of `tokens`, and none is padding."""
    from types import SimpleNamespace

    from torch import nn

    class KnownTexts(nn.Module):
        config = SimpleNamespace(hidden_size=tokens.shape[1], pad_token_id=-1, model_type="bert")

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return SimpleNamespace(last_hidden_state=tokens[input_ids])

    return KnownTexts()


if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY / "scripts"))
    make_table(Path(sys.argv[1]))
