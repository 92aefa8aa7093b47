"""A GPU's share of its peak in a full fine-tune's step, beside a plain-PyTorch copy of upstream's step.

  python tests/bench/gpu.py                      every case, on one GPU; never run to its end: 8 s a row at --seconds 3
  python tests/bench/gpu.py --tiny               the same code on a CPU with small shapes, to see that it runs

Needs torch, torchvision, transformers, timm, open_clip, lmdb, pandas and pyarrow; reads no data. Shapes of ViT-B-16 and
BERT-base with random weights; random pictures and texts of realistic lengths (47 tokens on average, 77 at most). FLOPs
are counted from the shapes, without padding: a step is three times its forward pass. "Upstream's" step is fp16 autocast
with a GradScaler, texts padded to 100, one call of the image tower per eye, fp32 pictures from the host in each step,
which that host also normalises: in upstream that is a worker's work.
"""

# ruff: noqa: E402, our folders must be known before their modules are imported

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
sys.path[:0] = [str(HERE), str(REPOSITORY / "scripts")]

import numpy as np
import shapes
import torch
from torch.nn import functional

from retclip.checks.speed import matmul_peak, wait_for
from retclip.core.gpu_lease import lease
from retclip.core.preprocessing import CLIP
from retclip.loading.augmentation import to_model_input
from retclip.loading.dataset import Split, prefetch
from retclip.loading.device import choose_device, prepare_device
from retclip.models.encode import encode_batch
from retclip.models.loss import tripartite_loss
from retclip.training.compiled_steps import compile_encoders, failures_named
from retclip.training.gradient_cache import backward
from retclip.training.optimizer import BETAS, EPSILON, build_optimizer

UPSTREAM_CONTEXT = 100
COMPILED_BATCH = 256
VALUES = {"learning_rate": 1e-5, "weight_decay": 0.2, "optimizer": "adamw", "layer_decay": 1.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="small shapes, on whatever device there is")
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 128, 256, 512, 1024])
    parser.add_argument("--seconds", type=float, default=10, help="per case (default: 10)")
    parser.add_argument("--output", type=Path, default=Path(os.environ.get("OUT", "results/bench")) / "gpu.json")
    options = parser.parse_args()
    lease("auto")
    if not options.tiny and not torch.cuda.is_available():
        sys.exit("error: torch sees no GPU here; --tiny runs the same code on the CPU, to see that it runs.")
    device = choose_device("auto")
    image_encoder, layers = shapes.VIT_B_16, 12
    if options.tiny:
        image_encoder, layers = {**image_encoder, "layers": 1, "width": 64, "patch_size": 32}, 1
        options.batches, options.seconds = [8], 0.5
    prepare_device(device, "bf16")
    peak = matmul_peak(device, "bf16")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}: bf16 matmul {peak / 1e12:.4g} TFLOP/s", flush=True)
    columns = ("step", "batch", "eyes", "samples/s", "spread", "share of peak", "first step, s")
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|", flush=True)
    rows = []
    for eyes in ("both", "left"):
        with tempfile.TemporaryDirectory() as folder:
            splits = _splits(Path(folder), max(options.batches), eyes, device)
            for batch in options.batches:
                # once is enough: the same kernels serve every batch
                compiled = ("compiled",) * (eyes == "both" and (options.tiny or batch == COMPILED_BATCH))
                for step in ("upstream", "streamed", "held", *compiled, "frozen"):
                    row = _case(step, batch, eyes, splits, image_encoder, layers, device, options.seconds, peak,
                                Path(folder))  # fmt: skip
                    rows.append(row)
                    shown = row["failed"] or f"{row['samples_per_second']:.4g}"
                    share = "" if row["share_of_peak"] is None else f"{row['share_of_peak']:.1%}"
                    first = "" if row["first_step_seconds"] is None else f"{row['first_step_seconds']:.3g}"
                    spread = "" if row["spread"] is None else "{:.4g} to {:.4g}".format(*row["spread"])
                    print(f"| {step} | {batch} | {eyes} | {shown} | {spread} | {share} | {first} |", flush=True)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps({"device": name, "torch": torch.__version__, "matmul_peak": peak,
                                          "rows": rows}, indent=1) + "\n")  # fmt: skip


def _splits(folder: Path, batch: int, eyes: str, device: torch.device) -> dict[str, Split]:
    """streamed from the store in each step, held on the device, and features of frozen towers."""
    frame = shapes.samples(2 * batch, eyes)
    pictures = len(frame) * (2 if eyes == "both" else 1)
    features = {"train.eyes": torch.randn(pictures, 512), "train.texts": torch.randn(len(frame), 768)}
    made = {}
    for name, frozen in (("streamed", None), ("held", None), ("frozen", features)):
        # lmdb opens a file once in a process
        shapes.write_split(folder / name, "train", frame, pictures if frozen is None else 1)
        fingerprint = shapes.write_fingerprint(folder / name, {"train": frame})
        made[name] = Split(folder / name, "train", fingerprint, shapes.tokenize, shapes.CONTEXT, frozen=frozen)
    made["held"].cache_on_device(device)
    made["frozen"].cache_on_device(device)
    return made


