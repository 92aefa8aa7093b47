"""One optimiser step as trials take it, beside the plain one, on one core; 2 of 12 layers of ViT-B/16 and BERT-base.

Plain: fp32, one call of the image tower for each eye, texts padded to the context length, a missing eye shown and
encoded twice, AdamW parameter by parameter. Both get the same samples in the same order, without dropout; the loss
curves are compared on thirty steps of smaller towers.
"""

from pathlib import Path

import numpy as np
import torch
from figures import Figure, in_turn, speed_up
from running import declared_defaults
from shapes import CONTEXT, VIT_B_16, model, samples, tokenize, write_fingerprint, write_split

BATCH, LAYERS, ROUNDS = 16, 2, 3
CURVE_STEPS = 30
TOLERANCE = 0.03  # of the first loss, in any step
VALUES = {**declared_defaults(), "learning_rate": 1e-5, "weight_decay": 0.2, "optimizer": "adamw"}
CPU = torch.device("cpu")


def measure(folder: Path) -> list[Figure]:
    """Steps of a full fine-tune on two-eye and on single-eye data, and how far the loss curves lie apart."""
    from retclip.loading.dataset import Split

    splits = {}
    for eyes in ("both", "left"):
        frame = samples(2 * BATCH, eyes)
        write_split(folder / eyes, "train", frame, 4 * BATCH)
        fingerprint = write_fingerprint(folder / eyes, {"train": frame})
        splits[eyes] = Split(folder / eyes, "train", fingerprint, tokenize, CONTEXT)
    image_encoder = {**VIT_B_16, "layers": LAYERS}
    plain, ours = (Training(model(image_encoder, LAYERS, 0.0), way) for way in ("plain", "ours"))
    fp32 = Training(ours.net, "ours fp32")
    indices = np.arange(BATCH)
    ways = {
        f"{name} {eyes}": lambda training=training, eyes=eyes: training.step(splits[eyes], indices)
        for eyes in splits
        for name, training in (("plain", plain), ("fp32", fp32), ("bf16", ours))
    }
    for work in ways.values():
        work()
    seconds = in_turn(ways, ROUNDS)
    each = (BATCH, BATCH)
    return [
        speed_up("step: fp32, two eyes", seconds["fp32 both"], seconds["plain both"], None, each),
        speed_up("step: everything on, two eyes", seconds["bf16 both"], seconds["plain both"], ">= 2.2", each),
        speed_up("step: fp32, single eye", seconds["fp32 left"], seconds["plain left"], None, each),
        speed_up("step: everything on, single eye", seconds["bf16 left"], seconds["plain left"], ">= 3.5", each),
        *(_unmasked(plain.net.bert, length) for length in (32, CONTEXT)),
        _curves(splits["both"]),
    ]


class Training:
    """way: plain, ours (everything on) or ours fp32."""

    def __init__(self, net, way: str, learning_rate: float = VALUES["learning_rate"]) -> None:
        from retclip.training.optimizer import BETAS, EPSILON, build_optimizer

        self.net, self.way = net.train(), way
        values = {**VALUES, "learning_rate": learning_rate}
        if way == "plain":
            self.optimizer = torch.optim.AdamW(net.parameters(), learning_rate, BETAS, EPSILON, foreach=False)
        else:
            self.optimizer = build_optimizer(net, values)

    def step(self, split, indices: np.ndarray) -> float:
        from retclip.models.encode import encode_batch
        from retclip.models.loss import tripartite_loss
        from retclip.training.gradient_cache import backward

        self.optimizer.zero_grad()
        left, right = torch.from_numpy(split.present[indices]).unbind(1)
        if self.way == "plain":
            loss = tripartite_loss(_plain_outputs(self.net, split, indices), left, right)["total"]
            loss.backward()
        else:

            def encode(batch):
                with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.way == "ours"):
                    return encode_batch(self.net, batch, augment=False)

            def loss_of(outputs):
                return tripartite_loss(outputs, left, right)["total"]

            loss = backward(encode, [split.batch(indices, CPU)], [0], loss_of)
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        self.net.clamp_logit_scales()
        return loss.item()


def _plain_outputs(net, split, indices: np.ndarray) -> dict[str, torch.Tensor]:
    from torch.nn import functional

    from retclip.core.preprocessing import CLIP
    from retclip.loading.augmentation import to_model_input

    names = split.frame["sample_id"].to_numpy()[indices]
    eyes = split.frame["eyes"].to_numpy()[indices]
    images = [torch.from_numpy(split.store.get_many([f"{name}/{side if seen == 'both' else seen}"
                                                     for name, seen in zip(names, eyes, strict=True)]))
              for side in ("left", "right")]  # fmt: skip
    ids, mask = tokenize([split.texts["patient"][i] for i in indices], CONTEXT)
    ids, mask = (functional.pad(part, (0, CONTEXT - part.shape[1])) for part in (ids, mask))
    left, right = (net.visual(to_model_input(image, False, CLIP)) for image in images)
    token = net.pooled_text(ids, mask)
    return net.outputs(left, right, dict.fromkeys(("patient", "left", "right"), token))


def _unmasked(bert, length: int) -> Figure:
    """A forward and backward pass of the text encoder over texts of one length: what a kernel without masks could save
    at most, on this device."""
    ids = torch.randint(1000, 2000, (BATCH, length))
    mask = torch.ones(BATCH, 1, length, length, dtype=torch.bool)
    ways = {
        name: lambda given=given: bert(input_ids=ids, **given).last_hidden_state[:, 0].sum().backward()
        for name, given in (("masked", {"attention_mask": mask}), ("without", {}))
    }
    seconds = in_turn(ways, 1) and in_turn(ways, ROUNDS)
    name = f"text encoder: {length} tokens without a mask, beside a mask of none"
    return speed_up(name, seconds["without"], seconds["masked"], None, (BATCH, BATCH))


def _curves(split) -> Figure:
    """The largest difference between the losses of both ways in any step, as a share of the first loss."""
    small = {"layers": 2, "width": 128, "head_width": 64, "patch_size": 32, "embed_dim": 64}
    losses = []
    for way in ("plain", "ours"):
        training = Training(model(small, 1, 0.0), way, 1e-4)
        losses.append([training.step(split, np.arange(BATCH) + BATCH * (i % 2)) for i in range(CURVE_STEPS)])
    plain, ours = map(np.array, losses)
    assert plain[-1] < 0.8 * plain[0], "there must be something to learn in a curve that is compared"
    apart = float(np.abs(ours - plain).max() / plain[0])
    name = f"step: loss curves of {CURVE_STEPS} steps, plain and everything on, apart by"
    return Figure(name, apart, "of the first loss", goal=f"<= {TOLERANCE}")
