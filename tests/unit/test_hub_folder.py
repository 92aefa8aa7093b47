"""A final model as a repository of the hub: its card runs where nothing of this project is, ONNX scores the same."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from documents import ENCODER, trial_of
from exports import DATA, VAL, save_tiny_bert
from PIL import Image, ImageDraw
from running import merged

import export_hub
from retclip.core.config import drop_nulls
from retclip.core.io import write_json
from retclip.data.cases import cases_of_paths
from retclip.evaluation.predict import Predictor
from retclip.models.export import export_model
from retclip.models.image_encoder import build_image_encoder
from retclip.models.pretrained import fetch_text_encoder
from retclip.models.retclip import RetClip
from retclip.models.text_encoder import load_text_encoder

DEMO, SIZE = {"architecture": "timm/demo_conv", "embed_dim": 32}, 32
PROMPTS = {"drusen": ["a fundus with drusen", "drusens"], "normal": ["a normal fundus"]}
LICENSE = "Permission is granted to look at this.\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """results/{run} with one final model of the demo's image encoder, whose text encoder came from a local folder."""
    folder = tmp_path_factory.mktemp("run")
    local = save_tiny_bert(folder / "clinic encoders")
    fetch_text_encoder("tiny", str(local), "main", folder / "fetched")
    torch.manual_seed(0)
    visual, embed_dim = build_image_encoder(DEMO, SIZE)
    model = RetClip(visual, load_text_encoder(folder / "fetched"), embed_dim, 2).eval()
    trial = trial_of(text_encoder="tiny", image_encoder=DEMO, text_encoder_settings={**ENCODER, "source": str(local)},
                     hyperparameters={"context_length": 8, "learning_rate": 1e-3, "precision": "fp32"})  # fmt: skip
    results = folder / "results/clinic"
    export_model(model, results / "final/tiny-s1/model", image_encoder=DEMO, tokenizer_folder=folder / "fetched",
                 image_size=SIZE, class_prompts=PROMPTS, trial=trial, data=DATA, val=VAL)  # fmt: skip
    config = merged("demo")
    config["model"]["text_encoders"] = {"tiny": {"source": str(local)}}
    write_json(results / "run.json", {"config": drop_nulls(config)})
    return results


def lay_out(run, output, *more):
    (run / "license.txt").write_text(LICENSE)
    given = {"model-dir": run / "final/tiny-s1/model", "repository": "clinic/retclip-tiny", "license": "cc-by-nc-4.0",
             "license-file": run / "license.txt", "output-dir": output}  # fmt: skip
    export_hub.main([*(word for name, value in given.items() for word in (f"--{name}", str(value))), *more])
    return output


@pytest.fixture(scope="module")
def hub(run, tmp_path_factory):
    return lay_out(run, tmp_path_factory.mktemp("hub") / "repository")


def photograph(path, color):
    """A disc beside the middle of a dark frame: what is cropped shows."""
    image = Image.new("RGB", (90, 70))
    ImageDraw.Draw(image).ellipse((20, 4, 79, 63), fill=color)
    ImageDraw.Draw(image).ellipse((60, 20, 70, 30), fill=(250, 230, 160))
    image.save(path)


@pytest.mark.slow
def test_the_card_runs_without_this_project_and_scores_as_predict_does(run, hub, tmp_path):
    """As it stands, with the repository in the hub client's cache: from two photographs to the classes' scores."""
    cached = tmp_path / "cache/hub/models--clinic--retclip-tiny"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs/main").write_text("0" * 40)
    shutil.copytree(hub, cached / "snapshots" / ("0" * 40))
    place = tmp_path / "elsewhere"
    place.mkdir()
    for eye, color in (("left", (180, 90, 40)), ("right", (150, 60, 30))):
        photograph(place / f"{eye}.png", color)
    code = (hub / "README.md").read_text().split("```python\n")[1].split("```")[0]
    code += (
        "\nimport json, sys\n"
        "assert not any(name.split('.')[0] == 'retclip' for name in sys.modules)\n"
        "scores, probabilities = score('left.png', 'right.png')\n"
        "json.dump([classes, scores.tolist(), probabilities.tolist()], open('found.json', 'w'))\n"
    )
    (place / "card.py").write_text(code)
    known = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    known |= {"HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "card.py"], cwd=place, env=known, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    classes, scores, probabilities = yaml.safe_load((place / "found.json").read_text())
    predictor = Predictor(run / "final/tiny-s1/model", torch.device("cpu"), "fp32")
    found = predictor.predict(cases_of_paths([place]), 4, 1).set_index("head").loc["patient"]
    assert classes == list(PROMPTS)
    assert scores == pytest.approx([found[f"score_{name}"] for name in classes], abs=1e-5)
    assert max(probabilities) == pytest.approx(found["probability"], abs=1e-4)
    assert classes[int(np.argmax(probabilities))] == found["class"]


def test_it_has_a_card_a_licence_and_no_pickle(hub):
    text = (hub / "README.md").read_text()
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["license"] == "cc-by-nc-4.0"
    assert front["pipeline_tag"] == "zero-shot-image-classification"
    assert "base_model" not in front  # the text encoder is no repository of the hub
    assert (hub / "LICENSE").read_text() == LICENSE
    assert {path.suffix for path in hub.rglob("*") if path.is_file()} <= {".md", ".json", ".safetensors", ".txt", ""}
    assert "## Limitations" in text
    assert "not a medical device" in text


def test_no_place_of_this_machine_is_in_it(run, hub):
    for path in hub.rglob("*"):
        if path.is_file():
            assert b"clinic encoders" not in path.read_bytes(), path


def test_predict_reads_the_repository_too(hub):
    assert Predictor(hub, torch.device("cpu"), "fp32").classes == list(PROMPTS)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--repository", "retclip"], "--repository is 'retclip'; give OWNER/NAME"),
        (["--license", "My License"], "--license is 'My License'; give the hub's word for it"),
        (["--license-file", "gone.txt"], "gone.txt: no such file"),
        (["--model-dir", "."], "has no model.json, so it is no exported model"),
    ],
)
def test_what_cannot_be_is_one_sentence(run, tmp_path, more, said):
    with pytest.raises(ValueError, match=said) as refused:
        lay_out(run, tmp_path / "out", *more)
    assert len(str(refused.value)) <= 300
    assert not (tmp_path / "out").exists()


def test_a_folder_of_the_user_is_not_written_over(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").write_text("x")
    with pytest.raises(ValueError, match=r"thesis\.tex"):
        lay_out(run, tmp_path / "out")
    assert (tmp_path / "out/thesis.tex").read_text() == "x"


@pytest.mark.slow
def test_onnx_files_give_equal_features(run, tmp_path):
    """Of any number of patients and texts of any length, run by ONNX Runtime alone."""
    for name in ("onnx", "onnxscript"):
        pytest.importorskip(name, reason=f"{name} is not installed: pip install onnx onnxruntime onnxscript")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    folder = lay_out(run, tmp_path / "out", "--onnx")
    predictor = Predictor(run / "final/tiny-s1/model", torch.device("cpu"), "fp32")
    image, text = (runtime.InferenceSession(str(folder / f"{name}.onnx")) for name in ("image", "text"))
    generator = torch.Generator().manual_seed(1)
    for patients in (1, 3):
        left, right = torch.rand(2, patients, 3, SIZE, SIZE, generator=generator)
        ids = torch.randint(5, 12, (patients, 4 + patients), generator=generator)
        mask = torch.ones_like(ids)
        mask[-1, 3:] = 0
        mean, std = (
            torch.tensor(value).view(3, 1, 1) for value in (predictor.reading["mean"], predictor.reading["std"])
        )
        with torch.no_grad():
            wanted = predictor.model.encode_eyes((left - mean) / std, (right - mean) / std)
            texts = [predictor.model.encode_text(ids, mask, view) for view in ("patient", "left", "right")]
        found = image.run(["patient", "left", "right"], {"left_eye": left.numpy(), "right_eye": right.numpy()})
        for one, known in zip(found, wanted, strict=True):
            assert np.abs(one - known.numpy()).max() < 1e-4
        found = text.run(["patient", "left", "right"], {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})
        for one, known in zip(found, texts, strict=True):
            assert np.abs(one - known.numpy()).max() < 1e-4


def test_without_the_packages_onnx_is_refused_with_the_command(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ValueError, match="pip install onnx onnxruntime onnxscript"):
        lay_out(run, tmp_path / "out", "--onnx")
    assert not (tmp_path / "out").exists()
