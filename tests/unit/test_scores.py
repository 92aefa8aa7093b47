"""Scores against scikit-learn and against slow, obvious oracles."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from documents import ORIGIN
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    cohen_kappa_score,
    f1_score,
    roc_auc_score,
)

from retclip.metrics import evaluation_report as evaluation
from retclip.metrics import scores
from retclip.metrics.differences import holm
from retclip.metrics.estimates import Estimate
from retclip.metrics.registry import METRICS, MULTI_LABEL, SEVERAL_LABELS, Retrieval, ZeroShot
from retclip.metrics.subgroups import groups_of
from retclip.metrics.thresholds import choose_thresholds


def random_case(seed: int, samples: int = 60, classes: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return (
        generator.integers(0, classes, samples),
        generator.normal(size=(samples, classes)).round(1),  # rounding makes ties
        generator.integers(0, samples // 2, samples),
    )


@pytest.mark.parametrize("seed", range(5))
def test_point_scores_are_those_of_scikit_learn(seed):
    target, values, _ = random_case(seed)
    guess = values.argmax(1)
    found = scores.zero_shot_scores(target, values)
    assert found["zero_shot_accuracy"] == pytest.approx((guess == target).mean())
    assert found["zero_shot_balanced_accuracy"] == pytest.approx(balanced_accuracy_score(target, guess))
    assert found["zero_shot_macro_f1"] == pytest.approx(f1_score(target, guess, average="macro"))
    rocs = [roc_auc_score(target == c, values[:, c]) for c in range(4)]
    assert found["zero_shot_macro_auroc"] == pytest.approx(np.mean(rocs))


def test_a_class_that_is_missing_from_the_targets_does_not_count():
    target = np.array([0, 0, 2, 2])
    values = np.eye(3)[[0, 0, 2, 1]]
    assert scores.zero_shot_scores(target, values)["zero_shot_balanced_accuracy"] == pytest.approx(0.75)


def test_what_cannot_be_given_is_none():
    one_class = scores.zero_shot_scores(np.zeros(3, int), np.eye(2)[[0, 0, 1]])
    assert one_class["zero_shot_macro_auroc"] is None
    assert one_class["zero_shot_balanced_accuracy"] == pytest.approx(2 / 3)
    nothing = scores.zero_shot_scores(np.zeros(0, int), np.zeros((0, 2)))
    assert set(nothing.values()) == {None}


@pytest.mark.parametrize("metric", scores.ZERO_SHOT)
def test_bootstrap_equals_scoring_the_repeated_rows(metric):
    """The slow oracle writes every resampled patient's rows out and scores them plainly."""
    target, values, patients = random_case(3)
    draws = scores.bootstrap(metric, target, values, patients, draws=20, seed=7)
    units = np.unique(patients)
    generator = np.random.default_rng(7)
    counts = generator.multinomial(len(units), np.full(len(units), 1 / len(units)), size=20)
    for draw, count in zip(draws, counts, strict=True):
        rows = np.concatenate(
            [np.flatnonzero(patients == unit).repeat(n) for unit, n in zip(units, count, strict=True)]
        )
        assert draw == pytest.approx(scores.zero_shot_scores(target[rows], values[rows])[metric])


def table_of(target, values, patients, samples) -> pd.DataFrame:
    table = pd.DataFrame({"sample_id": samples, "patient_id": patients, "target": target})
    return table.assign(**{f"score_{k}": values[:, k] for k in range(values.shape[1])})


def test_a_patient_comes_and_goes_with_both_eyes():
    """Doubling every patient's rows adds no information, so the standard error must not shrink."""
    target, values, _ = random_case(1, samples=200)
    patients = np.arange(200)
    single = scores.standard_error("zero_shot_balanced_accuracy", table_of(target, values, patients, patients))
    twice = table_of(target.repeat(2), values.repeat(2, axis=0), patients.repeat(2), patients.repeat(2))
    assert scores.standard_error("zero_shot_balanced_accuracy", twice) == pytest.approx(single, rel=0.02)


def test_rows_without_a_label_are_not_scored_but_ranked():
    target, values, _ = random_case(1, samples=100)
    names = np.arange(100)
    labeled = table_of(target, values, names, names).assign(image_to_text_rank=1 + names % 4)
    unlabeled = labeled.assign(sample_id=names + 100, patient_id=names + 100, target=-1)
    both = pd.concat([labeled, unlabeled], ignore_index=True)
    assert len(scores.unpack(both)[0]) == 100
    draws = scores.draws_of("image_to_text_recall_at_1", both)
    assert draws.mean() == pytest.approx(0.25, abs=0.01)
    assert draws.std() == pytest.approx(np.sqrt(0.25 * 0.75 / 200), rel=0.1)  # the binomial formula
    # two rows of one sample are one query
    eyes = pd.concat([both, both], ignore_index=True)
    assert scores.draws_of("image_to_text_recall_at_1", eyes).std() == pytest.approx(draws.std(), rel=1e-6)


