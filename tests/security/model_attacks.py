"""Model folders, weights files and encoders of strangers: sizes that nothing holds, links that lead away, hub names."""

import json
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from security.attacks import Attack, begin

from retclip.core.logs import run_entry

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "optic", "disc"]
SIZES = {"vocab_size": len(WORDS), "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1,
         "intermediate_size": 32, "max_position_embeddings": 16}  # fmt: skip
IMAGE_ENCODER = {"layers": 1, "width": 32, "head_width": 32, "patch_size": 16, "embed_dim": 24}


def bert(folder: Path) -> None:
    """A folder of Hugging Face's with the smallest BERT."""
    import torch
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel

    folder.mkdir(parents=True)
    torch.manual_seed(0)
    BertModel(BertConfig(**SIZES), add_pooling_layer=False).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertWordPieceTokenizer(str(folder / "vocab.txt"), lowercase=True).save(str(folder / "tokenizer.json"))


def model(folder: Path) -> None:
    """An exported model of the smallest sizes."""
    from safetensors.torch import save_file

    from retclip.core.preprocessing import CLIP
    from retclip.models.image_encoder import build_image_encoder
    from retclip.models.retclip import RetClip
    from retclip.models.text_encoder import load_text_encoder

    bert(folder / "text")
    visual, embed_dim = build_image_encoder(IMAGE_ENCODER, 32)
    whole = RetClip(visual, load_text_encoder(folder / "text"), embed_dim)
    state = {name: tensor.contiguous() for name, tensor in whole.state_dict().items()}
    save_file({name.removeprefix("visual."): value for name, value in state.items() if name.startswith("visual.")},
              folder / "vision.safetensors")  # fmt: skip
    save_file({name: value for name, value in state.items() if not name.startswith(("visual.", "bert."))},
              folder / "heads.safetensors")  # fmt: skip
    change(folder / "model.json", image_encoder=IMAGE_ENCODER, image_size=32, embed_dim=24, head_depth=2)
    change(folder / "preprocessing.json", image_size=32, mean=CLIP.mean, std=CLIP.std, interpolation="bicubic",
           native_size=32, image_encoding="raw", context_length=16, truncation_side="right", text_pooling="cls",
           precision="fp32", heads=["left", "right", "patient"])  # fmt: skip
    change(folder / "class_prompts.json", a=["optic"], b=["disc"])


def copied(make: Callable[[Path], None], folder: Path) -> None:
    """What `make` makes, made once for all attacks."""
    template = folder.parents[1] / f"{make.__name__}.template"
    if not template.is_dir():
        make(folder.with_name("new"))
        folder.with_name("new").rename(template)
    shutil.copytree(template, folder)


def change(path: Path, **values: Any) -> None:
    content = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**content, **values}))


def predicted(harm: Callable[[Path], None]) -> Callable[[Path], None]:
    """predict.py with a model folder of which a stranger has changed something."""

    def work(folder: Path) -> None:
        import predict

        copied(model, folder / "model")
        Image.new("RGB", (64, 64), (200, 90, 40)).save(folder / "1_left.png")
        harm(folder / "model")
        begin()
        arguments = ["--model-dir", folder / "model", "--output", folder / "out.csv", "--device", "cpu",
                     folder / "1_left.png"]  # fmt: skip
        run_entry(predict.main, [str(argument) for argument in arguments])

    return work


def with_json(name: str, **values: Any) -> Callable[[Path], None]:
    return predicted(lambda folder: change(folder / name, **values))


def image_encoder(**values: Any) -> Callable[[Path], None]:
    return with_json("model.json", image_encoder=values)


def written(name: str, content: bytes) -> Callable[[Path], None]:
    def harm(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).write_bytes(content)

    return predicted(harm)


