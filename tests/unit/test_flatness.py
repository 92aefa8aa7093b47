"""Whether configurations differ by more than patients and seeds explain."""

import json

import numpy as np
import pytest

import propose_bracket
from retclip.search.flatness import flatness_of


def studied(spread, trials=20, noise=0.03, studies=400, seed=1):
    generator = np.random.default_rng([seed, trials])
    return [
        flatness_of(0.4 + generator.normal(size=trials) * np.hypot(spread, noise), np.full(trials, noise))
        for _ in range(studies)
    ]


def test_equal_configurations_are_called_flat_as_often_as_it_says():
    """Nominal: 95 of 100, whatever the number of trials."""
    for trials in (4, 20, 100):
        flat = np.mean([one.is_flat for one in studied(0.0, trials)])
        print(f"{trials} equal configurations are called flat in {flat:.3f} of studies")
        assert 0.92 <= flat <= 0.995


def test_configurations_that_differ_are_not():
    assert np.mean([one.is_flat for one in studied(0.06)]) < 0.05


def test_the_interval_of_the_spread_covers_it():
    found = studied(0.03)
    covered = np.mean([one.low <= 0.03 <= one.high for one in found])
    print(f"intervals of the spread hold it in {covered:.3f} of studies")
    assert 0.92 <= covered <= 0.98


def test_of_few_trials_nothing_is_known():
    assert flatness_of(np.array([0.5, 0.6]), np.array([0.1, 0.1])) is None
    assert flatness_of(np.array([0.5, 0.6, 0.7, 0.4]), np.array([0.1, 0.1, np.nan, 0.1])) is None


BEST = {"learning_rate": 1e-4, "batch_size": 64}


@pytest.mark.parametrize(
    ("changes", "flags", "different"),
    [
        ({}, ["--stop-when-flat"], 1),
        ({}, [], 4),
        ({"flatness": {"is_flat": False}}, ["--stop-when-flat"], 4),
        ({"flatness": None}, ["--stop-when-flat"], 4),
        ({"id": "defaults"}, ["--stop-when-flat"], 4),
    ],
)
def test_after_a_flat_phase_1_every_slot_is_the_same_trial(tmp_path, changes, flags, different):
    """So one training run serves them all. Where nothing was learned, flat says nothing, and the search goes on."""
    best = {"id": "p1-0", "configured": BEST, "flatness": {"is_flat": True, "high": 0.01, "trials": 17}, **changes}
    (tmp_path / "best.json").write_text(json.dumps(best))
    space = {"learning_rate": {"times_best": [0.5, 1.0, 2.0]}, "batch_size": [32, 64]}
    propose_bracket.main(["--best", str(tmp_path / "best.json"), "--space", json.dumps(space), "--strategy", "random",
                          "--metric", "zero_shot_accuracy", "--slots", "4", "--seed", "1", *flags,
                          "--output", str(tmp_path / "bracket.json")])  # fmt: skip
    found = json.loads((tmp_path / "bracket.json").read_text())["candidates"]
    assert len(found) == 4
    assert len({json.dumps(one) for one in found}) == different
    if different == 1:
        assert found[0] == {"configured": BEST}
