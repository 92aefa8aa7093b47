"""What each tried configuration is expected to score, by a model of all trials, beside the score that it drew."""

import numpy as np
import pytest
from documents import VALUES
from simulations import searched

from retclip.search.expected_scores import FEWEST_TRIALS, expected_scores, with_expected
from retclip.search.selection import select

METRIC = "zero_shot_balanced_accuracy"


@pytest.fixture(scope="module")
def studies():
    """Boards of both phases and the true scores of Phase 2's configurations, whose single scores are noisy."""
    return [searched(np.random.default_rng(seed), "peak", noise=0.04) for seed in range(16)]


def test_it_is_nearer_to_the_truth_than_what_was_drawn(studies):
    errors = [
        (np.abs(expected_scores(first, second)["expected"] - truth).mean(), np.abs(second["metric"] - truth).mean())
        for first, second, truth in studies
    ]
    ours, drawn = np.mean(errors, axis=0)
    print(f"mean error: expected {ours:.4f}, drawn {drawn:.4f}")
    assert ours < 0.8 * drawn


def test_the_optimistic_bias_of_the_luckiest_is_removed(studies):
    """The best of twenty is as good as it looks by one to two standard deviations of the noise too much."""
    drawn, ours = [], []
    for first, second, truth in studies:
        lucky = int(second["metric"].to_numpy().argmax())
        drawn.append(second["metric"].iloc[lucky] - truth[lucky])
        ours.append(expected_scores(first, second)["expected"].iloc[lucky] - truth[lucky])
    assert np.mean(drawn) > 0.02
    assert abs(np.mean(ours)) < 0.5 * np.mean(drawn)


def test_where_trials_are_too_few_nothing_is_expected(studies):
    first, second, _ = studies[0]
    assert expected_scores(first.head(0), second.head(FEWEST_TRIALS - 1)) is None


def test_trials_without_a_score_expect_nothing_and_hinder_nothing(studies):
    first, second, _ = studies[0]
    broken = second.assign(status="completed")
    broken.loc[3, "metric"] = np.nan
    found = expected_scores(first, broken)
    assert found["expected"].isna().tolist() == [position == 3 for position in range(len(second))]


def boards(studies, index=0):
    """As rank_trials writes them: every hyperparameter, best first."""
    first, second, truth = studies[index]
    filled = []
    for board in (first, second):
        board = board.assign(**{name: value for name, value in VALUES.items() if name not in board})
        board = board.assign(id=[f"t{i}" for i in range(len(board))], status="completed", seeds=1, standard_error=0.04,
                             difference_se=0.04, noise=0.04, steps=900, planned_cost=1000, chance=0.125, p_value=0.001,
                             null_low=0.0, null_high=0.2, note="", kind="trial")  # fmt: skip
        board = board.sort_values("metric", ascending=False, ignore_index=True)
        filled.append(board.assign(difference=board["metric"] - board["metric"].max()))
    return (*filled, truth)


def test_finalists_are_taken_by_what_is_expected_and_both_are_reported(studies):
    first, second, _ = boards(studies)
    plain = select(second, METRIC, VALUES, {})
    board = with_expected(second, expected_scores(first, second), decides=True)
    decision = select(board, METRIC, VALUES, {})
    by_model = [one["expected"] for one in decision["candidates"] if one["id"] not in decision["ties"]][1:]
    assert by_model == sorted(by_model, reverse=True)
    assert {one["id"] for one in decision["candidates"]} == {one["id"] for one in plain["candidates"]}
    assert decision["estimate"]["decides"] is True
    assert decision["estimate"]["optimistic_bias"] == pytest.approx(
        second["metric"].iloc[0] - board.set_index("id")["expected"][second["id"].iloc[0]]
    )
    told = select(with_expected(second, expected_scores(first, second), decides=False), METRIC, VALUES, {})
    assert told["id"] == plain["id"]
    assert told["estimate"]["decides"] is False
    assert told["metric"] == plain["metric"]
    assert told["expected"] is not None
    assert plain["estimate"] is None
