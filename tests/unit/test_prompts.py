"""How a zero-shot score hangs on the class prompts, recomputed sentence by sentence."""

import os
import stat

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, recall_score

from retclip.evaluation import prompts
from retclip.evaluation.prompts import HALVES, LabeledFeatures, PromptFeatures

METRIC = "zero_shot_balanced_accuracy"
CLASSES = ["a", "b", "c"]
COUNTS = (3, 1, 4)


def unit(values: np.ndarray) -> np.ndarray:
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def images() -> LabeledFeatures:
    """Two eyes of 60 patients; the right eye's features are in another space than the left's."""
    generator = np.random.default_rng(1)
    target = np.tile(np.arange(60) % 3, 2)
    view = np.repeat(["left", "right"], 60)
    centers = {"left": np.eye(8)[:3], "right": np.eye(8)[5:]}
    features = np.array([centers[v][k] for v, k in zip(view, target, strict=True)]) + 0.5 * generator.normal(
        size=(120, 8)
    )
    return LabeledFeatures(unit(features), view, target, np.tile(np.arange(60).astype(str), 2), "origin")


@pytest.fixture
def sentences() -> PromptFeatures:
    generator = np.random.default_rng(2)
    owner = np.repeat(np.arange(3), COUNTS)
    centers = {"left": np.eye(8)[:3], "right": np.eye(8)[5:], "patient": np.eye(8)[2:5]}
    features = {view: unit(center[owner] + 0.5 * generator.normal(size=(8, 8))) for view, center in centers.items()}
    return PromptFeatures(CLASSES, [f"sentence {n}" for n in range(8)], owner, features)


def named(images: LabeledFeatures, sentences: PromptFeatures, kept: list[int]) -> np.ndarray:
    """The likeliest class of each image, one after the other."""
    found = []
    for feature, view in zip(images.features, images.view, strict=True):
        scores = []
        for k in range(3):
            own = [sentences.features[view][p] for p in kept if sentences.owner[p] == k]
            mean = np.mean(own, axis=0)
            scores.append(float(feature @ mean / np.linalg.norm(mean)))
        found.append(int(np.argmax(scores)))
    return np.array(found)


def sensitivity(images, sentences):
    template = PromptFeatures(CLASSES, CLASSES, np.arange(3), {v: f[[0, 3, 4]] for v, f in sentences.features.items()})
    return prompts.sensitivity(images, sentences, [template, template], METRIC, seed=7)


def test_each_sentence_adds_what_leaving_it_out_takes(images, sentences):
    found = sensitivity(images, sentences)
    everything = named(images, sentences, list(range(8)))
    assert found.ensemble["value"] == pytest.approx(balanced_accuracy_score(images.target, everything))
    assert [one.prompt for one in found.prompts] == [f"sentence {n}" for n in (0, 1, 2, 4, 5, 6, 7)]
    changes = []
    for one in found.prompts:
        position = int(one.prompt.split()[1])
        without = named(images, sentences, [p for p in range(8) if p != position])
        k = int(sentences.owner[position])
        assert one.label == CLASSES[k]
        change = found.ensemble["value"] - balanced_accuracy_score(images.target, without)
        assert one.adds == pytest.approx(change, abs=1e-9)
        recalls = [recall_score(images.target, names, labels=[k], average=None)[0] for names in (everything, without)]
        assert one.adds_recall == pytest.approx(recalls[0] - recalls[1], abs=1e-9)
        changes.append(change)
    assert min(changes) < 0 < max(changes)


def test_a_single_template_is_one_sentence_a_class(images, sentences):
    found = sensitivity(images, sentences)
    expected = balanced_accuracy_score(images.target, named(images, sentences, [0, 3, 4]))
    assert [one.value for one in found.templates] == pytest.approx([expected] * 2)


def test_halves_hold_half_of_each_class_and_every_seed_gives_them_again(images, sentences):
    for seed in range(50):
        kept = prompts._half(sentences.owner, np.random.default_rng(seed))
        assert np.bincount(sentences.owner[kept]).tolist() == [2, 1, 2]
    found = sensitivity(images, sentences)
    assert len(found.halves) == HALVES
    assert len(set(found.halves)) > 3
    assert sensitivity(images, sentences).halves == found.halves
    generator = np.random.default_rng(7)
    kept = np.flatnonzero(prompts._half(sentences.owner, generator)).tolist()
    assert found.halves[0] == pytest.approx(balanced_accuracy_score(images.target, named(images, sentences, kept)))


def test_features_are_kept_as_they_are(images, tmp_path):
    images.save(tmp_path / "val_features.npz")
    again = LabeledFeatures.load(tmp_path / "val_features.npz")
    assert all(np.array_equal(one, other) for one, other in zip(images[:-1], again[:-1], strict=True))
    assert again.origin == "origin"


def test_other_prompts_differ_by_what_the_same_patients_say(images, sentences):
    worse = sentences._replace(features={view: unit(one + 1.5 * np.random.default_rng(3).normal(size=one.shape))
                                         for view, one in sentences.features.items()})  # fmt: skip
    found = prompts.compared(images, sentences, worse, METRIC)
    own, other = (
        balanced_accuracy_score(images.target, named(images, one, list(range(8)))) for one in (sentences, worse)
    )
    assert (found["own"].value, found["other"].value) == pytest.approx((own, other))
    gap = found["difference"]
    assert gap.value == pytest.approx(other - own)
    assert gap.low < gap.value < gap.high
    wide = found["own"].high - found["own"].low + found["other"].high - found["other"].low
    assert gap.high - gap.low < wide


def test_kept_features_are_their_owners(images, tmp_path):
    """They are of patients, and bear their ids."""
    before = os.umask(0o022)
    try:
        images.save(tmp_path / "val_features.npz")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "val_features.npz").stat().st_mode) == 0o600
    again = LabeledFeatures.load(tmp_path / "val_features.npz")
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(again, images, strict=True))
