"""The real hub client against a small hub of our own on the loopback: no address outside this machine is contacted."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from running import ENVIRONMENT, REPOSITORY, snakemake
from small_hub import COMMIT, MODEL, WEIGHTS, SmallHub

from retclip.core.fetched import carry, fetched_lines
from retclip.core.hub import fetch_snapshot
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
                        intermediate_size=32, max_position_embeddings=128)  # fmt: skip
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


OFFLINE = {**ENVIRONMENT, "HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_DISABLE_TELEMETRY": "1"}


def fetch_offline(cache, output, revision="main"):
    command = [sys.executable, str(REPOSITORY / "scripts/fetch_text_encoder.py"), "--name", "tiny", "--source", MODEL]
    command += ["--revision", revision, "--output", str(output)]
    return subprocess.run(command, env={**OFFLINE, "HF_HOME": str(cache)}, capture_output=True, text=True)


@pytest.fixture(scope="module")
def cache(hub, tmp_path_factory):
    """The client's cache after a fetch from the hub, as it may be copied to another machine; encoder/ is what came."""
    folder = tmp_path_factory.mktemp("cache")
    (folder / "here").mkdir()
    hub.faults.clear()
    assert fetch(hub.address, folder / "here", "main", folder / "encoder").returncode == 0
    return folder


@pytest.mark.slow
def test_offline_the_copied_cache_of_another_machine_serves_or_what_it_lacks_is_named(cache, tmp_path):
    copied = tmp_path / "copied"
    shutil.copytree(cache / "here", copied, symlinks=True)
    done = fetch_offline(copied, tmp_path / "encoder")
    assert done.returncode == 0, done.stderr
    assert read_json(tmp_path / "encoder/source.json")["revision"] == COMMIT
    for name in ("model.safetensors", "tokenizer.json"):
        assert (tmp_path / "encoder" / name).read_bytes() == (cache / "encoder" / name).read_bytes()
    weights = next(copied.rglob(WEIGHTS))
    blob = weights.resolve()
    content = blob.read_bytes()
    blob.write_bytes(content[:-64] + bytes(64))
    sentence = last_sentence(fetch_offline(copied, tmp_path / "other"))
    assert f"has a damaged {WEIGHTS} of {MODEL}; delete {blob}" in sentence
    weights.unlink()
    sentence = last_sentence(fetch_offline(copied, tmp_path / "other"))
    assert f"lacks model.safetensors or {WEIGHTS} of {MODEL} at main" in sentence
    next(copied.rglob("vocab.txt")).unlink()
    blob.write_bytes(content)
    weights.symlink_to(blob)
    assert "lacks tokenizer.json or vocab.txt or" in last_sentence(fetch_offline(copied, tmp_path / "other"))
    sentence = last_sentence(fetch_offline(tmp_path / "empty", tmp_path / "other", "v9"))
    assert f"HF_HUB_OFFLINE is set, and the hub's cache {tmp_path}/empty/hub has no {MODEL} at v9" in sentence
    assert not (tmp_path / "other").exists()


def last_sentence(done):
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_offline_any_file_that_the_hub_listed_is_missed(cache, tmp_path, monkeypatch):
    """Of a data set nobody can say beforehand which files it takes: the client remembers what the hub listed."""
    shutil.copytree(cache / "here", tmp_path / "copied", symlinks=True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "copied/hub"))
    asked = ("data.hub_dataset", "model", MODEL, "main", ["*.bin", "vocab.txt"])
    assert fetch_snapshot(*asked).commit == COMMIT
    next((tmp_path / "copied").rglob("vocab.txt")).unlink()
    with pytest.raises(ValueError, match=r"lacks vocab\.txt of someone/tiny-bert at main; fetch it where"):
        fetch_snapshot(*asked)


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "weights"), [("ViT-B-32", "laion2b_s34b_b79k"), ("timm/resnet10t", "timm")])
def test_offline_weights_of_a_library_that_the_cache_lacks_are_one_sentence(tmp_path, architecture, weights):
    settings = json.dumps({"architecture": architecture, "weights": weights, "embed_dim": 64})
    command = [sys.executable, str(REPOSITORY / "scripts/fetch_vision_weights.py"), "--settings", settings]
    done = subprocess.run([*command, "--image-size", "64", "--output", str(tmp_path / "out.safetensors")],
                          env={**OFFLINE, "HF_HOME": str(tmp_path)}, capture_output=True, text=True)  # fmt: skip
    assert "HF_HUB_OFFLINE is set, and the hub's cache" in last_sentence(done)


@pytest.mark.slow
def test_a_mirror_that_does_not_answer_is_named(tmp_path):
    assert "check the name and HF_ENDPOINT=http://127.0.0.1:9," in last_sentence(
        fetch("http://127.0.0.1:9", tmp_path, "main", tmp_path / "encoder")
    )


@pytest.mark.slow
def test_what_was_fetched_is_listed_and_carried_to_a_machine_without_network(hub, tmp_path):
    """As `make fetch TO=folder` does it: fetched from the hub here, copied, and used there by the same config."""
    hub.faults.clear()
    here, there, carried = tmp_path / "here", tmp_path / "there", tmp_path / "a folder"
    for folder in (here, there):
        folder.mkdir()
    config = here / "my.yaml"
    config.write_text(f"model: {{search_encoder: tiny, text_encoders: {{tiny: {{source: {MODEL}}}, pubmedbert: null, "
                      "bert_base: null, biobert: null}}\n")  # fmt: skip
    files = ("--configfile", REPOSITORY / "config/demo.yaml", config)
    online = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home"),
              "RETCLIP_TO": str(carried)}  # fmt: skip
    # the client reads these variables once, and the server of forks has done so
    done = snakemake(here, *files, "--", "list_fetched", environment=online, forks=False)
    name = f"resources/text_encoders/{MODEL.replace('/', '--')}@main"
    shown = done.stdout + done.stderr
    assert f"{name}: {MODEL}, revision {COMMIT}, license mit, " in shown
    assert "cp -r 'a folder/resources' ." in shown
    shutil.copytree(carried / "resources", there / "resources")
    for path in (here / name).iterdir():
        assert (there / name / path.name).read_bytes() == path.read_bytes()
    offline = {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "none")}
    again = snakemake(there, *files, "--", "fetch", environment=offline)
    assert "Nothing to be done" in again.stdout + again.stderr


def test_nothing_of_the_users_is_lost_where_things_are_carried(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path("resources/text_encoders/mine")
    folder.mkdir(parents=True)
    (folder / "source.json").write_text('{"source": "x/y", "revision": "r", "license": null}')
    to = tmp_path / "to"
    (to / folder).mkdir(parents=True)
    (to / "notes.txt").write_text("mine")
    carry([folder], to)
    carry([folder], to)  # again: replaced
    assert (to / "notes.txt").read_text() == "mine"
    assert fetched_lines([folder]) == [f"{folder}: x/y, revision r, 0.0 MB"]
    (to / folder / "weights.bin").write_text("mine")
    with pytest.raises(ValueError, match="which would be lost"):
        carry([folder], to)
    assert (to / folder / "weights.bin").read_text() == "mine"
