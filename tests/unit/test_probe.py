"""The linear probe is fitted on all training patients; what its seeds leave out shows how much that matters."""

import numpy as np
import pandas as pd
import pytest
from documents import ORIGIN
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.preprocessing import StandardScaler

from retclip.evaluation.test_set import linear_probe
from retclip.metrics.evaluation_report import Retrieval, evaluation_document

METRIC = "zero_shot_balanced_accuracy"


class Labeled:
    """As much of a split as a probe needs: patients with one of three classes each."""

    classes = ("a", "b", "c")

    def __init__(self, patients: int) -> None:
        self.targets = {"patient": np.arange(patients) % 3}
        names = np.arange(patients).astype(str)
        self.frame = pd.DataFrame({"sample_id": names, "patient_id": names})

    def __len__(self) -> int:
        return len(self.frame)


def split_of(generator, patients):
    """A split, and features that tell its classes apart a little."""
    split = Labeled(patients)
    return split, {"patient": np.eye(3)[split.targets["patient"]] + 0.8 * generator.normal(size=(patients, 3))}


def test_the_probe_is_fitted_on_all_of_train():
    generator = np.random.default_rng(0)
    pairs = {name: split_of(generator, count) for name, count in (("train", 60), ("val", 45), ("test", 90))}
    splits, inputs = ({name: pair[place] for name, pair in pairs.items()} for place in (0, 1))
    test = splits["test"]
    target = test.targets["patient"]
    table = test.frame.assign(eye="patient", target=target, labels=[test.classes[k] for k in target], logit_scale=1.0)
    for k in range(3):
        table[f"score_{k}"] = table[f"template_{k}"] = generator.normal(size=90)
    probe, table = linear_probe(splits, inputs, table, "image_encoder")
    retrieval = Retrieval({name: np.ones(90, int) for name in ("image_to_text", "text_to_image")},
                          test.frame["patient_id"].to_numpy(), test.frame["sample_id"].tolist())  # fmt: skip
    document = evaluation_document(table, test.frame, list(test.classes), retrieval, {}, False, ORIGIN, probe)
    found = document.linear_probe[METRIC]
    scaler = StandardScaler().fit(inputs["train"]["patient"])
    plain = LogisticRegression(C=probe.strength, max_iter=2000, class_weight="balanced").fit(
        scaler.transform(inputs["train"]["patient"]), splits["train"].targets["patient"]
    )
    named = plain.predict(scaler.transform(inputs["test"]["patient"]))
    assert found["value"] == pytest.approx(balanced_accuracy_score(target, named))
    assert found["low"] < found["value"] < found["high"]
    assert len(found["seeds"]) == 5
