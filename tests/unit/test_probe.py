"""The linear probe is fitted on all training patients; what its seeds leave out shows how much that matters."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.preprocessing import StandardScaler

from retclip.evaluation.test_set import linear_probe
from retclip.metrics.evaluation_report import Retrieval, evaluation_document

METRIC = "zero_shot_balanced_accuracy"


def split_of(generator, patients):
    """Three classes a patient, and features that tell them apart a little."""
    target = np.arange(patients) % 3
    frame = pd.DataFrame({"sample_id": [f"s{i}" for i in range(patients)], "patient_id": [f"p{i}" for i in range(patients)]})  # fmt: skip
    split = SimpleNamespace(frame=frame, targets={"patient": target}, classes=list("abc"),
                            present=np.ones((patients, 2), dtype=bool))  # fmt: skip
    return split, {"patient": np.eye(3)[target] + 0.8 * generator.normal(size=(patients, 3))}


def test_the_probe_is_fitted_on_all_of_train():
    generator = np.random.default_rng(0)
    pairs = {name: split_of(generator, count) for name, count in (("train", 60), ("val", 45), ("test", 90))}
    splits, inputs = ({name: pair[place] for name, pair in pairs.items()} for place in (0, 1))
    test = splits["test"]
    table = test.frame.assign(eye="patient", target=test.targets["patient"], labels=[test.classes[k] for k in test.targets["patient"]],
                              logit_scale=1.0)  # fmt: skip
    for k in range(3):
        table[f"score_{k}"] = table[f"template_{k}"] = generator.normal(size=90)
    probe, table = linear_probe(splits, inputs, table, "image_encoder")
    retrieval = Retrieval({name: np.ones(90, int) for name in ("image_to_text", "text_to_image")},
                          test.frame["patient_id"].to_numpy(), test.frame["sample_id"].tolist())  # fmt: skip
    found = evaluation_document(table, test.frame, test.classes, retrieval, {}, False, probe)["linear_probe"][METRIC]
    scaler = StandardScaler().fit(inputs["train"]["patient"])
    plain = LogisticRegression(C=probe.strength, max_iter=2000, class_weight="balanced").fit(
        scaler.transform(inputs["train"]["patient"]), splits["train"].targets["patient"]
    )
    named = plain.predict(scaler.transform(inputs["test"]["patient"]))
    assert found["value"] == pytest.approx(balanced_accuracy_score(test.targets["patient"], named))
    assert found["low"] < found["value"] < found["high"]
    assert len(found["seeds"]) == 5
