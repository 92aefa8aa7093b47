"""What a tuned model has to beat: age and sex alone, color alone, and how far a second reader agrees."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from running import build_flags, entry
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score

from retclip.metrics.reference_document import ReferenceModels

pytestmark = pytest.mark.slow

METRIC = "zero_shot_balanced_accuracy"
CLASSES = ["Cataract", "Glaucoma", "Healthy"]
# Of each class: how its photographs are colored, and how old its patients are on average.
COLORS = {"Cataract": (200, 180, 140), "Glaucoma": (120, 60, 30), "Healthy": (190, 90, 40)}
AGES = {"Cataract": 72, "Glaucoma": 60, "Healthy": 40}
PATIENTS = 90


def table_of(folder, by_eye: bool = False, **columns) -> pd.DataFrame:
    """Writes table.csv and its photographs; the fellow eyes of a patient share a class. columns: label_2 and the like,
    each a function of the patient's number and class."""
    generator = np.random.default_rng(5)
    y, x = np.mgrid[:32, :32]
    rows = []
    for number in range(PATIENTS):
        name = CLASSES[number % 3]
        row = {"patient_id": f"P{number}", "split": ("train", "train", "val", "test", "test")[number % 5],
               "text": f"Report {number}."}  # fmt: skip
        row |= {column: value(number, name) for column, value in columns.items()}
        for eye in ("left", "right"):
            pixels = np.zeros((32, 32, 3), np.uint8)
            pixels[np.hypot(x - 16, y - 16) < 14] = COLORS[name]
            noise = generator.integers(-8, 9, pixels.shape) * (pixels > 0)
            Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8)).save(folder / f"{number}_{eye}.png")
            if by_eye:
                rows.append({**row, "image": f"{number}_{eye}.png", "eye": eye, "label": name})
            else:
                row |= {f"image_{eye}": f"{number}_{eye}.png", f"label_{eye}": name}
        if not by_eye:
            rows.append(row)
    table = pd.DataFrame(rows)
    table.to_csv(folder / "table.csv", index=False)
    return table


def scored(folder, **settings) -> ReferenceModels:
    flags = build_flags(folder / "table.csv", folder, folder / "data", folder / "state", image_size=32, **settings)
    entry("build_lmdb", *flags)
    output = folder / "reference_models.json"
    entry("score_reference_models", "--data-dir", folder / "data", "--code", "c", "--output", output)
    return ReferenceModels.read(output)


def rows_of(found: ReferenceModels) -> dict:
    return {one.name: one for one in found.models}


def age_of(number: int, name: str) -> int:
    return int(AGES[name] + np.random.default_rng(number).normal(scale=15))


def sex_of(number: int, name: str) -> str:
    return "FM"[number % 2] if number % 7 else ""


def test_age_and_sex_are_fitted_on_train_and_scored_on_test(tmp_path):
    """Recomputed from the samples by plain scikit-learn, with the penalty that the document names."""
    table_of(tmp_path, age=age_of, sex=sex_of)
    row = rows_of(scored(tmp_path))["age and sex"]
    frames = {name: pd.read_parquet(tmp_path / f"data/samples_{name}.parquet") for name in ("train", "test")}
    ages = frames["train"]["age"].astype(float)

    def columns(frame):
        age = (frame["age"].astype(float) - ages.mean()) / ages.std(ddof=0)
        return np.column_stack([age, frame["sex"].eq("F"), frame["sex"].eq("M")])

    def eyes(frame):
        return np.tile(columns(frame), (2, 1)), [*frame["label_left"], *frame["label_right"]]

    x, y = eyes(frames["train"])
    center, spread = x.mean(0), x.std(0)
    model = LogisticRegression(C=row.strength, max_iter=2000, class_weight="balanced").fit((x - center) / spread, y)
    x, y = eyes(frames["test"])
    assert row.scores[METRIC]["value"] == pytest.approx(
        balanced_accuracy_score(y, model.predict((x - center) / spread))
    )
    assert row.scores[METRIC]["low"] < row.scores[METRIC]["value"] < row.scores[METRIC]["high"]
    assert (row.train_units, row.test_units, row.left_out) == (72, 72, 0)


