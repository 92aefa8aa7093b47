"""Frozen encoders: their features are computed once, and a trial on them is the trial that computes them anew."""

import json
import shutil

import pandas as pd
import pytest
import torch
import yaml
from conftest import training_arguments
from running import REPOSITORY, entry, planned_jobs, snakemake
from safetensors.torch import load_file, save_file

from retclip.core.preprocessing import with_weights_settings

pytestmark = pytest.mark.slow
SIZES = {"layers": 2, "width": 64, "head_width": 32, "patch_size": 16, "embed_dim": 32}
BOTH = """
model: {freeze: both, image_encoder: {architecture: null, layers: 2, width: 64, head_width: 32, patch_size: 16,
  embed_dim: 32, weights: %s}}
"""


def complete(weights) -> dict:
    """model.image_encoder as plan_trial writes it into a trial."""
    return with_weights_settings({**SIZES, "weights": "x"}, weights)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Initial weights of the image encoder, in a file."""
    from retclip.models.image_encoder import build_image_encoder

    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "vision.safetensors"
    save_file(
        {name: value.contiguous() for name, value in build_image_encoder(SIZES, 64)[0].state_dict().items()}, path
    )
    path.with_suffix(".json").write_text('{"encoder": {}}')
    return path


def test_a_trial_on_cached_features_is_the_uncached_one(demo_data, plan_demo_trial, weights, tmp_path):
    trial = plan_demo_trial(tmp_path / "trial", freeze="both", epochs=2, train_samples=300)
    content = {**json.loads(trial.read_text()), "image_encoder": complete(weights)}
    trial.write_text(json.dumps(content))
    features = []
    for encoder in ("image", "text"):
        path = tmp_path / f"{encoder}.safetensors"
        entry("cache_features", "--specification", json.dumps(content), "--modality", encoder,
              "--data-dir", demo_data / "data", "--encoder-dir", demo_data / "encoder", "--image-weights", weights,
              "--output", path)  # fmt: skip
        features += [f"--{encoder}-features", path]
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
    # and the exported encoder is the one that it started from
    assert all(torch.equal(frozen[f"visual.{name}"], value) for name, value in load_file(weights).items())

    trial.write_text(json.dumps({**content, "image_size": 32}))
    done = entry("train_trial", *training_arguments(demo_data, trial, tmp_path / "other"), *plain, *features,
                 check=False)  # fmt: skip
    assert "image.safetensors: these features are of other data, another encoder" in done.stderr


def cached(specification: dict, demo_data, weights, folder, *splits: str) -> list:
    """Flags with a file of features of each encoder: of train and val, or of the splits that are given."""
    flags = []
    for modality in ("image", "text"):
        path = folder / f"{modality}{''.join(splits)}.safetensors"
        more = ["--splits", *splits] if splits else []
        entry("cache_features", "--specification", json.dumps(specification), "--modality", modality,
              "--data-dir", demo_data / "data", "--encoder-dir", demo_data / "encoder", "--image-weights", weights,
              *more, "--output", path)  # fmt: skip
        flags.append((f"--{modality}-features", path))
    return flags


@pytest.mark.parametrize("start", ["trained", "initial"])
def test_an_evaluation_reads_features_of_frozen_encoders(demo_data, plan_demo_trial, weights, tmp_path, start):
    """The same scores, though the image encoder that it is given is another one: it is never run."""
    for suffix in (".safetensors", ".json"):
        shutil.copyfile(weights.with_suffix(suffix), tmp_path / f"own{suffix}")
    weights = tmp_path / "own.safetensors"
    trial = plan_demo_trial(tmp_path / "trial", freeze="both", epochs=1, train_samples=300)
    content = {**json.loads(trial.read_text()), "image_encoder": complete(weights)}
    trial.write_text(json.dumps(content))
    entry("train_trial", *training_arguments(demo_data, trial, tmp_path / "state"), "--image-weights", weights,
          "--export")  # fmt: skip
    known, unseen = (cached(content, demo_data, weights, tmp_path, *splits) for splits in ((), ("test",)))
    flags = [word for one, other in zip(known, unseen, strict=True) for word in (*one, other[1])]
    model = ["--model-dir", trial.parent / "model"]
    if start == "initial":
        model = ["--encoder-dir", demo_data / "encoder", "--image-weights", weights]
    found = []
    for number, more in enumerate(([], flags)):
        if number:  # whoever runs the encoder now gets other features
            for path in (weights, trial.parent / "model/vision.safetensors"):
                save_file({name: value * 1.5 for name, value in load_file(path).items()}, path)
        outputs = ["--output-evaluation", tmp_path / "e.json", "--output-predictions", tmp_path / "p.parquet"]
        entry(
            "evaluate_final", "--trial", trial, *model, "--data-dir", demo_data / "data", "--code", "c", *more, *outputs
        )
        document, table = json.loads((tmp_path / "e.json").read_text()), pd.read_parquet(tmp_path / "p.parquet")
        parts = [[name for name in table if name.startswith(part)] for part in ("score_", "template_", "probe")]
        found.append((document, *(table[names].to_numpy() for names in parts)))
    assert found[1][0]["counts"] == found[0][0]["counts"]
    assert found[1][0]["probe"]["features"] == found[0][0]["probe"]["features"]
    assert found[1][1] == pytest.approx(found[0][1], abs=1e-5)
    assert found[1][2] == pytest.approx(found[0][2], abs=1e-5)
    # a solver stops elsewhere where features differ in the last digit
    assert found[1][3] == pytest.approx(found[0][3], abs=0.05)


def test_features_of_another_data_set_are_refused(demo_data, plan_demo_trial, weights, tmp_path):
    trial = plan_demo_trial(tmp_path / "trial", freeze="both", epochs=1, train_samples=64)
    content = {**json.loads(trial.read_text()), "image_encoder": complete(weights)}
    trial.write_text(json.dumps(content))
    entry("train_trial", *training_arguments(demo_data, trial, tmp_path / "state"), "--image-weights", weights,
          "--export")  # fmt: skip
    reading = {**content["text_encoder_settings"], "truncation_side": "left"}
    other = cached({**content, "text_encoder_settings": reading}, demo_data, weights, tmp_path, "test")
    done = entry("evaluate_final", "--trial", trial, "--model-dir", trial.parent / "model", "--data-dir",
                 demo_data / "data", "--code", "c", *other[1], "--output-evaluation", tmp_path / "e.json",
                 "--output-predictions", tmp_path / "p.parquet", check=False)  # fmt: skip
    assert done.returncode == 1
    assert "texttest.safetensors: these features are of other data, another encoder" in done.stderr


def test_the_range_test_reads_cached_features(demo_data, plan_demo_trial, weights, tmp_path):
    trial = json.loads(plan_demo_trial(tmp_path / "trial", freeze="both").read_text())
    specification = {**trial, "values": trial["configured"], "image_encoder": complete(weights), "epochs": 1,
              "train_samples": None, "val_samples": None}  # fmt: skip
    inputs = ["--specification", json.dumps(specification), "--data-dir", demo_data / "data",
              "--encoder-dir", demo_data / "encoder", "--image-weights", weights]  # fmt: skip
    features = []
    for encoder in ("image", "text"):
        path = tmp_path / f"{encoder}.safetensors"
        entry("cache_features", *inputs, "--modality", encoder, "--output", path)
        features += [f"--{encoder}-features", path]
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
def test_each_frozen_encoder_is_one_job(tmp_path, weights, overlay, expected):
    config = yaml.safe_load(BOTH % weights)
    config["model"].update(overlay)
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(config))
    files = ["--configfile", REPOSITORY / "config/demo.yaml", tmp_path / "own.yaml"]
    assert planned_jobs(tmp_path, *files).get("cache_features", set()) == expected


def test_features_of_the_test_split_are_read_by_evaluations_alone(tmp_path, weights):
    (tmp_path / "own.yaml").write_text(BOTH % weights)
    files = ["--configfile", REPOSITORY / "config/demo.yaml", tmp_path / "own.yaml"]
    readers, makers, rule = set(), set(), ""
    for line in snakemake(tmp_path, "--dry-run", *files).stdout.splitlines():
        if line.startswith(("rule ", "localrule ")):
            rule = line.split()[1].rstrip(":")
        elif line.startswith("    input:") and "features/test/" in line:
            readers.add(rule)
        elif line.startswith("    output:") and "features/test/" in line:
            makers.add(rule)
    assert makers == {"cache_test_features"}
    assert readers == {"evaluate_final", "evaluate_initial", "collect_examples"}


def test_a_run_on_frozen_encoders(tmp_path, small_config, weights):
    (tmp_path / "own.yaml").write_text(BOTH % weights)
    snakemake(tmp_path, *small_config, tmp_path / "own.yaml", "--until", "select_phase1")
    assert {path.stem for path in (tmp_path / "results/small/features").iterdir()} == {"image", "text-pubmedbert"}
    trials = list((tmp_path / "results/small/phase1").glob("*/metrics.json"))
    assert len(trials) == 3
    assert all(json.loads(path.read_text())["status"] == "completed" for path in trials)
