"""What a second thread is worth to a training step, by what is trained: random weights, images and texts, fp32.

Its seconds are those in which the step's own thread computes; while others do, it sleeps (OMP_WAIT_POLICY=passive).
So a busy machine gives what the clock would say on idle cores, but for their common memory.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from figures import Figure, speed_up
from running import ENVIRONMENT, REPOSITORY

BENCH = Path(__file__).resolve().parent
ROUNDS = 3
# what is trained -> samples of a step, and steps of a round
WORK = {
    "heads from features, batch 64": (64, 50),
    "the demo's model, batch 32": (32, 5),
    "the demo's model, batch 128": (128, 2),
    "EfficientNet-lite0 and MiniLM's shape, batch 16": (16, 1),
    "2 of 12 layers of ViT-B/16 and BERT-base, batch 8": (8, 1),
}


def measure(folder: Path) -> list[Figure]:
    """A step with two threads beside one with one."""
    places = map(str, (BENCH, BENCH.parent, REPOSITORY / "scripts"))
    environment = {**ENVIRONMENT, "OMP_WAIT_POLICY": "passive", "PYTHONPATH": os.pathsep.join(places)}
    found = []
    for number, (name, work) in enumerate(WORK.items()):
        command = [sys.executable, "-c", "import sys, threads; threads.train(*sys.argv[1:])"]
        done = subprocess.run([*command, folder / str(number), name], env=environment, check=True, capture_output=True)
        one, two = json.loads(done.stdout)
        samples = work[0] * work[1]
        found.append(speed_up(f"a second thread: a step of {name}", two, one, None, (samples, samples)))
    return found


def train(place: str, name: str) -> None:
    """Prints the seconds of each round with one thread, and with two."""
    import numpy as np
    import torch
    from shapes import (
        CONTEXT,
        IMAGE_SIZE,
        VIT_B_16,
        WORDS,
        bert_base,
        samples,
        tokenize,
        write_fingerprint,
        write_split,
    )
    from stepping import CPU, LAYERS, Training
    from transformers import BertConfig, BertModel

    from retclip.loading.dataset import Split
    from retclip.loading.device import prepare_device
    from retclip.models.image_encoder import build_image_encoder
    from retclip.models.retclip import RetClip

    def bert(words: int, hidden: int, layers: int, heads: int) -> BertModel:
        sizes = {"hidden_size": hidden, "intermediate_size": 4 * hidden}
        config = BertConfig(vocab_size=words, num_hidden_layers=layers, num_attention_heads=heads, **sizes)
        return BertModel(config, add_pooling_layer=False)

    folder, (batch, steps) = Path(place), WORK[name]
    size, words, features = IMAGE_SIZE, WORDS, None
    if name.startswith("the demo"):
        size, words = 64, 800
        settings, text = {"architecture": "timm/demo_conv", "embed_dim": 128}, bert(words, 64, 2, 1)
    elif name.startswith("EfficientNet"):
        settings, text = {"architecture": "timm/tf_efficientnet_lite0", "embed_dim": 512}, bert(words, 384, 6, 12)
    elif name.startswith("heads"):
        settings, text = {"architecture": "timm/tf_efficientnet_lite0", "embed_dim": 512}, bert(words, 768, 1, 12)
        features = {"train.eyes": torch.randn(2 * batch, 1280), "train.texts": torch.randn(batch, 768)}
    else:
        settings, text = {**VIT_B_16, "layers": LAYERS}, bert_base(LAYERS)

    def known_words(texts: list[str], length: int) -> tuple[torch.Tensor, torch.Tensor]:
        ids, mask = tokenize(texts, length)
        return ids % words, mask

    prepare_device(CPU, "fp32")
    frame = samples(batch, "both")
    write_split(folder, "train", frame, 2 * batch, size)
    split = Split(folder, "train", write_fingerprint(folder, {"train": frame}), known_words, CONTEXT, frozen=features)
    net = RetClip(build_image_encoder(settings, size)[0], text, settings["embed_dim"])
    if features:
        net.freeze("both")
    training = Training(net, "ours fp32")
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(1 + ROUNDS):
        for threads, found in seconds.items():
            torch.set_num_threads(threads)
            before = time.thread_time()
            for _ in range(steps):
                training.step(split, np.arange(batch))
            found.append(time.thread_time() - before)
    print(json.dumps([found[1:] for found in seconds.values()]))
