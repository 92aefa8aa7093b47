"""The section that says whether more patients would help: its sentence, its figure, and the first screen."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
from documents import evaluation_of
from small_runs import METRIC, final, run_of

from retclip.core.trial import Subset
from retclip.metrics.learning_curve import fit
from retclip.report import comparisons, first_screen
from retclip.report import more_data as more_data_module
from retclip.report.comparisons import seeds_of
from retclip.report.layout import read_sections
from retclip.report.more_data import more_data
from retclip.report.sections.more_data import SECTION, draw_more_data, more_data_table

SEEDS = (1, 2, 3)


def model(right, seed, patients=None):
    """One that names about `right` of 60 test patients rightly; others for each seed, in its evaluation file, too."""
    made = final("tuned" if patients is None else "subset", right, seed)
    mistaken = np.random.default_rng([seed, patients or 0]).uniform(size=60) >= right
    target = made.predictions["target"].to_numpy()
    named = np.where(mistaken, 1 - target, target)
    made.predictions = made.predictions.assign(score_0=1.0 - named, score_1=1.0 * named)
    value = float(np.mean([(named == target)[target == k].mean() for k in (0, 1)]))
    made.evaluation = evaluation_of(zero_shot={METRIC: {"value": value}},
                                    levels={"chance": {METRIC: 0.5}, "majority": {}})  # fmt: skip
    if patients is not None:
        trial = dataclasses.replace(made.trial, subset=Subset(fraction=patients / 1000, patients=patients))
        made.metrics = dataclasses.replace(made.metrics, trial=trial)
    return made


def a_run(scores, seeds=SEEDS, whole=1000, apart=0.0):
    """scores: of each number of train patients, the last of all of them. apart: how far seeds lie from each other."""
    *parts, (_, reached) = scores.items()
    models = [model(reached + apart * (seed - 2), seed) for seed in seeds]
    models += [model(right + apart * (seed - 2), seed, patients) for patients, right in parts for seed in seeds]
    run = run_of(*models, final("baseline", 0.5))
    run.fingerprint = {"label_level": "eye", "splits": {"train": {"patients": whole}}}
    run.decisions = {"best": {"id": "c0"}}
    return run


RISING = {250: 0.55, 500: 0.7, 1000: 0.85}
UNSURE = {250: 0.66, 500: 0.7, 1000: 0.74}
FLAT = {250: 0.75, 500: 0.75, 1000: 0.75}


def test_what_twice_the_patients_would_bring_is_told_with_its_band():
    run = a_run(RISING)
    sizes = [250, 500, 1000]
    groups = [run.subsets()[250], run.subsets()[500], run.tuned("pubmedbert")]
    gain = fit(sizes, [seeds_of(group, METRIC) for group in groups]).gain
    told = more_data(run)
    assert (told.gain, list(told.groups)) == (gain, sizes)
    assert told.sentence == (
        f"Twice the train patients (2,000) would bring about +{gain.value:.3f} "
        f"(95 % band {gain.low:.3f} to {gain.high:.3f}), if the curve continues as a power law."
    )


def test_a_report_resamples_each_model_once_for_a_metric_and_fits_one_curve(monkeypatch):
    """Scores, differences and the curve stand in a dozen places of it, and took a third of its time."""
    calls = []
    for module, name in ((comparisons, "draws_of"), (more_data_module, "fit")):
        monkeypatch.setattr(module, name, counted(getattr(module, name), name, calls))
    run = a_run(RISING)
    told = [more_data(run).sentence for _ in range(2)]
    assert told[0] == told[1]
    assert comparisons.score(run.tuned("pubmedbert"), METRIC).value == pytest.approx(0.85, abs=0.1)
    assert comparisons.difference(run.tuned("pubmedbert"), run.baselines(), METRIC).low is not None
    assert Counter(calls) == {"draws_of": len(run.finals), "fit": 1}


def counted(function, name, calls):
    def call(*arguments, **options):
        calls.append(name)
        return function(*arguments, **options)

    return call


@pytest.mark.parametrize(
    ("scores", "seeds", "apart", "why"),
    [
        (UNSURE, SEEDS, 0.2, "250 and 1,000 train patients do not differ significantly"),
        (RISING, (1,), 0.0, "each number of patients has fewer than 3 seeds, so chance of training may be all of it"),
        ({500: 0.6, 1000: 0.8}, SEEDS, 0.0, "it takes three numbers of patients, and there are 2"),
    ],
)
def test_what_cannot_be_told_is_said_with_the_reason(scores, seeds, apart, why):
    told = more_data(a_run(scores, seeds, apart=apart))
    assert told.sentence.startswith("What twice the train patients would bring cannot be told: ")
    assert why in told.sentence
    assert told.gain is None


def test_a_fraction_that_failed_is_named():
    run = a_run(RISING)
    failed = run.subsets()[500][0]
    failed.metrics = dataclasses.replace(failed.metrics, status="diverged")
    assert "a training run on 500 patients has no score" in more_data(run).sentence


def test_so_little_is_told_where_the_band_ends_below_what_is_worth_finding():
    """A flat curve that is known well is an answer, not a lack of one."""
    run = a_run(FLAT)
    for one in run.finals:
        # everybody 10 times, so that patients move little; all seeds score alike
        one.predictions = one.predictions.iloc[np.tile(np.arange(60), 10)].assign(
            patient_id=[f"q{i}" for i in range(600)],
            score_0=lambda table: 1.0 - np.where(np.arange(600) % 60 < 45, table["target"], 1 - table["target"]),
            score_1=lambda table: 1.0 * np.where(np.arange(600) % 60 < 45, table["target"], 1 - table["target"]),
        )
        one.evaluation = evaluation_of(zero_shot={METRIC: {"value": 0.75}})
    told = more_data(run)
    assert told.gain.high < 0.05
    assert told.sentence.startswith("Twice the train patients (2,000) would bring at most +0.0")


def test_the_figure_draws_each_number_of_patients_with_the_curve():
    run = a_run(RISING)
    (axes,) = draw_more_data(run).axes
    dots = next(one for one in axes.collections if one.get_label() == "mean of 3 seeds")
    drawn = {int(x): y for x, y in dots.get_offsets()}
    means = {size: np.mean([one.evaluation.zero_shot[METRIC]["value"] for one in group])
             for size, group in {**run.subsets(), 1000: run.tuned("pubmedbert")}.items()}  # fmt: skip
    assert drawn == pytest.approx(means)
    assert axes.get_xlim()[1] >= 2000
    assert any(line.get_label() == "inverse power law" for line in axes.lines)


def test_the_table_has_the_same_numbers():
    rows = more_data_table(a_run(RISING)).rows
    assert [row[0] for row in rows] == ["250", "500", "1,000 (all)"]
    run = a_run(RISING)
    mean = np.mean([one.evaluation.zero_shot[METRIC]["value"] for one in run.subsets()[250]])
    assert rows[0][1].startswith(f"{mean:.3f} (")
    assert [row[2] for row in rows] == ["3"] * 3


def test_it_is_a_point_of_the_first_screen_only_where_more_patients_are_worth_it():
    steep = first_screen._more(a_run({250: 0.55, 500: 0.7, 1000: 0.85}))
    gain = more_data(a_run(RISING)).gain
    expected = gain.value >= 0.05
    assert bool(steep) == expected
    assert not first_screen._more(a_run(FLAT))
    assert not first_screen._more(a_run(RISING, seeds=(1,)))


def test_a_run_without_fractions_has_no_section():
    assert "more-data" in read_sections()
    assert SECTION.is_ready(a_run(RISING))
    run = a_run({1000: 0.8})
    assert not SECTION.is_ready(run)
    assert not first_screen._more(run)
