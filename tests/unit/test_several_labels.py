"""Data whose every unit has several labels: what is built, planned, scored and ranked of it."""

import json

import numpy as np
import pandas as pd
import pytest
from running import BUILD
from small_tables import GOOD, build, forty_patients, write

from retclip.data.audit import audit
from retclip.data.preview import preview
from retclip.metrics.nulls import judge
from retclip.metrics.refusals import refuse_meaningless
from retclip.metrics.registry import MULTI_LABEL, SELECTABLE
from retclip.metrics.scores import draws_of, multi_label_score, standard_error

CLASSES = ["AMD", "DR", "Glaucoma", "Myopia"]


@pytest.fixture
def folder(tmp_path):
    forty_patients(tmp_path)
    write(tmp_path, "patient_id,image,DR,AMD,Glaucoma,Myopia",
          [f"P{i},{i}.png,{i % 2},{1 - i % 2},{int(i % 3 > 0)},{int(i % 3 == 0)}" for i in range(GOOD)])  # fmt: skip
    return tmp_path


COLUMNS = {"label": {"one_hot": ["DR", "AMD", "Glaucoma", "Myopia"]}}


def test_it_is_built_with_the_classes_that_are_joined(folder, capsys):
    code, said = build(folder, capsys, columns=COLUMNS, max_bad_fraction=0)
    assert code == 0, said
    fingerprint = json.loads((folder / "out/fingerprint.json").read_text())
    assert fingerprint["classes"] == CLASSES
    total = {name: sum(split["per_class"][name] for split in fingerprint["splits"].values()) for name in CLASSES}
    assert total == {"AMD": 20, "DR": 20, "Glaucoma": 26, "Myopia": 14}


def test_one_class_is_refused_all_the_same(folder, capsys):
    code, said = build(folder, capsys, columns={"label": {"one_hot": ["DR"]}}, max_bad_fraction=0)
    assert code == 1
    assert "with one class there is nothing to tell apart" in said


def test_the_plan_says_which_metric_knows_several_labels(folder):
    found = preview(
        {**BUILD, "image_size": 24, "columns": COLUMNS}, folder / "table.csv", folder / "images", None, None
    )
    assert (found.classes, found.single) == (4, 0)
    assert "40 have several" in "\n".join(found.lines)
    refuse_meaningless(MULTI_LABEL, 4, 0)
    with pytest.raises(ValueError, match=f"every unit has several labels; choose {MULTI_LABEL}"):
        refuse_meaningless("zero_shot_accuracy", 4, 0)
    with pytest.raises(ValueError, match="the data has no labels"):
        refuse_meaningless(MULTI_LABEL, 0)


def table_of(skill: float) -> pd.DataFrame:
    """Predictions of 120 patients with two labels each, whose scores are right by `skill` standard deviations."""
    draws = np.random.default_rng(0)
    pairs = [sorted(draws.choice(4, 2, replace=False)) for _ in range(120)]
    score = draws.normal(size=(120, 4))
    for row, pair in enumerate(pairs):
        score[row, pair] += skill
    names = ["|".join(CLASSES[k] for k in pair) for pair in pairs]
    table = pd.DataFrame(score, columns=[f"score_{k}" for k in range(4)])
    return table.assign(sample_id=[f"S{i}" for i in range(120)], patient_id=[f"P{i}" for i in range(120)],
                        eye="patient", target=-1, labels=names)  # fmt: skip


def test_its_score_has_an_error_and_a_null(folder):
    """Against scikit-learn's macro average of one class against the rest."""
    from sklearn.metrics import roc_auc_score

    assert MULTI_LABEL in SELECTABLE
    good, none = table_of(1.5), table_of(0.0)
    member = np.array([[name in labels.split("|") for name in CLASSES] for labels in good["labels"]])
    value = multi_label_score(good, CLASSES)
    assert value == pytest.approx(roc_auc_score(member, good[[f"score_{k}" for k in range(4)]], average="macro"))
    error = standard_error(MULTI_LABEL, good, CLASSES)
    assert error == pytest.approx(np.std(draws_of(MULTI_LABEL, good, classes=CLASSES), ddof=1), rel=0.05)
    first, second = judge(MULTI_LABEL, [[good], [none]], [0.5, 0.5], CLASSES)
    assert first.p_value is None or first.p_value <= 0.05
    assert first.high < value
    assert second.p_value is None or second.p_value > 0.05
    assert multi_label_score(good.assign(labels=""), CLASSES) is None


@pytest.fixture
def beside(tmp_path):
    """AMD and DR stand alone, Glaucoma only beside DR, and Myopia and Scar only beside each other."""
    forty_patients(tmp_path)
    labels = ["DR", "AMD", "DR|Glaucoma", "AMD", "Myopia|Scar"]
    write(tmp_path, "patient_id,image,label", [f"P{i},{i}.png,{labels[i % 5]}" for i in range(GOOD)])
    return tmp_path


def test_a_class_that_never_stands_alone_is_a_class(beside, capsys):
    """The plan counts five, and so does the build; nothing is dropped from prompts and scores."""
    found = preview({**BUILD, "image_size": 24}, beside / "table.csv", beside / "images", None, None)
    assert found.classes == 5
    code, said = build(beside, capsys, max_bad_fraction=0)
    assert code == 0, said
    fingerprint = json.loads((beside / "out/fingerprint.json").read_text())
    assert fingerprint["classes"] == ["AMD", "DR", "Glaucoma", "Myopia", "Scar"]
    total = {
        key: {
            name: sum(split[key][name] for split in fingerprint["splits"].values()) for name in fingerprint["classes"]
        }
        for key in ("per_class", "per_class_alone")
    }
    assert total["per_class"] == {"AMD": 16, "DR": 16, "Glaucoma": 8, "Myopia": 8, "Scar": 8}
    assert total["per_class_alone"] == {"AMD": 16, "DR": 8, "Glaucoma": 0, "Myopia": 0, "Scar": 0}


@pytest.mark.parametrize("metric", ["zero_shot_balanced_accuracy", MULTI_LABEL])
def test_the_audit_says_which_classes_stand_beside_others_alone(beside, capsys, metric):
    code, said = build(beside, capsys, max_bad_fraction=0)
    assert code == 0, said
    document = audit(pd.read_parquet(beside / "out/samples.parquet"), pd.read_parquet(beside / "out/pictures.parquet"),
                     json.loads((beside / "out/fingerprint.json").read_text()), {}, 77, metric)  # fmt: skip
    assert not [line for line in document["warnings"] if "no example of Glaucoma" in line]
    told = [line for line in document["warnings"] if "Glaucoma" in line and "beside" in line]
    if metric == MULTI_LABEL:
        assert not told
    else:
        assert told == ["Glaucoma, Myopia, Scar only stand beside other labels: zero_shot_balanced_accuracy never "
                        "scores them; multi_label_macro_auroc does."]  # fmt: skip


def test_one_class_alone_is_nothing_to_choose_by(beside, capsys):
    """DR alone or beside Glaucoma: two classes, of which a metric of one label sees one."""
    write(beside, "patient_id,image,label", [f"P{i},{i}.png,{('DR', 'DR|Glaucoma')[i % 2]}" for i in range(GOOD)])
    found = preview({**BUILD, "image_size": 24}, beside / "table.csv", beside / "images", None, None)
    assert (found.classes, found.single) == (2, 1)
    refuse_meaningless(MULTI_LABEL, found.classes, found.single)
    with pytest.raises(ValueError, match=f"units of one label are all of one class; choose {MULTI_LABEL}"):
        refuse_meaningless("zero_shot_accuracy", found.classes, found.single)
