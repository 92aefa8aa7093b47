"""Whether people of an external data set are in train or val: planted copies are found, and nobody else."""

import io
import json

import numpy as np
import pandas as pd
import pytest
from documents import evaluation_of
from PIL import Image, ImageEnhance
from running import build_flags, entry

from retclip.metrics.external import with_overlap

pytestmark = pytest.mark.slow


def build(folder, table, images, **settings):
    entry("build_lmdb", *build_flags(table, images, folder, folder / "work", image_size=96, **settings))
    return folder


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """60 drawn patients, of whom 40 are this run's own data: table [60], images/, own/."""
    root = tmp_path_factory.mktemp("overlap")
    entry("make_demo_data", "--patients", 60, "--seed", 5, "--threads", 1, "--output-manifest", root / "all.csv",
          "--output-images", root / "images")  # fmt: skip
    table = pd.read_csv(root / "all.csv", dtype=str, keep_default_na=False)
    table.iloc[:40].to_csv(root / "own.csv", index=False)
    build(root / "own", root / "own.csv", root / "images", test_fraction=0.3)
    return root, table


def overlap_of(root, name, rows, images):
    rows.to_csv(root / f"{name}.csv", index=False)
    build(root / name, root / f"{name}.csv", images, test_fraction=1, val_fraction=0, only_test=True)
    entry("find_overlap", "--data-dir", root / "own", "--external-dir", root / name, "--output", root / f"{name}.json")
    return json.loads((root / f"{name}.json").read_text())


def renamed(rows):
    """The rows as another clinic would number them."""
    rows = rows.copy()
    for column in ("patient_id", "sample_id"):
        if column in rows:
            rows[column] = [f"X{n}" for n in range(len(rows))]
    return rows


def number_of_images(rows):
    return int(rows[["image_left", "image_right"]].ne("").sum().sum())


def splits(root):
    return pd.read_parquet(root / "own/samples.parquet").set_index("patient_id")["split"]


def test_strangers_are_strangers(drawn):
    root, table = drawn
    rows = table.iloc[40:].copy()
    rows["text"] = [f"A report of its own, number {n}." for n in range(len(rows))]
    for column in ("text_left", "text_right"):
        if column in rows:
            rows[column] = rows["text"]
    found = overlap_of(root, "strangers", rows, root / "images")
    assert found["patients"] == 20
    assert found["images"] == number_of_images(rows)
    for key in ("same_id", "image_copies", "near_duplicates", "image_patients", "identical_texts"):
        assert found[key] == 0, key
    assert found["left_out"] == []


def test_copies_under_other_names_are_found_and_those_of_test_are_not_training(drawn):
    root, table = drawn
    split = splits(root)
    rows = table.copy()
    known = rows["patient_id"].map(split).isin(["train", "val"])
    found = overlap_of(root, "copies", renamed(rows), root / "images")
    assert found["same_id"] == 0
    assert found["image_copies"] == number_of_images(rows[known])
    assert found["image_patients"] == known.sum()
    assert sorted(found["left_out"]) == sorted(f"X{n}" for n in np.flatnonzero(known))
    assert found["identical_texts"] >= known.sum()


def test_photographs_that_were_encoded_again_are_found(drawn):
    """Smaller, brighter, as JPEG of middling quality: no byte is the same."""
    root, table = drawn
    split = splits(root)
    rows = table[table["patient_id"].map(split) == "train"].head(8)
    (root / "again").mkdir()
    for name in rows[["image_left", "image_right"]].to_numpy().ravel():
        if name:
            with Image.open(root / "images" / name) as image:
                small = image.convert("RGB").resize((image.width * 4 // 5, image.height * 4 // 5))
            stream = io.BytesIO()
            ImageEnhance.Brightness(small).enhance(1.1).save(stream, "JPEG", quality=70)
            (root / "again" / name).parent.mkdir(parents=True, exist_ok=True)
            (root / "again" / name).write_bytes(stream.getvalue())
    found = overlap_of(root, "encoded", renamed(rows), root / "again")
    assert found["image_copies"] == 0
    assert found["near_duplicates"] >= 0.9 * number_of_images(rows)
    assert found["image_patients"] == 8


def test_ids_that_coincide_prove_nothing_without_images(drawn):
    root, table = drawn
    split = splits(root)
    known = split[split != "test"].index[:12]
    strangers = table.iloc[40:52].copy()
    strangers["patient_id"] = list(known)
    if "sample_id" in strangers:
        strangers["sample_id"] = list(known)
    found = overlap_of(root, "numbered", strangers, root / "images")
    assert found["same_id"] == 12
    assert not found["ids_confirmed"]
    assert found["left_out"] == []
    # one of them with an image of his own: now the ids are known to be the same people's
    rows = strangers.copy()
    own = table.set_index("patient_id").loc[known[0]]
    for column in ("image_left", "image_right"):
        rows.iloc[0, rows.columns.get_loc(column)] = own[column]
    found = overlap_of(root, "confirmed", rows, root / "images")
    assert found["ids_confirmed"]
    assert found["image_patients"] == 1
    assert len(found["left_out"]) == 12


def test_texts_made_from_labels_are_no_reports(drawn):
    root, table = drawn
    columns = [name for name in table.columns if not name.startswith("text")]
    found = overlap_of(root, "labels", renamed(table[columns].iloc[:10]), root / "images")
    assert found["identical_texts"] is None


NOTHING_SHARED = {"patients": 40, "samples": 40, "images": 40, "same_id": 0, "ids_confirmed": False, "image_copies": 0,
                  "near_duplicates": 0, "image_patients": 0, "identical_texts": 0}  # fmt: skip


@pytest.mark.parametrize(("out", "left"), [(0, None), (20, 20), (35, None)])
def test_scores_without_the_people_who_are_in_both(out, left):
    """The first patients are named right since they were trained on, the others by a coin; few are not scored."""
    target = np.arange(40) % 2
    named = np.where(np.arange(40) < 20, target, np.arange(40) // 2 % 2)
    table = pd.DataFrame({"sample_id": [f"s{n}" for n in range(40)], "patient_id": [f"p{n}" for n in range(40)],
                          "eye": "patient", "target": target})  # fmt: skip
    table = table.assign(score_0=1.0 - named, score_1=0.0 + named)
    evaluation = evaluation_of(confusion={"classes": ["a", "b"], "matrix": []})
    found = with_overlap(evaluation, table, {**NOTHING_SHARED, "left_out": table["sample_id"].tolist()[:out]})
    overlap = found.to_dict()["overlap"]
    assert overlap["left_out"] == {"samples": out, "patients": out}
    if left is None:
        assert overlap["without"] is None
        return
    assert overlap["without"]["counts"] == {"patients": left, "scored": left}
    assert overlap["without"]["zero_shot"]["zero_shot_accuracy"]["value"] == pytest.approx(0.5)