def _case(
    step: str,
    batch: int,
    eyes: str,
    splits: dict[str, Split],
    image_encoder: dict,
    layers: int,
    device: torch.device,
    seconds: float,
    peak: float,
    folder: Path,
) -> dict:
    """One row of the table: samples a second (median of windows), or why the step `failed`: memory does not hold the
    batch, or torch cannot compile it."""
    row = {"step": step, "batch": batch, "eyes": eyes, "samples_per_second": None, "spread": None,
           "share_of_peak": None, "first_step_seconds": None, "failed": None}  # fmt: skip
    split = splits[{"upstream": "streamed", "compiled": "held"}.get(step, step)]
    try:
        net = shapes.model(image_encoder, layers).to(device)
        if step == "frozen":
            net.freeze("both")
        if step == "compiled":
            compile_encoders(net, device, folder)
        net.train()
        order = np.random.default_rng(0).permutation(len(split))
        draws = (np.roll(order, number * batch)[:batch] for number in count())
        make = _upstream_step if step == "upstream" else _our_step
        with failures_named(step == "compiled"), closing(make(net, split, device, draws)) as steps:
            first, speeds = _speeds(steps, batch, device, seconds)
    except torch.OutOfMemoryError:
        return {**row, "failed": "out of memory"}
    except ValueError as error:  # of failures_named
        return {**row, "failed": str(error).replace("|", " ")}
    finally:
        net = steps = None
        if device.type == "cuda":
            torch.cuda.empty_cache()
    row["first_step_seconds"] = first
    row["samples_per_second"] = statistics.median(speeds)
    row["spread"] = [min(speeds), max(speeds)]
    if step != "frozen":
        row["share_of_peak"] = row["samples_per_second"] * _flops(image_encoder, layers, eyes) / peak
    return row


def _our_step(net, split: Split, device: torch.device, draws: Iterable[np.ndarray]) -> Iterator[None]:
    """As Trainer takes it: a GPU's next batch is read while it computes."""
    optimizer = build_optimizer(net, VALUES)

    def encode(batch: dict) -> dict[str, torch.Tensor]:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            return encode_batch(net, batch, augment=True)

    def read(indices: np.ndarray) -> dict:
        return split.batch(indices, device)

    for batch in prefetch(read, draws) if device.type == "cuda" else map(read, draws):
        left, right = batch["present"].unbind(1)
        optimizer.zero_grad(set_to_none=True)
        # the lambda is done with before the next batch
        backward(encode, [batch], [1], lambda out: tripartite_loss(out, left, right)["total"])  # noqa: B023
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        net.clamp_logit_scales()
        yield


def _upstream_step(net, split: Split, device: torch.device, draws: Iterable[np.ndarray]) -> Iterator[None]:
    optimizer = torch.optim.AdamW(net.parameters(), VALUES["learning_rate"], BETAS, EPSILON)
    half = torch.float16 if device.type == "cuda" else torch.bfloat16
    scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")
    names, seen = split.frame["sample_id"].to_numpy(), split.frame["eyes"].iloc[0]
    sides = ("left", "right") if seen == "both" else (seen, seen)

    for indices in draws:
        # the loader is not what is measured here: its pictures are only normalised, on the host
        images = [to_model_input(torch.from_numpy(split.store.get_many([f"{name}/{side}" for name in names[indices]])),
                                 False, CLIP).to(device) for side in sides]  # fmt: skip
        ids, mask = shapes.tokenize([split.texts["patient"][i] for i in indices], shapes.CONTEXT)
        ids, mask = (functional.pad(part, (0, UPSTREAM_CONTEXT - part.shape[1])).to(device) for part in (ids, mask))
        optimizer.zero_grad()
        with torch.autocast(device.type, dtype=half):
            left, right = (net.visual(image) for image in images)
            tokens = dict.fromkeys(("patient", "left", "right"), net.pooled_text(ids, mask))
            loss = tripartite_loss(net.outputs(left, right, tokens))["total"]
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        net.clamp_logit_scales()
        loss.item()
        yield


def _speeds(steps: Iterator[None], batch: int, device: torch.device, seconds: float) -> tuple[float, list[float]]:
    """Seconds of the first step, and samples a second in up to five windows after some more to warm up."""
    begun = time.monotonic()
    next(steps)
    wait_for(device)
    first, begun = time.monotonic() - begun, time.monotonic()
    next(steps)
    while time.monotonic() - begun < seconds / 5:
        next(steps)
        wait_for(device)
    speeds, begun = [], time.monotonic()
    while len(speeds) < 5 and (time.monotonic() - begun < seconds or not speeds):
        wait_for(device)
        started, done = time.monotonic(), 0
        while done < 2 or time.monotonic() - started < seconds / 5:
            next(steps)
            _wait_rarely(device, done)
            done += 1
        wait_for(device)
        speeds.append(done * batch / (time.monotonic() - started))
    return first, speeds


def _wait_rarely(device: torch.device, done: int) -> None:
    """The host must not run minutes ahead of the clock that ends a window."""
    if done % 8 == 7:
        wait_for(device)


def _flops(image_encoder: dict, layers: int, eyes: str) -> float:
    """Of one sample's step: three forward passes of what must be encoded, without padding."""
    places = (shapes.IMAGE_SIZE // image_encoder["patch_size"]) ** 2 + 1
    picture = (
        _tower(image_encoder["layers"], image_encoder["width"], places)
        + 2 * places * 3 * image_encoder["patch_size"] ** 2 * image_encoder["width"]
    )
    text = _tower(layers, 768, shapes.MEAN_TOKENS)
    return 3 * ((2 if eyes == "both" else 1) * picture + text)


def _tower(layers: int, width: int, length: float) -> float:
    """Multiplications and additions of a transformer with MLPs of four times its width."""
    return layers * (2 * length * 12 * width**2 + 4 * length**2 * width)


if __name__ == "__main__":
    main()