def test_levels_are_what_a_simulation_of_guessing_gives():
    generator = np.random.default_rng(0)
    target = generator.choice(4, size=4000, p=[0.6, 0.2, 0.15, 0.05])
    guesses = generator.normal(size=(4000, 4))
    found, levels = scores.zero_shot_scores(target, guesses), scores.chance_levels(target, 4)
    for metric in scores.ZERO_SHOT:
        assert levels[metric] == pytest.approx(found[metric], abs=0.03), metric
    majority = scores.majority_levels(target, 4)
    assert majority["zero_shot_accuracy"] == pytest.approx((target == 0).mean())
    assert majority["zero_shot_balanced_accuracy"] == pytest.approx(0.25)


@pytest.mark.parametrize("metric", scores.ZERO_SHOT)
def test_a_metric_without_a_formula_for_its_draws_is_scored_row_by_row(metric, monkeypatch):
    target, values, patients = random_case(4)
    fast = scores.bootstrap(metric, target, values, patients, draws=12)
    slow = dataclasses.replace(scores.ZERO_SHOT[metric], draws=None)
    monkeypatch.setitem(scores.ZERO_SHOT, metric, slow)
    assert scores.bootstrap(metric, target, values, patients, draws=12) == pytest.approx(fast)


def test_a_metrics_name_says_what_it_needs():
    """The schemas of result files, the state of a training run and the plan go by it."""
    for name, declared in METRICS.items():
        prefix = declared.direction if isinstance(declared, Retrieval) else "zero_shot"
        assert isinstance(declared, Retrieval | ZeroShot)
        assert name.startswith(f"{prefix}_"), name
    assert all(name.startswith("multi_label_") for name in SEVERAL_LABELS)


