"""Several finished runs side by side: what differs, by how much they differ on the same patients, and when they may not
be compared at all."""

import json
import re
import shutil

import pandas as pd
import pytest
from browser import chromium, errors
from recomputed import balanced_accuracy, name_rightly, recommend, resampled
from running import entry

pytestmark = pytest.mark.slow
METRIC = "zero_shot_balanced_accuracy"


def copied(small_run, folder, name: str, share: float | None = None):
    """results/small as another finished run; share: of the test eyes that its tuned model names rightly."""
    ignore = shutil.ignore_patterns("*.lmdb", "model", "state", "logs", "benchmarks", "report")
    shutil.copytree(small_run / "results/small", folder / name, ignore=ignore)
    recommend(folder / name, "pubmedbert")
    record = json.loads((folder / name / "run.json").read_text())
    record["config"]["run"] = name
    (folder / name / "run.json").write_text(json.dumps(record))
    for place in (folder / name / "final").glob("pubmedbert-s*") if share is not None else ():
        table, _ = name_rightly(place, share)
        evaluation = json.loads((place / "evaluation.json").read_text())
        evaluation["zero_shot"][METRIC]["value"] = balanced_accuracy(table)
        (place / "evaluation.json").write_text(json.dumps(evaluation))
    return folder / name


def compared(folder, *runs, check: bool = True):
    return entry("compare_runs", "--run-folders", *runs, "--output-folder", folder / "page", check=check)


def test_two_runs_of_the_same_data_differ_by_what_their_predictions_say(small_run, tmp_path):
    runs = [copied(small_run, tmp_path, "first"), copied(small_run, tmp_path, "second", share=0.8)]
    compared(tmp_path, *runs)
    told = json.loads((tmp_path / "page/comparison.json").read_text())
    tables = [pd.read_parquet(next(run.glob("final/pubmedbert-s*/predictions.parquet"))) for run in runs]
    found = told["differences"]["second"]["value"]
    own = balanced_accuracy(tables[1]) - balanced_accuracy(tables[0])
    assert found["value"] == pytest.approx(own, abs=1e-9)
    low, high = resampled(tables[::-1], lambda pair: balanced_accuracy(pair[0]) - balanced_accuracy(pair[1]), 1)
    assert [found["low"], found["high"]] == pytest.approx([low, high], abs=0.2 * (high - low) + 0.002)
    assert told["runs"]["second"]["tuned"]["value"] == pytest.approx(balanced_accuracy(tables[1]))
    report = json.loads((small_run / "results/small/report/results.json").read_text())
    for name in ("first", "second"):
        assert told["runs"][name]["device_seconds"] == pytest.approx(report["cost"]["device_seconds"])
        assert told["runs"][name]["trials"] == report["cost"]["trials"]
    page = (tmp_path / "page/index.html").read_text()
    assert f"+{own:.3f}" in page
    assert "second, pubmedbert − first, pubmedbert" in page
    assert not errors(chromium(tmp_path, "--dump-dom", f"file://{tmp_path / 'page/index.html'}"))
    assert not re.search(r'(?:src|href)="https?:', page)
    for name in re.findall(r'href="((?:tables|figures)/[^"]+)"', page):
        assert (tmp_path / "page" / name).is_file(), name


def test_runs_of_other_splits_are_not_compared(small_run, tmp_path):
    """One patient has moved from test to train: no difference is told, and the page says why."""
    runs = [copied(small_run, tmp_path, "first"), copied(small_run, tmp_path, "moved")]
    train, test = (pd.read_parquet(runs[1] / f"data/samples_{split}.parquet") for split in ("train", "test"))
    pd.concat([train, test.iloc[:1]]).to_parquet(runs[1] / "data/samples_train.parquet")
    test.iloc[1:].to_parquet(runs[1] / "data/samples_test.parquet")
    fingerprint = json.loads((runs[1] / "data/fingerprint.json").read_text())
    for split in ("train", "test"):
        fingerprint["splits"][split]["sha256"] = "0" * 64
    (runs[1] / "data/fingerprint.json").write_text(json.dumps(fingerprint))
    compared(tmp_path, *runs)
    told = json.loads((tmp_path / "page/comparison.json").read_text())
    assert told["differences"] == {"moved": {"value": None, "reason": "other samples in train and test than first"}}
    assert (
        "moved is not compared: it has other samples in train and test than first."
        in (tmp_path / "page/index.html").read_text()
    )


def test_the_same_patients_with_other_images_are_compared_with_a_word(small_run, tmp_path):
    runs = [copied(small_run, tmp_path, "first"), copied(small_run, tmp_path, "larger")]
    fingerprint = json.loads((runs[1] / "data/fingerprint.json").read_text())
    fingerprint["splits"]["test"]["sha256"] = "0" * 64
    (runs[1] / "data/fingerprint.json").write_text(json.dumps(fingerprint))
    compared(tmp_path, *runs)
    told = json.loads((tmp_path / "page/comparison.json").read_text())
    assert told["differences"]["larger"]["value"]["value"] == 0.0
    assert told["notes"] == ["larger has the samples of first, but other images, texts or labels in test."]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("first",), "give two runs or more"),
        (("first", "first"), "is given twice"),
        (("first", "gone"), "run.json: this file does not exist"),
    ],
)
def test_what_cannot_be_compared_is_said_in_a_sentence(small_run, tmp_path, names, said):
    copied(small_run, tmp_path, "first")
    done = compared(tmp_path, *(tmp_path / name for name in names), check=False)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr
