"""What the finals of the small run say on test: reference rows, and what a report shows of the winner."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from running import build_flags, entry, planned_jobs, snakemake

from retclip.core import schemas
from retclip.core.qualitative_examples import read_examples

pytestmark = pytest.mark.slow
METRIC = "zero_shot_balanced_accuracy"


@pytest.fixture
def final(small_run):
    return small_run / "results/small/final"


def test_the_initial_weights_stand_beside_the_tuned(final):
    """Random heads know no class; the same tower with labels does, a little, untrained as it is."""
    found = json.loads((final / "initial-s2001/evaluation.json").read_text())
    low, high = (found["zero_shot"][METRIC][key] for key in ("low", "high"))
    assert low <= found["levels"]["chance"][METRIC] + 0.05
    assert high < 0.4
    assert found["probe"]["features"] == "image_encoder"
    assert len(found["linear_probe"][METRIC]["seeds"]) == 5
    tuned = json.loads((final / "pubmedbert-s2001/evaluation.json").read_text())
    assert tuned["counts"] == found["counts"]
    assert tuned["probe"]["features"] == "image_encoder"
    tables = [pd.read_parquet(final / name / "predictions.parquet") for name in ("initial-s2001", "pubmedbert-s2001")]
    assert tables[0]["sample_id"].equals(tables[1]["sample_id"])


def test_examples_are_what_the_predictions_say(final):
    examples = read_examples(final / "pubmedbert-s2001/qualitative_examples.npz")
    table = pd.read_parquet(final / "pubmedbert-s2001/predictions.parquet")
    count = len(examples.eye)
    assert examples.image.shape == (count, 1, 64, 64, 3)
    assert examples.image.max(axis=(1, 2, 3, 4)).min() > 50
    scores = table[[f"score_{k}" for k in range(len(examples.classes))]].to_numpy()
    for i in range(count):
        row = (table["target"] == examples.target[i]) & (table["eye"] == examples.eye[i])
        assert np.isclose(scores[row, examples.prediction[i]], examples.score[i], atol=1e-5).any()
        assert 1 / len(examples.classes) <= examples.probability[i] <= 1
        assert (np.diff(examples.prompt_score[i]) <= 0).all()
    right = examples.target == examples.prediction
    for k in set(examples.target):
        here = examples.target == k
        assert 1 <= here.sum() <= 4
        assert (right & here).sum() <= 2
    mapped = np.isfinite(examples.occlusion).all(axis=(1, 2, 3))
    assert mapped.sum() == min(count, 12)
    patients = pd.read_parquet(final.parent / "data/samples_test.parquet")["patient_id"].nunique()
    assert examples.embedding.shape == (patients, 2)
    assert (examples.embedding_label >= 0).all()


def test_private_examples_have_no_images(final, tmp_path):
    folder = final / "pubmedbert-s2001"
    entry("collect_examples", "--trial", folder / "trial.json", "--model-dir", folder / "model", "--predictions",
          folder / "predictions.parquet", "--data-dir", final.parent / "data", "--private", "--output",
          tmp_path / "qualitative_examples.npz")  # fmt: skip
    examples = read_examples(tmp_path / "qualitative_examples.npz")
    assert len(examples.image) == len(examples.eye) == 0
    assert len(examples.embedding) > 0


def test_an_external_test_added_later_trains_nothing(small_run, small_config, tmp_path):
    """The demo's own pictures as those of a clinic, which writes its classes in small letters: everybody is a test
    patient there, and the page tells on it."""
    run = tmp_path / "run"
    shutil.copytree(small_run, run, symlinks=True)
    demo = small_run / "results/small/demo"
    theirs = pd.read_csv(demo / "manifest.csv", dtype=str, keep_default_na=False)
    labels = [name for name in theirs if name.startswith("label")]
    theirs[labels] = theirs[labels].apply(lambda cells: cells.str.lower())
    theirs.to_csv(tmp_path / "clinic.csv", index=False)
    overlay = tmp_path / "own.yaml"
    overlay.write_text(
        "evaluation: {external_tests: {clinic: {source: manifest, "
        f"manifest: {tmp_path / 'clinic.csv'}, image_root: {demo / 'images'}}}}}}}\n"
    )
    jobs = planned_jobs(run, *small_config, overlay)
    assert set(jobs) - {"record_run"} == {
        "build_external_lmdb", "find_overlap", "evaluate_external", "build_report"
    }  # fmt: skip
    snakemake(run, *small_config, overlay)
    finals = run / "results/small/final"
    found = json.loads((finals / "pubmedbert-s2001/external/clinic.json").read_text())
    schemas.check(found, "evaluation", "clinic.json")
    assert found["counts"]["patients"] == 130
    assert found["linear_probe"] == {}
    audit = json.loads((finals.parent / "data/audit.json").read_text())
    seen = {key: sum(audit["splits"][split][key] for split in ("train", "val")) for key in ("patients", "images")}
    overlap = found["overlap"]
    assert overlap["same_id"] == overlap["image_patients"] == seen["patients"]
    assert overlap["image_copies"] == seen["images"]
    assert overlap["without"]["counts"]["patients"] == 130 - seen["patients"]
    ours = json.loads((finals / "pubmedbert-s2001/evaluation.json").read_text())
    thresholds = {row["class"].lower(): row["threshold"] for row in ours["per_class"]}
    assert {row["class"]: row["threshold"] for row in found["per_class"]} == thresholds
    assert set(thresholds.values()) != {None}
    own_score = ours["zero_shot"][METRIC]
    assert overlap["without"]["zero_shot"][METRIC]["value"] == pytest.approx(own_score["value"], abs=1e-6)
    # the test patients of the run are among them, and their scores are the same
    elsewhere = pd.read_parquet(finals / "pubmedbert-s2001/external/clinic.parquet").set_index(["sample_id", "eye"])
    own = pd.read_parquet(finals / "pubmedbert-s2001/predictions.parquet").set_index(["sample_id", "eye"])
    assert np.allclose(elsewhere.loc[own.index, "score_0"], own["score_0"], atol=1e-5)
    report = finals.parent / "report"
    table = pd.read_csv(report / "tables/external.csv").set_index("model")
    assert set(table.index) == {"pubmedbert-s2001", "bert_base-s2001"}
    assert set(table["patients"]) == {130}
    for model, row in table.iterrows():
        score = json.loads((finals / f"{model}/external/clinic.json").read_text())["zero_shot"][METRIC]
        said = f"{score['value']:.3f} ({score['low']:.3f} to {score['high']:.3f})"
        assert row["balanced accuracy"] == said
        assert row["balanced accuracy by chance"] == 0.1
        for name in ("index.html", "summary.md"):
            page = re.sub(r"<[^>]+>", "", (report / name).read_text())  # small print around an interval
            assert said in page
            assert "othing was trained or chosen on these data" not in page
            assert f"Not external for {seen['patients']} of 130 patients: train or val has images of theirs" in page
    assert [
        (one["data_set"], one["model"], one["zero_shot"][METRIC]["value"])
        for one in json.loads((report / "results.json").read_text())["external"]
        if one["model"] == "pubmedbert-s2001"
    ] == [("clinic", "pubmedbert-s2001", found["zero_shot"][METRIC]["value"])]
    assert "[clinic](index.html#external)" in (report / "checklist.md").read_text()
    assert 'id="external"' in (report / "index.html").read_text()


def test_from_a_raw_file_to_the_score_of_the_evaluation(final, tmp_path):
    """predict.py, which has the exported folder and nothing else of the run, against predictions.parquet."""
    demo = final.parent / "demo"
    model = tmp_path / "elsewhere"
    shutil.copytree(final / "pubmedbert-s2001/model", model)
    own = pd.read_parquet(final / "pubmedbert-s2001/predictions.parquet")
    table = pd.read_csv(demo / "manifest.csv")
    table = table[table["sample_id"].isin(own["sample_id"])]
    table.loc[table.index[0], "image_right"] = "broken.jpg"
    table.to_csv(tmp_path / "table.csv", index=False)
    entry("predict", "--model-dir", model, "--table", tmp_path / "table.csv", "--image-root", demo / "images",
          "--batch-size", 7, "--output", tmp_path / "found.csv")  # fmt: skip
    found = pd.read_csv(tmp_path / "found.csv", keep_default_na=False)
    broken = found[found["problem"] != ""]
    assert broken["problem"].tolist() == ["right image: the image file does not exist"]
    own = own[own["sample_id"] != broken["name"].iloc[0]]
    both = own.merge(found, left_on=["sample_id", "eye"], right_on=["name", "eye"])
    assert len(both) == len(own) > 20
    classes = json.loads((final.parent / "data/fingerprint.json").read_text())["classes"]
    for k, label in enumerate(classes):
        assert np.allclose(both[f"score_{k}"], both[f"score_{label}"].astype(float), atol=1e-5)
    assert (
        both["class"] == [classes[k] for k in both[[f"score_{k}" for k in range(len(classes))]].to_numpy().argmax(1)]
    ).all()


def test_a_folder_of_images_gets_the_scores_of_the_evaluation(final, tmp_path):
    """As config/README shows it: no table, only the names of the files, each eye through its own head."""
    demo = final.parent / "demo"
    own = pd.read_parquet(final / "pubmedbert-s2001/predictions.parquet")
    table = pd.read_csv(demo / "manifest.csv").set_index("sample_id")
    folder = tmp_path / "photographs"
    folder.mkdir()
    names = {}
    for sample in own["sample_id"].unique():
        for eye in ("left", "right"):
            image = table.loc[sample, f"image_{eye}"]
            if isinstance(image, str):
                shutil.copy(demo / "images" / image, folder / Path(image).name)
                names[Path(image).name] = sample, eye
    entry("predict", "--model-dir", final / "pubmedbert-s2001/model", "--batch-size", 7, "--output",
          tmp_path / "found.csv", folder)  # fmt: skip
    found = pd.read_csv(tmp_path / "found.csv", keep_default_na=False)
    assert set(found["problem"]) == {""}
    eyes = found[found["eye"] != "patient"]
    assert sorted(eyes["name"]) == sorted(names)
    assert (eyes["head"] == eyes["eye"]).all()
    eyes = eyes.assign(sample_id=[names[name][0] for name in eyes["name"]])
    assert eyes["eye"].tolist() == [names[name][1] for name in eyes["name"]]
    both = own.merge(eyes, on=["sample_id", "eye"])
    assert len(both) == len(own) > 20
    classes = json.loads((final.parent / "data/fingerprint.json").read_text())["classes"]
    for k, label in enumerate(classes):
        assert np.allclose(both[f"score_{k}"], both[f"score_{label}"], atol=1e-5)
    # a patient's row sees both of its eyes, as a table's does
    entry("predict", "--model-dir", final / "pubmedbert-s2001/model", "--table", demo / "manifest.csv", "--image-root",
          demo / "images", "--output", tmp_path / "table.csv")  # fmt: skip
    by_table = pd.read_csv(tmp_path / "table.csv").query("eye == 'patient'").set_index("name")
    patients = found[found["eye"] == "patient"]
    assert len(patients) == own["sample_id"].nunique()
    samples = [names[name.split(" + ")[0]][0] for name in patients["name"]]
    columns = [f"score_{label}" for label in classes]
    assert np.allclose(by_table.loc[samples, columns], patients[columns].astype(float), atol=1e-5)


def test_from_a_raw_file_to_the_score_where_the_store_is_jpeg(small_run, final, tmp_path):
    """A model trained on pictures that lost a little reads new ones with the same loss."""
    demo, data, trained = final.parent / "demo", tmp_path / "data", tmp_path / "trained"
    entry("build_lmdb", *build_flags(demo / "manifest.csv", demo / "images", data, tmp_path / "work", source="demo",
                                     image_size=64, image_encoding="jpeg", threads=2))  # fmt: skip
    trial = final / "pubmedbert-s2001/trial.json"
    entry("train_trial", "--trial", trial, "--data-dir", data, "--encoder-dir",
          small_run / "resources/text_encoders/demo--pubmedbert", "--state-dir", tmp_path / "state", "--code", "test",
          "--export", "--output-dir", trained)  # fmt: skip
    entry("evaluate_final", "--trial", trial, "--model-dir", trained / "model", "--data-dir", data, "--code", "test",
          "--output-evaluation", tmp_path / "evaluation.json",
          "--output-predictions", tmp_path / "predictions.parquet")  # fmt: skip
    own = pd.read_parquet(tmp_path / "predictions.parquet")
    table = pd.read_csv(demo / "manifest.csv")
    table[table["sample_id"].isin(own["sample_id"])].to_csv(tmp_path / "table.csv", index=False)

    def distance() -> float:
        """The largest between a score of predict.py and the evaluation's."""
        entry("predict", "--model-dir", trained / "model", "--table", tmp_path / "table.csv", "--image-root",
              demo / "images", "--output", tmp_path / "found.csv")  # fmt: skip
        both = own.merge(pd.read_csv(tmp_path / "found.csv"), left_on=["sample_id", "eye"], right_on=["name", "eye"])
        assert len(both) == len(own) > 20
        classes = json.loads((data / "fingerprint.json").read_text())["classes"]
        return max((both[f"score_{k}"] - both[f"score_{label}"]).abs().max() for k, label in enumerate(classes))

    assert distance() < 1e-5
    # read without the loss, the same pictures score a little otherwise: the test can fail
    reading = trained / "model/preprocessing.json"
    reading.write_text(reading.read_text().replace('"jpeg"', '"raw"'))
    assert distance() > 1e-5


