"""A task for search strategies: handwritten digits, which a contrastive model of ours reads from scratch.

scikit-learn's digits stand for the eyes, two different ones a patient, each with a sentence. The model is our RetClip
with all three heads, our loss, optimizer and schedule; the text encoder is frozen, so that its features are computed
once. Learning rate, batch size, temperature, weight decay and warm-up, what the guide tunes, are the space.
"""

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from search_table import Values, Views

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

SPACE: dict[str, list[Any]] = {
    "learning_rate": [3.0e-4, 8.0e-4, 2.0e-3, 5.0e-3, 1.2e-2, 3.0e-2],
    "batch_size": [32, 64, 128],
    "warmup_steps": [20, 80],
    "weight_decay": [0.01, 0.3],
    "temperature": [0.03, 0.1, 0.4],
}
# of config/demo.yaml, as near as the space has it
BASELINE: Values = {
    "learning_rate": 8.0e-4,
    "batch_size": 32,
    "warmup_steps": 20,
    "weight_decay": 0.01,
    "temperature": 0.1,
}


class Digits:
    """The digits in memory, and the features of their sentences."""

    name = "digits"
    space = SPACE
    seeds = (1, 2, 3)
    epochs = EPOCHS
    baseline = BASELINE

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

    def views(self) -> Views:
        """Both eyes of the validation patients: all left ones, then all right ones."""
        return Views(self.targets[:, TRAIN:].numpy().ravel(), np.tile(np.arange(VAL), 2))

    def train(self, values: Values, seed: int) -> Iterator[np.ndarray]:
        """What each digit is named after every epoch; a training run that broke names them all alike."""
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
        step = 0
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
            yield self._named(model)

    def _named(self, model: Any) -> np.ndarray:
        """Zero-shot, over both eyes of the validation patients."""
        import torch

        from retclip.core.preprocessing import CLIP
        from retclip.loading.augmentation import to_model_input

        model.eval()
        with torch.inference_mode():
            images = to_model_input(self.images[:, TRAIN:].flatten(0, 1), False, CLIP)
            _, *eyes = model.encode_eyes(*images.chunk(2))
            named = []
            for eye, view in zip(eyes, ("left", "right"), strict=True):
                texts = model.encode_text(torch.arange(len(self.tokens))[:, None], None, view)
                classes = texts.view(len(WORDS), len(SENTENCES), -1).mean(1)
                named.append((eye @ torch.nn.functional.normalize(classes, dim=1).T).argmax(1))
        return torch.cat(named).numpy()


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
