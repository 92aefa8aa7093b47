"""The real hub client against a small hub of our own on the loopback: no address outside this machine is contacted."""

import json
import os
import subprocess
import sys

import pytest
import torch
from running import ENVIRONMENT, REPOSITORY
from small_hub import COMMIT, MODEL, WEIGHTS, SmallHub

from retclip.core.io import read_json


def clip_files() -> dict[str, bytes]:
    """What open_clip pushes of a CLIP."""
    import open_clip
    from safetensors.torch import save

    vision = {"layers": 1, "width": 32, "head_width": 32, "patch_size": 16, "image_size": 32}
    text = {"context_length": 8, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1}
    config = {"model_cfg": {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text},
              "preprocess_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "size": 32}}  # fmt: skip
    state = {name: value.contiguous() for name, value in open_clip.CLIP(24, vision, text).state_dict().items()}
    return {"open_clip_config.json": json.dumps(config).encode(), "open_clip_model.safetensors": save(state)}


def model_files() -> dict[str, bytes]:
    """A BERT repository as the hub has many: config, torch weights, a vocabulary and a file not to be fetched."""
    import io

    from transformers import BertConfig, BertModel

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "optic", "disc"]
    config = BertConfig(vocab_size=len(words), hidden_size=32, num_hidden_layers=1, num_attention_heads=1,
                        intermediate_size=32, max_position_embeddings=16)  # fmt: skip
    torch.manual_seed(0)
    weights = io.BytesIO()
    torch.save(BertModel(config, add_pooling_layer=False).state_dict(), weights)
    return {
        "config.json": config.to_json_string().encode(),
        "pytorch_model.bin": weights.getvalue(),
        "vocab.txt": "\n".join(words).encode(),
        "README.md": b"---\nlicense: mit\n---\n",
        **clip_files(),
        "evil.py": b"raise SystemExit('never fetched')",
    }


@pytest.fixture(scope="module")
def hub():
    with SmallHub(model_files()).serving() as hub:
        yield hub