def test_single_pictures_and_a_class_list(final, tmp_path):
    """An image of an eye that nothing tells gets its patient's score, seen as both eyes, and its row says so."""
    (tmp_path / "classes.txt").write_text("Glaucoma\nDrusen\n")
    folder = tmp_path / "pictures"
    folder.mkdir()
    picture = next((final.parent / "demo/images").glob("*_left.jpg"))
    shutil.copy(picture, folder / "one.jpg")
    (folder / "two.png").write_bytes(b"no picture")
    done = entry("predict", "--model-dir", final / "pubmedbert-s2001/model", "--classes", tmp_path / "classes.txt",
                 "--output", tmp_path / "found.csv", folder)  # fmt: skip
    assert "no prompts for the class 'Drusen': using a template" in done.stderr
    assert "1 of 2 images scored" in done.stderr
    assert "warning: 2 of 2 images: the eye is not known" in done.stderr
    found = pd.read_csv(tmp_path / "found.csv", keep_default_na=False)
    assert found["name"].tolist() == ["one.jpg", "two.png"]
    assert found["eye"].tolist() == ["unknown", "unknown"]
    assert found["head"].tolist() == ["patient", ""]
    assert list(found.columns[-2:]) == ["score_Glaucoma", "score_Drusen"]
    assert found["class"][0] in ("Glaucoma", "Drusen")
    assert "cannot be read" in found["problem"][1]


def test_predict_says_what_is_missing(final, tmp_path):
    model = final / "pubmedbert-s2001/model"
    for arguments, said in (
        ((), "name images, or a --table"),
        ((tmp_path / "gone.jpg",), "no such file or folder"),
        (("--model-dir", tmp_path, tmp_path), "is no exported model"),
    ):
        done = entry("predict", "--model-dir", model, "--output", tmp_path / "x.csv", *arguments, check=False)
        assert done.returncode == 1
        assert said in done.stderr
        assert "Traceback" not in done.stderr
