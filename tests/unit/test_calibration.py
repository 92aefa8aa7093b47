"""The calibration error of a model that is perfectly calibrated is zero, and that of one that is not is found."""

import numpy as np
import pytest

from retclip.metrics.calibration import calibration
from retclip.metrics.scores import resamples


def drawn(generator, patients=300, classes=8, overconfidence=1.0):
    """Similarities, scales, targets and patients of a model whose probabilities are right, or too sure."""
    logits = 2.0 * generator.normal(size=(patients, classes))
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    target = (shares.cumsum(1) < generator.random((patients, 1))).sum(1).clip(max=classes - 1)
    return target, logits / 10, np.full(patients, 10.0 * overconfidence), np.arange(patients)


@pytest.mark.slow
def test_a_perfectly_calibrated_model_has_no_error_within_its_interval():
    """The plain error was .068 on average, and outside of its own interval in 12 to 19 of 100."""
    generator, studies, outside, plain, debiased, within = np.random.default_rng(1), 200, 0, [], [], 0
    for _ in range(studies):
        target, score, scale, patients = drawn(generator)
        found = calibration(target, score, scale, resamples(patients, 200))
        error = found.debiased_calibration_error
        outside += error["low"] > 0
        debiased.append(error["value"])
        plain.append(found.expected_calibration_error["value"])
        expected = found.expected_if_calibrated
        within += expected["low"] <= plain[-1] <= expected["high"]
    print(f"plain {np.mean(plain):.3f}, debiased {np.mean(debiased):.3f}, interval above zero {outside / studies:.3f}, "
          f"plain within what is expected {within / studies:.3f}")  # fmt: skip
    assert outside / studies <= 0.06
    assert np.mean(debiased) < 0.6 * np.mean(plain)
    assert 0.9 <= within / studies <= 0.99
    assert expected["value"] == pytest.approx(np.mean(plain), abs=0.01)


@pytest.mark.slow
def test_an_overconfident_model_is_found_out():
    generator, studies, above, covered = np.random.default_rng(2), 60, 0, 0
    target, score, scale, patients = drawn(generator, patients=100_000, overconfidence=2.0)
    truth = calibration(target, score, scale, resamples(patients, 2)).debiased_calibration_error["value"]
    for _ in range(studies):
        target, score, scale, patients = drawn(generator, overconfidence=2.0)
        found = calibration(target, score, scale, resamples(patients, 200))
        error = found.debiased_calibration_error
        above += error["low"] > 0
        covered += error["low"] <= truth <= error["high"]
        assert found.expected_calibration_error["value"] > found.expected_if_calibrated["high"]
    assert above == studies
    assert covered / studies > 0.88
