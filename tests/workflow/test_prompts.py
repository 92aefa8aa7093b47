"""Class prompts of a finished run: scored by the workflow as its validation says, and other prompts by a person."""

import json
import re
import shutil

import pandas as pd
import pytest
import yaml
from recomputed import balanced_accuracy, score_columns
from running import entry

pytestmark = pytest.mark.slow


@pytest.fixture
def place(small_run, tmp_path):
    """The folder of the final model whose prompts were scored, beside a link to the data."""
    (tmp_path / "small/final").mkdir(parents=True)
    (tmp_path / "small/data").symlink_to(small_run / "results/small/data")
    name = next((small_run / "results/small/final").glob("*/prompts.json")).parent.name
    shutil.copytree(small_run / "results/small/final" / name, tmp_path / "small/final" / name)
    return tmp_path / "small/final" / name


def tried(place, prompts) -> list[str]:
    return entry(
        "try_prompts", "--model-dir", place / "model", "--prompts", prompts, "--device", "cpu"
    ).stdout.splitlines()


def numbers(line: str) -> list[float]:
    return [float(number) for number in re.findall(r"[+-]?\d\.\d{3}", line)]


def test_the_ensemble_has_the_score_of_the_validation_predictions(place):
    found = json.loads((place / "prompts.json").read_text())
    table = pd.read_parquet(place / "val_predictions.parquet")
    assert found["ensemble"]["value"] == pytest.approx(balanced_accuracy(table), abs=1e-6)
    assert found["units"] == int((table["target"] >= 0).sum())
    prompts = json.loads((place / "model/class_prompts.json").read_text())
    several = {label: sentences for label, sentences in prompts.items() if len(sentences) > 1}
    assert [(one["label"], one["prompt"]) for one in found["prompts"]] == [
        (label, sentence) for label, sentences in several.items() for sentence in sentences
    ]


def test_prompts_of_a_persons_own_are_scored_beside_the_models(place, tmp_path):
    """The class names exchanged: what was named rightly is named wrongly. With the features that the run kept, and
    without them, the numbers are the same."""
    prompts = json.loads((place / "model/class_prompts.json").read_text())
    labels = list(prompts)
    turned = {label: prompts[other] for label, other in zip(labels, labels[1:] + labels[:1], strict=True)}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(turned))
    lines = tried(place, tmp_path / "mine.yaml")
    table = pd.read_parquet(place / "val_predictions.parquet")
    own = balanced_accuracy(table)
    columns = score_columns(table)
    # class k is now told by the sentences of class k + 1
    table[columns] = table[columns[1:] + columns[:1]].to_numpy()
    other = balanced_accuracy(table)
    assert numbers(lines[1])[0] == pytest.approx(own, abs=6e-4)
    assert numbers(lines[2])[0] == pytest.approx(other, abs=6e-4)
    gap, low, high = numbers(lines[3])
    assert gap == pytest.approx(other - own, abs=1.1e-3)
    assert low <= gap <= high
    (place / "val_features.npz").unlink()
    assert tried(place, tmp_path / "mine.yaml") == lines


def test_what_is_no_file_of_prompts_is_said_in_a_sentence(place, tmp_path):
    (tmp_path / "mine.yaml").write_text("- a\n- b\n")
    done = entry("try_prompts", "--model-dir", place / "model", "--prompts", tmp_path / "mine.yaml", check=False)
    assert done.returncode != 0
    assert "must map class names to lists of descriptions" in done.stderr
    assert "Traceback" not in done.stderr