def test_colors_that_give_the_class_away_are_found(tmp_path):
    table_of(tmp_path)
    found = scored(tmp_path)
    assert rows_of(found)["color histogram"].scores[METRIC]["value"] == 1.0
    assert {one.name: one.reason for one in found.omitted} == {
        "age and sex": "the table has neither of them for the training patients",
        "second reader": "the table has nothing in label_2_left and label_2_right",
    }


@pytest.mark.parametrize("by_eye", [False, True])
def test_a_second_reader_is_scored_where_both_have_said_something(tmp_path, by_eye):
    """In a table of eyes the label is the eye's, and so is the second reader's. Letter case is no disagreement, a name
    that is no class is one, and several labels are no answer."""
    names = {0: "healthy", 1: "Myopia", 2: "Cataract|Glaucoma", 3: ""}

    def second(number: int, name: str) -> str:
        return names.get(number // 5 % 6, name)

    columns = {"label_2": second} if by_eye else {"label_2_left": second, "label_2_right": second}
    table = table_of(tmp_path, by_eye, **columns)
    row = rows_of(scored(tmp_path))["second reader"]
    test = table[table["split"] == "test"]
    first = test["label"] if by_eye else test["label_left"]
    other = test["label_2"] if by_eye else test["label_2_left"]
    counted = other.ne("") & ~other.str.contains("|", regex=False)
    agrees = first.str.lower().eq(other.str.lower())[counted]
    expected = agrees.groupby(first[counted]).mean().mean()
    assert 0.3 < expected < 0.95
    assert row.scores[METRIC]["value"] == pytest.approx(expected)
    times = 1 if by_eye else 2
    assert row.test_units == times * int(counted.sum())
    assert row.left_out == times * int(other.str.contains("|", regex=False).sum())
    assert (row.train_units, row.strength) == (None, None)


def test_a_second_reader_may_stand_in_a_column_of_any_name_and_in_numbers(tmp_path):
    table = table_of(tmp_path, by_eye=True)
    numbers = table["label"].map({"Cataract": "0", "Glaucoma": "1", "Healthy": "2"})
    numbers[::9] = "1"
    table.assign(**{"grader B": numbers}).to_csv(tmp_path / "table.csv", index=False)
    words = {"0": "Cataract", "1": "Glaucoma", "2": "Healthy"}
    found = scored(tmp_path, columns={"label_2": "grader B"}, values={"label_2": words})
    test = table["split"] == "test"
    agrees = numbers.map(words).eq(table["label"])[test].groupby(table["label"][test]).mean().mean()
    assert agrees < 1
    assert rows_of(found)["second reader"].scores[METRIC]["value"] == pytest.approx(agrees)


def test_the_test_labels_choose_nothing(tmp_path):
    """Other labels of the test patients change scores, and neither the penalty nor what is fitted."""
    table = table_of(tmp_path, age=age_of, sex=sex_of)
    before = rows_of(scored(tmp_path))
    test = table["split"] == "test"
    table.loc[test, ["label_left", "label_right"]] = np.roll(table.loc[test, ["label_left", "label_right"]], 1, axis=0)
    other = tmp_path / "other"
    other.mkdir()
    for image in tmp_path.glob("*.png"):
        (other / image.name).symlink_to(image)
    table.to_csv(other / "table.csv", index=False)
    after = rows_of(scored(other))
    assert {name: row.strength for name, row in before.items()} == {name: row.strength for name, row in after.items()}
    assert after["color histogram"].scores[METRIC]["value"] < 0.2


def test_without_labels_nothing_is_measured(tmp_path):
    table = table_of(tmp_path, age=age_of, sex=sex_of).drop(columns=["label_left", "label_right"])
    table.to_csv(tmp_path / "table.csv", index=False)
    found = scored(tmp_path)
    assert found.models == ()
    assert {one.reason for one in found.omitted} == {
        "fewer than two classes are labeled in train, or none in val or test"
    }


def test_the_document_gives_the_file_again(tmp_path):
    table_of(tmp_path, age=age_of)
    document = scored(tmp_path).to_dict()
    assert document == json.loads((tmp_path / "reference_models.json").read_text())