def test_holms_rule():
    """The example of a textbook: at 5 %, .005 and .01 of .01, .04, .03, .005 stand."""
    gaps = {name: Estimate(0.1, p_value=p) for name, p in {"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}.items()}
    assert holm(gaps) == ["a", "d"]
    assert holm({"a": Estimate(None), "b": Estimate(0.1, p_value=0.049)}) == ["b"]


# --- evaluation.json -----------------------------------------------------------------------------------------


def evaluated(labels: list[str], values, patients=None, texts=None, extras=None, **options) -> dict:
    """evaluation.json of units with these labels (classes a to d, joined by |), checked against its schema."""
    classes, count = list("abcd"), len(labels)
    patients = np.arange(count) if patients is None else patients
    frame = pd.DataFrame({"sample_id": [f"s{i}" for i in range(count)], "patient_id": [f"p{i}" for i in patients]})
    frame = frame.assign(**(extras or {}))
    target = [classes.index(label) if label in classes else -1 for label in labels]
    table = frame.assign(eye="patient", target=target, labels=labels, logit_scale=5.0)
    for k in range(4):
        table[f"score_{k}"] = table[f"template_{k}"] = values[:, k]
    retrieval = evaluation.Retrieval(
        {name: np.ones(count, int) for name in ("image_to_text", "text_to_image")},
        frame["patient_id"].to_numpy(),
        texts or [f"text {i}" for i in range(count)],
    )
    cuts = choose_thresholds(table, classes)
    options = {"texts_from_labels": False, "provenance": ORIGIN, **options}
    return evaluation.evaluation_document(table, frame, classes, retrieval, cuts, **options).to_dict()


def letters(target: np.ndarray) -> list[str]:
    return ["abcd"[k] for k in target]


@pytest.mark.parametrize("seed", range(3))
def test_each_class_against_the_rest(seed):
    target, values, patients = random_case(seed)
    for k, row in enumerate(evaluated(letters(target), values, patients)["per_class"]):
        positive = target == k
        assert row["auroc"] == pytest.approx(roc_auc_score(positive, values[:, k]))
        assert row["auroc_low"] < row["auroc"] < row["auroc_high"]
        assert row["average_precision"] == pytest.approx(average_precision_score(positive, values[:, k]))
        assert row["patients"] == len(set(patients[positive]))
        # by trying every threshold there is
        sums = {cut: (values[positive, k] >= cut).mean() + (values[~positive, k] < cut).mean() for cut in values[:, k]}
        assert row["sensitivity"] + row["specificity"] == pytest.approx(max(sums.values()))
        assert row["sensitivity"] == pytest.approx((values[positive, k] >= row["threshold"]).mean())
        assert row["sensitivity_low"] <= row["sensitivity"] <= row["sensitivity_high"]


@pytest.mark.parametrize("seed", range(3))
def test_calibration_error_is_that_of_a_loop_over_bins(seed):
    target, values, _ = random_case(seed, samples=200)
    found = evaluated(letters(target), values)["calibration"]
    shares = np.exp(5 * values) / np.exp(5 * values).sum(1, keepdims=True)
    confidence, right = shares.max(1), shares.argmax(1) == target
    error = 0.0
    for k, entry in enumerate(found["bins"]):
        here = (confidence > k / 15) & (confidence <= (k + 1) / 15)
        assert entry["count"] == here.sum()
        if here.any():
            assert entry["accuracy"] == pytest.approx(right[here].mean())
            error += here.mean() * abs(confidence[here].mean() - right[here].mean())
    assert found["expected_calibration_error"]["value"] == pytest.approx(error)


@pytest.mark.slow
def test_quadratic_kappa_is_scikit_learns_and_so_are_its_draws():
    target, values, patients = random_case(4, samples=150)
    values[np.arange(150), target] += 1.0
    order = ["d", "b", "a", "e"]  # c is of no rank, and e of no unit
    found = evaluated(letters(target), values, patients, ordered_classes=order)["quadratic_kappa"]
    spelled = [name.upper() for name in order]
    assert evaluated(letters(target), values, patients, ordered_classes=spelled)["quadratic_kappa"] == found
    rows = np.flatnonzero(target != 2)
    rank = {3: 0, 1: 1, 0: 2}
    columns = [3, 1, 0]
    true, named = np.array([rank[k] for k in target[rows]]), values[np.ix_(rows, columns)].argmax(1)
    assert found["value"] == pytest.approx(cohen_kappa_score(true, named, weights="quadratic"))
    weights = scores.resamples(np.array([f"p{i}" for i in patients]))
    slow = [cohen_kappa_score(true, named, weights="quadratic", sample_weight=draw[rows]) for draw in weights]
    assert [found["low"], found["high"]] == pytest.approx(np.quantile(slow, [0.025, 0.975]))
    assert evaluated(letters(target), values)["quadratic_kappa"] is None


def test_units_of_several_labels_are_scored_class_by_class():
    target, values, _ = random_case(5, samples=80)
    second = np.random.default_rng(9).integers(0, 4, 80)
    labels = ["|".join(sorted({"abcd"[i], "abcd"[k]})) for i, k in zip(target, second, strict=True)]
    found = evaluated([*labels, "", "z"], np.vstack([values, values[:2]]))
    assert sum(map(sum, found["confusion"]["matrix"])) == sum("|" not in label for label in labels)
    assert found["counts"]["scored"] == found["counts"]["scored_patients"] == 80
    assert found["levels"]["chance"][MULTI_LABEL] == 0.5
    found = found["multi_label"]
    assert found["units"] == 80
    member = np.array([[name in label for name in "abcd"] for label in labels])
    assert found["macro_auroc"]["value"] == pytest.approx(roc_auc_score(member, values, average="macro"))
    precision = average_precision_score(member, values, average="macro")
    assert found["macro_average_precision"]["value"] == pytest.approx(precision)
    low, high = found["macro_auroc"]["low"], found["macro_auroc"]["high"]
    assert low < found["macro_auroc"]["value"] < high
    table = pd.DataFrame(np.vstack([values, values[:2]]), columns=[f"score_{k}" for k in range(4)])
    table = table.assign(labels=[*labels, "", "z"], patient_id=[f"p{i}" for i in range(82)])
    draws = scores.draws_of(MULTI_LABEL, table, classes=list("abcd"))
    assert np.quantile(draws, [0.025, 0.975]) == pytest.approx([low, high])
    assert not [name for name in found if "accuracy" in name]
    assert evaluated(letters(target), values)["multi_label"] is None


@pytest.mark.parametrize("labels", [["a"] * 8, ["a"], ["a", "b"], ["a", "b", "b", ""], [""] * 3, ["a|b", "a", "z"]])
@pytest.mark.parametrize("value", [0.5, np.nan])
def test_degenerate_data_gives_what_it_can(labels, value):
    """One class, one sample, missing classes, nothing labeled; every score tied, or none that is a number."""
    found = evaluated(labels, np.full((len(labels), 4), value), ordered_classes=["a", "b"])
    single = [label for label in labels if label in ("a", "b", "c", "d")]
    if np.isnan(value):
        assert "diverged" in found["failed"]
        assert found["zero_shot"] == found["retrieval"] == {}
        return
    assert len(found["per_class"]) == 4
    if single:
        # tied scores name the first class, and order nothing
        assert found["zero_shot"]["zero_shot_accuracy"]["value"] == single.count("a") / len(single)
        area = found["zero_shot"]["zero_shot_macro_auroc"]["value"]
        assert area == (0.5 if len(set(single)) > 1 else None)
    else:
        assert found["zero_shot"] == {}
        assert found["calibration"] is None


def test_texts_made_from_labels_are_not_retrieved():
    target, values, _ = random_case(0)
    found = evaluated(letters(target), values, texts_from_labels=True)
    assert found["retrieval"] == {}
    assert "made from the labels" in found["retrieval_omitted"]
    assert not [name for name in found["levels"]["chance"] if "recall" in name]


def test_subgroups_of_patients():
    target, values, _ = random_case(0, samples=60)
    ages = ["39", "", "abc", *["61.5"] * 30, *["45"] * 27]
    found = evaluated(letters(target), values, extras={"age": ages, "sex": ["F", "M"] * 30, "camera": ["X"] * 60})
    rows = {(row["variable"], row["group"]): row for row in found["subgroups"]}
    assert set(rows) == {
        ("age", "40 to 59"), ("age", "60 to 79"), ("age", "all smaller groups"), ("sex", "F"), ("sex", "M"),
    }  # fmt: skip
    assert rows["age", "60 to 79"]["patients"] == 30
    assert rows["age", "all smaller groups"]["scores"] is None
    women = np.arange(60) % 2 == 0
    accuracy = (values[women].argmax(1) == target[women]).mean()
    assert rows["sex", "F"]["scores"]["zero_shot_accuracy"]["value"] == pytest.approx(accuracy)
    assert list(groups_of(pd.DataFrame({"sample_id": [], "patient_id": []}), 10)) == []


def test_chance_of_retrieval_is_that_of_random_orders():
    texts = ["x"] * 5 + ["y"] * 2 + [f"t{i}" for i in range(13)]
    levels = scores.chance_recalls(texts)
    generator = np.random.default_rng(0)
    best = []
    for _ in range(3000):
        order = generator.permutation(20)
        best.append([min(place for place, i in enumerate(order) if texts[i] == text) for text in texts])
    for k in (1, 5, 10):
        assert levels[f"image_to_text_recall_at_{k}"] == pytest.approx((np.array(best) < k).mean(), abs=0.01)
    assert scores.chance_recalls(["a", "b"])["text_to_image_recall_at_5"] == 1.0


def test_ranks_in_chunks_are_those_of_the_whole_matrix():
    """Ties count before the right answer, and all samples of one text are right."""
    import torch

    from retclip.evaluation.validation import RETRIEVAL_CHUNK, Features, retrieval_ranks

    generator = np.random.default_rng(0)
    count = RETRIEVAL_CHUNK + 188
    # few directions, so that many similarities are equal
    drawn = torch.from_numpy(generator.integers(0, 40, (2, count)))
    image, text = torch.nn.functional.one_hot(drawn).float()
    texts = [f"text {number}" for number in generator.integers(0, 300, count)]
    features = Features(image={"patient": image}, text={"patient": text}, loss=0.0)
    found = retrieval_ranks(features, texts)
    for name, (queries, answers) in {"image_to_text": (image, text), "text_to_image": (text, image)}.items():
        similarity = (queries @ answers.T).numpy()
        for row in range(count):
            right = np.array([other == texts[row] for other in texts])
            best = similarity[row][right].max()
            assert found[name][row] == 1 + (similarity[row][~right] >= best).sum()


def test_resamples_of_as_many_patients_are_drawn_once(monkeypatch):
    """A ranking asks for those of the same patients for each of its trials, and drawing them was half of its time."""
    made = []
    make = np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", lambda seed: made.append(seed) or make(seed))
    patients = np.array([f"p{i // 2}" for i in range(46)])
    first, again = (scores.resamples(patients, 50, seed=7) for _ in range(2))
    assert made == [7]
    assert (first == again).all()
    first[:] = 0  # whoever changes what he was given changes no other's
    assert (scores.resamples(patients, 50, seed=7) == again).all()
    assert (scores.resamples(patients, 50, seed=8) != again).any()


def test_the_majority_level_of_the_same_targets_is_scored_once(monkeypatch):
    """It is asked for after each epoch, and takes as long as the model's own scores."""
    target, _, _ = random_case(7)
    asked = []
    score = scores.zero_shot_scores
    monkeypatch.setattr(scores, "zero_shot_scores", lambda *given: asked.append(1) or score(*given))
    first = scores.majority_levels(target, 4)
    expected = np.eye(4)[np.full(len(target), np.bincount(target).argmax())]
    assert first == score(target, expected)
    first["zero_shot_accuracy"] = -1.0  # who changes his own changes nobody else's
    assert scores.majority_levels(target.copy(), 4) == score(target, expected)
    assert len(asked) == 1
    other = (target + 1) % 4
    assert scores.majority_levels(other, 4) == score(other, np.roll(expected, 1, axis=1))
    assert scores.majority_levels(target, 5) == score(target, np.eye(5)[expected.argmax(1)])
    assert len(asked) == 3
