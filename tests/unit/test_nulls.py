"""What a model reaches that learned nothing from the texts: its class prompts permuted, and how often that is called
learned."""

import itertools

import numpy as np
import pandas as pd
import pytest
from simulations import predictions, unlearned

from retclip.metrics import nulls, scores
from retclip.metrics.registry import MULTI_LABEL

BALANCED = "zero_shot_balanced_accuracy"


@pytest.mark.parametrize("metric", scores.ZERO_SHOT)
def test_the_null_is_the_score_with_the_columns_of_the_classes_permuted(metric):
    """Against the slow oracle, which permutes the columns and scores them plainly; one class has no unit."""
    generator = np.random.default_rng(3)
    target, values = generator.integers(0, 3, 50), generator.normal(size=(50, 4))
    found = nulls.null_of(metric, [predictions(target, values)])
    slow = [scores.zero_shot_scores(target, values[:, list(order)])[metric]
            for order in itertools.permutations(range(4))]  # fmt: skip
    assert found[0] == pytest.approx(scores.zero_shot_scores(target, values)[metric])
    assert sorted(found) == pytest.approx(sorted(slow))


def test_the_null_of_several_labels():
    generator = np.random.default_rng(4)
    member, values = generator.random((60, 4)) < 0.4, generator.normal(size=(60, 4))
    member[:, 0] |= ~member.any(1)
    labels = ["|".join(name for name, there in zip("abcd", row, strict=True) if there) for row in member]
    found = nulls.null_of(MULTI_LABEL, [predictions(np.full(60, -1), values, labels=labels)], list("abcd"))
    from sklearn.metrics import roc_auc_score

    slow = [roc_auc_score(member, values[:, list(order)], average="macro")
            for order in itertools.permutations(range(4))]  # fmt: skip
    assert found[0] == pytest.approx(roc_auc_score(member, values, average="macro"))
    assert sorted(found) == pytest.approx(sorted(slow))


def test_of_many_classes_ten_thousand_permutations_are_drawn_and_no_p_value_is_zero():
    generator = np.random.default_rng(5)
    table = unlearned(generator, classes=12, learned=5.0)[0]
    found = nulls.judge(BALANCED, [[table]], [1 / 12])[0]
    assert found.permutations == 10_001
    assert 0 < found.p_value <= 2 / 10_001
    assert found.low < 1 / 12 < found.high
    assert nulls.judge(BALANCED, [unlearned(generator, learned=5.0)], [1 / 8])[0].permutations == 40_320


def test_of_three_classes_nothing_can_be_shown():
    table = unlearned(np.random.default_rng(6), classes=3, learned=5.0)[0]
    found = nulls.judge(BALANCED, [[table]], [1 / 3])[0]
    assert found.p_value is None
    assert found.permutations == 6


@pytest.mark.slow
def test_a_model_that_learned_no_text_is_called_learned_as_rarely_as_it_says():
    """Nominal .05. Two standard errors above chance, as it was before, called 35 of 100 such models learned."""
    generator = np.random.default_rng(7)
    studies = 300
    called = before = 0
    for _ in range(studies):
        table = unlearned(generator)[0]
        value = scores.zero_shot_scores(*scores.unpack(table)[:2])[BALANCED]
        called += nulls.judge(BALANCED, [[table]], [1 / 8])[0].p_value <= 0.05
        before += value - 1 / 8 > 2 * scores.bootstrap(BALANCED, *scores.unpack(table), draws=100).std()
    print(f"single models: {called / studies:.3f} of nominal .05; before {before / studies:.3f}")
    assert called / studies <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / studies)
    assert before / studies > 0.2


@pytest.mark.slow
def test_the_best_of_twenty_that_learned_no_text_is_called_learned_as_rarely_as_it_says():
    generator = np.random.default_rng(8)
    studies = 100
    called = single = 0
    for _ in range(studies):
        found = nulls.judge(BALANCED, [[table] for table in unlearned(generator, models=20)], [1 / 8] * 20)
        called += min(one.p_value for one in found) <= 0.05
        single += any(nulls.p_value(nulls.null_of(BALANCED, [table])) <= 0.05 for table in unlearned(generator, 20))
    print(f"best of twenty: {called / studies:.3f} of nominal .05; uncorrected {single / studies:.3f}")
    assert called / studies <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / studies)
    assert single / studies > 0.4


@pytest.mark.parametrize("classes", [5, 8])
def test_who_learned_is_found_among_twenty(classes):
    generator = np.random.default_rng(9)
    tables = [[table] for table in unlearned(generator, 19, classes=classes)]
    tables.append(unlearned(generator, classes=classes, learned=3.0))
    found = nulls.judge(BALANCED, tables, [1 / classes] * 20)
    assert found[-1].p_value <= 0.05


def test_seeds_of_one_configuration_are_judged_by_their_mean():
    tables = unlearned(np.random.default_rng(10), models=3, learned=1.0)
    values = nulls.null_of(BALANCED, tables)
    means = [scores.zero_shot_scores(*scores.unpack(table)[:2])[BALANCED] for table in tables]
    assert values[0] == pytest.approx(np.mean(means))


@pytest.mark.slow
@pytest.mark.parametrize("visits", [1, 4])
def test_random_ranks_are_called_learned_as_rarely_as_it_says(visits):
    """visits: samples of one patient, found or not together."""
    generator = np.random.default_rng([11, visits])
    studies, called = 400, 0
    for _ in range(studies):
        patients = 200 // visits
        ranks = (1 + generator.permutation(200)[:patients]).repeat(visits)
        table = pd.DataFrame({"sample_id": np.arange(len(ranks)), "target": -1, "image_to_text_rank": ranks,
                              "patient_id": np.arange(patients).repeat(visits)})  # fmt: skip
        called += nulls.judge("image_to_text_recall_at_10", [[table]], [0.05])[0].p_value <= 0.05
    assert called / studies <= 0.06
    close = table.assign(image_to_text_rank=1 + np.arange(200) % 40)
    assert nulls.judge("image_to_text_recall_at_10", [[close]], [0.05])[0].p_value < 0.001