def fetch(address: str, cache, revision: str, output) -> subprocess.CompletedProcess[str]:
    environment = {**ENVIRONMENT, "HF_ENDPOINT": address, "HF_HOME": str(cache), "HF_HUB_DISABLE_TELEMETRY": "1"}
    for name in ("HF_HUB_OFFLINE", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        environment.pop(name, None)
    command = [sys.executable, str(REPOSITORY / "scripts/fetch_text_encoder.py"), "--name", "tiny", "--source", MODEL]
    command += ["--revision", revision, "--output", str(output)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=os.fspath(cache))


@pytest.mark.slow
def test_fetch_text_encoder_from_a_hub(hub, tmp_path):
    done = fetch(hub.address, tmp_path, "main", tmp_path / "encoder")
    assert done.returncode == 0, done.stderr
    source = read_json(tmp_path / "encoder/source.json")
    assert source["revision"] == COMMIT
    assert source["license"] == "mit"
    assert (tmp_path / "encoder/model.safetensors").is_file()
    assert (tmp_path / "encoder/tokenizer.json").is_file()
    assert not any("evil.py" in path for path in hub.requested)


@pytest.mark.slow
def test_fetch_an_image_encoder_from_a_hub(hub, tmp_path):
    """Architecture, weights and preprocessing come from the repository, at the commit that its revision stands for."""
    environment = {**ENVIRONMENT, "HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_TELEMETRY": "1"}
    environment.pop("HF_HUB_OFFLINE", None)
    settings = {"architecture": f"hf-hub:{MODEL}", "weights": f"hf-hub:{MODEL}@main"}
    command = [sys.executable, str(REPOSITORY / "scripts/fetch_vision_weights.py"), "--settings", json.dumps(settings),
               "--image-size", "32", "--output", str(tmp_path / "out.safetensors")]  # fmt: skip
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "dropped 18 (" in done.stderr
    written = read_json(tmp_path / "out.json")
    assert written["source"] == {"name": MODEL, "revision": COMMIT, "license": "mit"}
    assert (written["encoder"]["mean"], written["encoder"]["native_size"]) == ([0.1, 0.2, 0.3], 32)
    assert not any("evil.py" in path for path in hub.requested)


@pytest.mark.slow
def test_an_unknown_revision_is_one_sentence(hub, tmp_path):
    done = fetch(hub.address, tmp_path, "missing", tmp_path / "encoder")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: model.text_encoders.tiny: {MODEL} at missing cannot be downloaded")
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["broken line", "busy", "other bytes"])
def test_a_faulty_hub(hub, tmp_path, fault):
    """The client tries again by itself, or the next run resumes; wrong bytes are never kept."""
    hub.faults[:] = [fault]
    first = fetch(hub.address, tmp_path, "main", tmp_path / "encoder")
    if fault == "other bytes":
        assert first.returncode == 1
        sentence = f"error: model.text_encoders.tiny: {WEIGHTS} of {MODEL} is not what the hub says"
        assert first.stderr.splitlines()[-1].startswith(sentence)
    if first.returncode:
        assert "Traceback" not in first.stderr
        assert not (tmp_path / "encoder/source.json").exists()
    second = fetch(hub.address, tmp_path, "main", tmp_path / "encoder")
    assert second.returncode == 0, second.stderr
    assert (tmp_path / "encoder/model.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["above", "absolute"])
def test_a_hub_that_lists_paths_outside_is_refused(hub, tmp_path, monkeypatch, kind):
    """What lies there is another file than the listing says, and such files are deleted to be fetched again."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    name = "../../../../victim" if kind == "above" else str(victim)
    lfs = {"sha256": "0" * 64, "size": 8, "pointerSize": 130}
    monkeypatch.setattr(hub, "lists", [{"rfilename": name, "size": 8, "lfs": lfs}])
    done = fetch(hub.address, tmp_path, "main", tmp_path / "encoder")
    assert victim.read_text() == "precious"
    assert done.returncode == 1
    assert "lists a file outside of itself" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "encoder").exists()


@pytest.mark.slow
def test_a_dataset_that_names_files_of_the_user_is_refused(tmp_path):
    """A table may name an image by its path; one from the hub must not name what lies on this machine."""
    import datasets
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "secret").write_text("secret")
    (tmp_path / "set/data").mkdir(parents=True)
    schema = datasets.Features({"image": datasets.Image()}).arrow_schema
    for path in (tmp_path / "secret", "../secret"):
        table = pa.table({"image": pa.array([{"bytes": None, "path": str(path)}], schema.field("image").type)}, schema)
        pq.write_table(table, tmp_path / "set/data/train-00000-of-00001.parquet")
        command = [sys.executable, str(REPOSITORY / "scripts/fetch_dataset.py"), "--source", str(tmp_path / "set")]
        command += ["--output", str(tmp_path / "out")]
        environment = {**ENVIRONMENT, "HF_HOME": str(tmp_path / "cache")}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path / "set")
        assert done.returncode == 1, done.stderr
        assert "outside of the data set" in done.stderr.splitlines()[-1]
        assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_no_network_is_one_sentence(tmp_path):
    done = fetch("http://127.0.0.1:9", tmp_path, "main", tmp_path / "encoder")
    assert done.returncode == 1
    assert "cannot be downloaded" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_fetch_a_dataset_and_build_its_prompts(tmp_path):
    """A data set as the hub has them, in parquet; read from a local folder by the library that reads the hub's."""
    import datasets
    import numpy as np
    from PIL import Image

    files = []
    for index in range(6):
        path = tmp_path / f"{index}.{'png' if index % 2 else 'jpg'}"
        Image.fromarray(np.full((20, 20, 3), 40 * index, np.uint8)).save(path)
        files.append({"bytes": path.read_bytes(), "path": path.name})
    table = datasets.Dataset.from_dict({"image": files, "label": list("aabbab")}).cast_column("image", datasets.Image())
    (tmp_path / "set/data").mkdir(parents=True)
    table.select(range(4)).to_parquet(tmp_path / "set/data/train-00000-of-00001.parquet")
    table.select(range(4, 6)).to_parquet(tmp_path / "set/data/test-00000-of-00001.parquet")
    command = [sys.executable, str(REPOSITORY / "scripts/fetch_dataset.py"), "--source", str(tmp_path / "set")]
    environment = {**ENVIRONMENT, "HF_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "out")], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert read_json(tmp_path / "out/source.json")["pictures"] == {"train": 4, "test": 2}
    assert (tmp_path / "out/train/1.png").read_bytes() == (tmp_path / "1.png").read_bytes()
    assert (tmp_path / "out/test/0.jpg").is_file()
    wrong = subprocess.run([*command, "--image-column", "label", "--output", str(tmp_path / "no")], env=environment,
                           capture_output=True, text=True)  # fmt: skip
    assert wrong.returncode == 1
    assert wrong.stderr.splitlines()[-1].startswith("error: data.hub_dataset.image_column: label is no column")
