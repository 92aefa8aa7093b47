"""Intervals of classes with a handful of test patients: honest, or none."""

import numpy as np
import pytest
from documents import ORIGIN
from simulations import predictions

from retclip.metrics.evaluation_report import Retrieval, evaluation_document


def rows_of(generator, count, hit):
    """per_class of two classes, the first of `count` patients, found with the probability `hit`, among 60 others."""
    target = np.repeat([0, 1], [count, 60])
    found = generator.random(len(target)) < hit
    score = np.where(found == (target == 0), 1.0, 0.0) + 1e-6 * generator.random(len(target))
    table = predictions(target, np.column_stack([score, 1 - score]), labels=np.where(target == 0, "a", "b"))
    table = table.assign(eye="patient", logit_scale=1.0, template_0=score, template_1=1 - score)
    ranks = {name: np.ones(len(target), int) for name in ("image_to_text", "text_to_image")}
    retrieval = Retrieval(ranks, table["patient_id"].to_numpy(), table["sample_id"].tolist())
    cuts = {"a": 0.5, "b": 0.5}
    return evaluation_document(table, table, ["a", "b"], retrieval, cuts, False, ORIGIN).per_class


@pytest.mark.slow
@pytest.mark.parametrize("hit", [0.5, 0.9])
@pytest.mark.parametrize("count", [3, 10])
def test_the_sensitivity_of_three_patients_has_an_honest_interval(count, hit, monkeypatch):
    """Resampled, three of three found gave an interval from 1 to 1: it held a sensitivity of .9 in 27 of 100."""
    monkeypatch.setattr("retclip.metrics.evaluation_report.DRAWS", 50)
    generator, studies, covered = np.random.default_rng([count, int(10 * hit)]), 60, 0
    for _ in range(studies):
        row = rows_of(generator, count, hit)[0]
        covered += row["sensitivity_low"] <= hit <= row["sensitivity_high"]
    print(f"{count} patients, sensitivity {hit}: covered {covered / studies:.2f} of nominal .95")
    assert covered / studies > 0.88


def test_the_area_of_three_patients_has_none():
    row = rows_of(np.random.default_rng(1), 3, 0.9)[0]
    assert row["auroc"] is not None
    assert row["auroc_low"] is None
    assert rows_of(np.random.default_rng(1), 12, 0.9)[0]["auroc_low"] is not None
