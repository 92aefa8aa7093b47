"""Frozen towers: their features are computed once, and a trial on them is the trial that computes them anew."""

import json

import pandas as pd
import pytest
import torch
import yaml
from conftest import training_arguments
from running import REPOSITORY, entry, planned_jobs, snakemake
from safetensors.torch import save_file

pytestmark = pytest.mark.slow
SIZES = {"layers": 2, "width": 64, "head_width": 32, "patch_size": 16, "embed_dim": 32}
BOTH = """
model: {freeze: both, image_encoder: {architecture: null, layers: 2, width: 64, head_width: 32, patch_size: 16,
  embed_dim: 32, weights: %s}}
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Initial weights of the image tower, in a file."""
    from retclip.models.image_encoder import build_image_encoder

    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "vision.safetensors"
    save_file(
        {name: value.contiguous() for name, value in build_image_encoder(SIZES, 64)[0].state_dict().items()}, path
    )
    return path


def test_a_trial_on_cached_features_is_the_uncached_one(demo_data, plan_demo_trial, weights, tmp_path):
    trial = plan_demo_trial(tmp_path / "trial", freeze="both", epochs=2, train_samples=300)
    content = {**json.loads(trial.read_text()), "image_encoder": {**SIZES, "weights": "x"}}
    trial.write_text(json.dumps(content))
    features = []
    for tower in ("image", "text"):
        path = tmp_path / f"{tower}.safetensors"
        entry("cache_features", "--specification", json.dumps(content), "--modality", tower,
              "--data-dir", demo_data / "data", "--encoder-dir", demo_data / "encoder", "--image-weights", weights,
              "--output", path)  # fmt: skip
        features += [f"--{tower}-features", path]
    plain = ["--image-weights", weights, "--export"]
    found = {}
    for name, more in (("cached", features), ("uncached", [])):
        entry("train_trial", *training_arguments(demo_data, trial, tmp_path / name), *plain, *more)
        found[name] = json.loads((trial.parent / "metrics.json").read_text())
        if name == "cached":
            frozen = torch.load(trial.parent / "model/retclip.pt")
    cached, uncached = found["cached"], found["uncached"]
    assert cached["train_loss"] == pytest.approx(uncached["train_loss"], rel=1e-4)
    assert cached["val"]["loss"] == pytest.approx(uncached["val"]["loss"], rel=1e-4)
    metric = "zero_shot_macro_auroc"
    assert cached["val"][metric] == pytest.approx(uncached["val"][metric], abs=0.01)
    assert cached["samples_per_second"] > 3 * uncached["samples_per_second"]
    # and the exported tower is the one that it started from
    from safetensors.torch import load_file

    assert all(torch.equal(frozen[f"visual.{name}"], value) for name, value in load_file(weights).items())

    trial.write_text(json.dumps({**content, "image_size": 32}))
    done = entry("train_trial", *training_arguments(demo_data, trial, tmp_path / "other"), *plain, *features,
                 check=False)  # fmt: skip
    assert "image.safetensors: these features are of other data, another encoder" in done.stderr


def test_the_range_test_reads_cached_features(demo_data, plan_demo_trial, weights, tmp_path):
    trial = json.loads(plan_demo_trial(tmp_path / "trial", freeze="both").read_text())
    recipe = {**trial, "values": trial["configured"], "image_encoder": {**SIZES, "weights": "x"}, "epochs": 1,
              "train_samples": None, "val_samples": None}  # fmt: skip
    inputs = ["--specification", json.dumps(recipe), "--data-dir", demo_data / "data",
              "--encoder-dir", demo_data / "encoder", "--image-weights", weights]  # fmt: skip
    features = []
    for tower in ("image", "text"):
        path = tmp_path / f"{tower}.safetensors"
        entry("cache_features", *inputs, "--modality", tower, "--output", path)
        features += [f"--{tower}-features", path]
    curves = []
    for name, more in (("cached", features), ("uncached", [])):
        outputs = ["--output-curve", tmp_path / f"{name}.csv", "--output-suggestion", tmp_path / f"{name}.json"]
        entry("find_lr", *inputs, *more, "--start-lr", "1e-5", "--end-lr", "1", "--num-iter", "20", *outputs)
        curves.append(pd.read_csv(tmp_path / f"{name}.csv"))
    assert len(curves[0]) >= 17
    assert curves[0]["loss"].to_numpy() == pytest.approx(curves[1]["loss"].to_numpy(), rel=1e-3)


@pytest.mark.parametrize(
    ("overlay", "expected"),
    [
        ({"freeze": "both"}, {"image", "text-pubmedbert", "text-bert_base", "text-biobert"}),
        ({"freeze": "text"}, {"text-pubmedbert", "text-bert_base", "text-biobert"}),
        ({"freeze": "image"}, {"image"}),
        ({"freeze": "none"}, set()),
    ],
)
def test_each_frozen_tower_is_one_job(tmp_path, weights, overlay, expected):
    config = yaml.safe_load(BOTH % weights)
    config["model"].update(overlay)
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(config))
    files = ["--configfile", REPOSITORY / "config/demo.yaml", tmp_path / "own.yaml"]
    assert planned_jobs(tmp_path, *files).get("cache_features", set()) == expected


def test_a_run_on_frozen_towers(tmp_path, small_config, weights):
    (tmp_path / "own.yaml").write_text(BOTH % weights)
    snakemake(tmp_path, *small_config, tmp_path / "own.yaml", "--until", "select_phase1")
    assert {path.stem for path in (tmp_path / "results/small/features").iterdir()} == {"image", "text-pubmedbert"}
    trials = list((tmp_path / "results/small/phase1").glob("*/metrics.json"))
    assert len(trials) == 3
    assert all(json.loads(path.read_text())["status"] == "completed" for path in trials)