def piped(name: str) -> Callable[[Path], None]:
    def harm(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return predicted(harm)


def encoder(harm: Callable[[Path], None]) -> Callable[[Path], None]:
    """fetch_text_encoder of a folder of which a stranger has changed something."""

    def work(folder: Path) -> None:
        import fetch_text_encoder

        copied(bert, folder / "theirs")
        harm(folder / "theirs")
        begin()
        run_entry(
            fetch_text_encoder.main,
            ["--name", "theirs", "--source", str(folder / "theirs"), "--output", str(folder / "ours")],
        )

    return work


def linked(name: str) -> Callable[[Path], None]:
    def harm(folder: Path) -> None:
        secret = folder.parent / "secret"
        shutil.move(folder / name, secret)
        (folder / name).symlink_to(secret)

    return encoder(harm)


def weights(content: Callable[[Path], None], name: str = "theirs.pth") -> Callable[[Path], None]:
    """fetch_vision_weights of a stranger's file."""

    def work(folder: Path) -> None:
        import fetch_vision_weights

        content(folder / name)
        begin()
        settings = {**IMAGE_ENCODER, "weights": str(folder / name)}
        run_entry(fetch_vision_weights.main, ["--settings", json.dumps(settings), "--image-size", "32", "--output",
                                              str(folder / "ours.safetensors")])  # fmt: skip

    return work


def saved(state: Callable[[Any], Any]) -> Callable[[Path], None]:
    def content(path: Path) -> None:
        import torch

        torch.save(state(torch), path)

    return content


def deflated_weights(path: Path) -> None:
    """A torch file of 1 MB whose one tensor unfolds to 1 GB."""
    import torch

    torch.save({"conv1.weight": torch.zeros(4)}, path)
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in entries.items():
            if "/data/" in name:
                archive.writestr(name, bytes(1 << 30), zipfile.ZIP_DEFLATED, 9)
            else:
                archive.writestr(name, value)


class Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch ran",)


def safetensors(header: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header


def huge_tensor() -> bytes:
    return safetensors(json.dumps({"x": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode())


SIZE = "error: .*(size|sizes|layers|must|most)"
WEIGHTS = "error: .*safetensors"
NOBODY_IS_ASKED = r"(?s)\A(?!.*Do you wish).*error: "
TOO_LARGE = "error: .*(takes more memory than|timm cannot build)"
NOT_MODEL = r"error: .*(model\.json|preprocessing\.json|class_prompts\.json)"
ATTACKS = {
    "model.json with image_size 60000": Attack(with_json("model.json", image_size=60_000), NOT_MODEL),
    "model.json with 10^7 layers": Attack(image_encoder(**{**IMAGE_ENCODER, "layers": 10**7}), NOT_MODEL),
    "model.json with a width of 10^6": Attack(image_encoder(**{**IMAGE_ENCODER, "width": 10**6 * 32}), NOT_MODEL),
    "model.json with embed_dim 10^9": Attack(with_json("model.json", embed_dim=10**9), NOT_MODEL),
    "model.json with head_depth 10^7": Attack(with_json("model.json", head_depth=10**7), NOT_MODEL),
    "model.json that names a repository of the hub": Attack(
        image_encoder(architecture="hf-hub:someone/evil", embed_dim=24), "error: .*hf-hub:someone/evil"
    ),
    "model.json that names another folder, in which a pipe is": Attack(
        predicted(lambda folder: [(folder.parent / "other").mkdir(),
                                  os.mkfifo(folder.parent / "other/open_clip_config.json"),
                                  change(folder / "model.json", image_encoder={"architecture": "local-dir:other"})]),
        "error: .*local-dir:other", seconds=15,
    ),
    "model.json with timm_name hf-hub:": Attack(
        image_encoder(architecture="timm/x", timm_name="hf-hub:someone/evil", embed_dim=24), NOT_MODEL
    ),
    "model.json with timm's checkpoint_path": Attack(
        image_encoder(architecture="timm/resnet10t", timm_arguments={"checkpoint_path": "/etc/passwd"}), NOT_MODEL
    ),
    "model.json with an open_clip_config that names the hub": Attack(
        image_encoder(architecture="x", open_clip_config={
            "embed_dim": 24, "vision_cfg": {"timm_model_name": "hf-hub:someone/evil", "timm_pool": "avg"}
        }),
        NOT_MODEL,
    ),
    "model.json with an open_clip_config of 10^7 layers": Attack(
        image_encoder(architecture="x", open_clip_config={"embed_dim": 24, "vision_cfg": {"layers": 10**7}}),
        NOT_MODEL,
    ),
    "model.json with 200 layers of a width of 16,384": Attack(
        image_encoder(**{**IMAGE_ENCODER, "layers": 200, "width": 16_384}), TOO_LARGE, megabytes=800
    ),
    "model.json with a timm network of 90,000 layers": Attack(
        image_encoder(architecture="timm/vit_tiny_patch16_224", timm_arguments={"depth": 90_000}), TOO_LARGE,
        megabytes=800,
    ),
    "model.json with heads of 20 layers of 65,536": Attack(
        predicted(lambda folder: change(folder / "model.json", embed_dim=65_536, head_depth=20, image_encoder={
            **IMAGE_ENCODER, "embed_dim": 65_536})), TOO_LARGE, megabytes=800
    ),
    "model.json without a patch size": Attack(
        image_encoder(**{key: value for key, value in IMAGE_ENCODER.items() if key != "patch_size"}),
        "error: .*patch_size",
    ),
    "model.json that is a list": Attack(written("model.json", b"[1, 2]"), NOT_MODEL),
    "model.json nested 10^5 deep": Attack(written("model.json", b"[" * 100_000), NOT_MODEL),
    "preprocessing.json without keys": Attack(written("preprocessing.json", b"{}"), NOT_MODEL),
    "preprocessing.json with image_size 60000": Attack(with_json("preprocessing.json", image_size=60_000), NOT_MODEL),
    "preprocessing.json with context_length 10^9": Attack(
        with_json("preprocessing.json", context_length=10**9), NOT_MODEL
    ),
    "preprocessing.json that is a pipe": Attack(piped("preprocessing.json"), "error: .*preprocessing.json: is a pipe"),
    "class_prompts.json of numbers": Attack(with_json("class_prompts.json", a=5), NOT_MODEL),
    "class_prompts.json with 10^6 classes": Attack(
        written("class_prompts.json", json.dumps({str(i): ["x"] for i in range(10**6)}).encode()), NOT_MODEL
    ),
    "vision.safetensors that is a pipe": Attack(piped("vision.safetensors"), WEIGHTS),
    "vision.safetensors with a header of 2^60 bytes": Attack(
        written("vision.safetensors", safetensors(b"{}", 1 << 60)), WEIGHTS
    ),
    "vision.safetensors with a tensor of 4 TB": Attack(written("vision.safetensors", huge_tensor()), WEIGHTS),
    "vision.safetensors that is empty": Attack(written("vision.safetensors", b""), WEIGHTS),
    "heads.safetensors cut short": Attack(written("heads.safetensors", safetensors(b'{"a": ', 500)), WEIGHTS),
    "heads.safetensors of other shapes": Attack(
        written("heads.safetensors", safetensors(
            b'{"logit_scale":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}}') + bytes(12)), WEIGHTS
    ),
    "text encoder with 10^7 layers": Attack(
        encoder(lambda folder: change(folder / "config.json", num_hidden_layers=10**7)), "error: .*num_hidden_layers"
    ),
    "text encoder with a vocabulary of 10^9": Attack(
        encoder(lambda folder: change(folder / "config.json", vocab_size=10**9)), "error: .*vocab_size"
    ),
    "text encoder larger than its weights": Attack(
        encoder(lambda folder: change(folder / "config.json", hidden_size=4096, intermediate_size=16384,
                                      num_hidden_layers=40)), "error: "
    ),
    "text encoder within an exported model, 10^7 layers": Attack(
        predicted(lambda folder: change(folder / "text/config.json", num_hidden_layers=10**7)),
        "error: .*num_hidden_layers",
    ),
    "text encoder that is timm's, of the hub": Attack(
        encoder(lambda folder: change(folder / "config.json", model_type="timm_wrapper",
                                      architecture="hf-hub:someone/evil")), "error: "
    ),
    # nor is anybody asked whether to run it
    "text encoder with code of its own": Attack(
        encoder(lambda folder: change(folder / "config.json", model_type="evil",
                                      auto_map={"AutoConfig": "evil.Config"})), NOBODY_IS_ASKED
    ),
    "tokenizer with code of its own": Attack(
        encoder(lambda folder: [(folder / "tokenizer.json").unlink(), (folder / "vocab.txt").unlink(),
                                (folder / "spm.model").write_bytes(b"x"),
                                change(folder / "tokenizer_config.json", tokenizer_class="Evil",
                                       auto_map={"AutoTokenizer": ["evil.Tokenizer", None]})]), NOBODY_IS_ASKED
    ),
    "text encoder whose config is a link away": Attack(linked("config.json"), "error: .*symbolic link"),
    "text encoder whose weights are a link away": Attack(linked("model.safetensors"), "error: .*symbolic link"),
    "text encoder whose tokenizer is a link away": Attack(linked("tokenizer.json"), "error: .*symbolic link"),
    "tokenizer.json that is nonsense": Attack(
        encoder(lambda folder: (folder / "tokenizer.json").write_text('{"model": 5}')), "error: .*tokenizer"
    ),
    "tokenizer.json that makes its reader panic": Attack(
        encoder(lambda folder: change(folder / "tokenizer.json", normalizer={
            "type": "Precompiled", "precompiled_charsmap": "AAAA"})), "error: .*tokenizer"
    ),
    "weights that run code": Attack(weights(lambda path: path.write_bytes(pickle.dumps(Runs()))), "error: .*weights"),
    "weights that unfold to 1 GB": Attack(weights(deflated_weights), "error: .*unfold"),
    "weights with a tensor of 10^18 numbers in four bytes": Attack(
        weights(saved(lambda torch: {"conv1.weight": torch.zeros(1).expand(10**9, 10**9)})), "error: "
    ),
    "weights with a sparse tensor of 10^12 numbers": Attack(
        weights(saved(lambda torch: {"conv1.weight": torch.sparse_coo_tensor([[0], [0]], [1.0], (10**6, 10**6))})),
        "error: ",
    ),
    "weights in 900 wrappers": Attack(
        weights(lambda path: path.write_bytes(b"\x80\x02" + b"}X\5\0\0\0model" * 900 + b"}" + b"s" * 900 + b".")),
        "error: ",
    ),
    "weights of a name with 300 letters": Attack(
        lambda folder: _named(folder, "w" * 300 + ".pth"), "error: .*w: no such file"
    ),
}  # fmt: skip


def _named(folder: Path, name: str) -> None:
    import fetch_vision_weights

    begin()
    settings = {**IMAGE_ENCODER, "weights": str(folder / name)}
    run_entry(fetch_vision_weights.main, ["--settings", json.dumps(settings), "--image-size", "32", "--output",
                                          str(folder / "ours.safetensors")])  # fmt: skip
