"""The first screen of the report: one sentence with the answer, what has collapsed, and what to do next."""

import re
from dataclasses import replace

import numpy as np
import pytest
from documents import metrics_of, trial_of
from matplotlib.figure import Figure
from small_runs import METRIC, failing, final, run_of

from retclip.core.documents import build, plain
from retclip.metrics.evaluation_document import Evaluation
from retclip.report import first_screen
from retclip.report.answer import answer
from retclip.report.documents import results
from retclip.report.drawing import named_rows
from retclip.report.layout import read_sections
from retclip.report.names import configuration_name, trial_names
from retclip.report.page import captions
from retclip.report.run_folder import FinishedTrial
from retclip.report.score_bars import rows_by_encoder
from retclip.report.sections.answer import draw_answer, draw_differences

CLASSES = ["Healthy", "Diabetic Retinopathy", "Central Serous Chorioretinopathy"]


def words(text: str) -> list[str]:
    return re.findall(r"\S*\w\S*", text)


def sentences(text: str) -> list[str]:
    return re.split(r"(?<=[.!?]) (?=[A-Z])", text)


def evaluated(run, matrix: np.ndarray, patients: int = 30):
    """Lets every tuned and baseline model of `run` have this confusion matrix, rows true."""
    for one in run.finals:
        rows = []
        for k, name in enumerate(CLASSES):
            column = matrix[:, k].sum()
            rows.append({"class": name, "count": int(matrix[k].sum()), "patients": patients,
                         "recall": matrix[k, k] / max(matrix[k].sum(), 1),
                         "precision": matrix[k, k] / column if column else None})  # fmt: skip
        counts = {"samples": 60, "patients": 60, "scored": int(matrix.sum()), "scored_patients": 60}
        told = {"per_class": rows, "confusion": {"classes": CLASSES, "matrix": matrix.tolist()}, "counts": counts}
        one.evaluation = build(Evaluation, {**plain(one.evaluation), **told})
    run.audit = {"splits": {}, "label_level": "patient", "warnings": [], "quality": {"black": {"count": 0}},
                 "sides": {"swapped": None},
                 "duplicates": {"both_eyes": {"count": 0}, "near": {"across_splits": 0}}}  # fmt: skip
    best = {"id": "c0", "configured": {}, "reason": "", "rule": "", "ties": [], "warnings": []}
    run.decisions = {"best": best}
    run.external, run.boards = [], {}
    return run


SOUND = np.array([[40, 2, 0], [3, 30, 1], [0, 4, 20]])
BROKEN = np.array([[40, 2, 0], [19, 24, 45], [0, 1, 6]])


def a_run(matrix: np.ndarray = SOUND, tuned: float = 0.95, baseline: float = 0.4, seeds: int = 1, patients: int = 30):
    pairs = (("tuned", tuned), ("baseline", baseline))
    run = run_of(*(final(kind, right, seed) for kind, right in pairs for seed in range(seeds)))
    return evaluated(run, matrix, patients)


@pytest.mark.parametrize(
    ("tuned", "baseline", "said"),
    [
        (0.95, 0.4, r"Take the tuned configuration with pubmedbert: balanced accuracy is 0\.550 above the baseline "
         r"with pubmedbert \(95 % CI 0\.\d{3} to 0\.\d{3}\), statistically significant at 5 %\."),
        (0.9, 0.88, r"Tuning shows no significant gain with pubmedbert: balanced accuracy is 0\.0\d\d above the "
         r"baseline with pubmedbert \(95 % CI .\d?\.?\d+ to 0\.\d{3}\), not significant at 5 %\."),
        (0.7, 1.0, r"Keep the baseline with pubmedbert: the tuned balanced accuracy with pubmedbert is 0\.300 below it "
         r"\(95 % CI 0\.\d{3} to 0\.\d{3}\), statistically significant at 5 %\."),
    ],
)  # fmt: skip
def test_the_answer_is_one_short_sentence(tuned, baseline, said):
    found = first_screen.headline(a_run(tuned=tuned, baseline=baseline, seeds=3))
    assert re.fullmatch(said, found), found
    assert len(words(found)) <= 25


@pytest.mark.parametrize(("tuned", "side"), [(0.95, "above"), (0.2, "below")])
def test_few_seeds_tell_no_significance(tuned, side):
    found = first_screen.headline(a_run(tuned=tuned, baseline=0.55, seeds=1))
    if tuned > 0.5:
        assert f" {side} the baseline with pubmedbert (95 % CI " in found
        assert found.endswith(" between these models; too few seeds to test configurations.")
        assert len(words(found)) <= 25
    assert "statistically significant" not in found


def test_without_learning_nothing_is_recommended():
    found = first_screen.headline(a_run(tuned=0.5))
    assert found.startswith("Nothing was learned that is better than chance: ")
    assert found.endswith("This run recommends neither a configuration nor a text encoder.")
    failed = a_run()
    failing(failed.finals[0])
    assert first_screen.headline(failed).startswith("Whether anything was learned is unknown: ")
    assert all(len(words(one)) <= 25 for run in (failed, a_run(tuned=0.5)) for one in
               sentences(first_screen.headline(run)))  # fmt: skip


def test_without_learning_no_bar_is_the_recommended_one():
    run = with_another_encoder()
    assert "biobert (recommended)" in [name for name, *_ in rows_by_encoder(run)]
    guessing = a_run(tuned=0.5)
    guessing.recommendation = {"encoder": "pubmedbert", "seeds": {}, "val_scores": {}}
    assert [name for name, *_ in rows_by_encoder(guessing)] == ["pubmedbert"]


def test_a_name_in_a_figure_shows_all_that_five_hyperparameters_vary():
    axes = Figure().add_subplot()
    name = "lr 2.5e-3 · batch 128 · warm-up 500 · decay 0.05 · temperature 0.07"
    named_rows(axes, ["p2-12345678"], {"p2-12345678": name})
    assert [text.get_text() for text in axes.texts] == [name, "p2-12345678"]


def test_a_kept_baseline_is_no_gain():
    run = a_run()
    run.decisions["best"]["id"] = "defaults"
    assert first_screen.headline(run).startswith("Keep the baseline with pubmedbert: ")


def with_another_encoder(seeds: int = 1):
    """Tuned pubmedbert .950, its baseline .400, and the recommended biobert .850."""
    run = a_run(seeds=seeds)
    for seed in range(seeds):
        other = final("tuned", 0.85, seed)
        other.metrics = replace(other.metrics, trial=replace(other.trial, text_encoder="biobert"))
        run.finals.append(other)
    evaluated(run, SOUND)
    run.recommendation = {"encoder": "biobert", "seeds": {"biobert": {"planned": 1, "failed": {}}}, "val_scores": {}}
    return run


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_answer_is_about_the_recommended_text_encoder(seeds):
    """It may be another than the one that was tuned with, which the baseline has: the difference is no gain by
    tuning."""
    run = with_another_encoder(seeds)
    found = first_screen.headline(run)
    assert "with biobert: balanced accuracy is 0.450 above the baseline with pubmedbert (95 % CI " in found.replace(
        "With", "with"
    )
    assert len(words(found)) <= 25
    assert [(name, number) for name, number, _ in first_screen.tiles(run)] == [
        ("tuned with biobert", "0.850"),
        ("over the baseline with pubmedbert", "+0.450"),
        ("gain by tuning with pubmedbert", "+0.550"),
    ]


def test_the_figure_and_the_documents_tell_the_same_differences_of_the_same_models():
    run = with_another_encoder()
    texts = [text.get_text() for text in draw_differences(run).axes[0].texts]
    shown = dict(zip(texts[::2], texts[1::2], strict=True))
    assert shown == {
        "gain by tuning: pubmedbert, tuned − baseline": "+0.550",
        "biobert, tuned − pubmedbert, baseline": "+0.450",
        "tuned: pubmedbert − biobert": "+0.100",
    }
    scored = [label.get_text() for label in draw_answer(run).axes[0].get_yticklabels()]
    assert scored == ["baseline, pubmedbert", "biobert (recommended)", "pubmedbert"]
    said = " ".join(answer(run))
    assert "Tuning with pubmedbert changed the score by +0.550 " in said
    assert "With biobert, the tuned configuration is 0.450 above the baseline with pubmedbert (95 % CI " in said
    told = results(run)
    assert told["gain"][METRIC]["value"] == pytest.approx(0.55)
    assert told["over_baseline"]["value"] == pytest.approx(0.45)
    assert told["text_encoders_compared"] == {
        "gain": {"tuned": "pubmedbert", "baseline": "pubmedbert"},
        "over_baseline": {"tuned": "biobert", "baseline": "pubmedbert"},
        "per_class": "biobert",
    }


def test_every_caption_that_compares_with_the_baseline_names_both_text_encoders():
    run = with_another_encoder()
    for name in ("per_class", "calibration"):
        assert set(re.findall("biobert|pubmedbert", captions(run)[name])) == {"biobert", "pubmedbert"}
    assert "biobert" in captions(run)["confusion_tuned"]
    assert "pubmedbert" in captions(run)["confusion_baseline"]


def test_a_class_that_has_collapsed_is_said_first():
    (found,) = first_screen.collapsed(a_run(BROKEN))
    assert found.name == "Diabetic Retinopathy"
    said = first_screen.alarm(a_run(BROKEN))
    assert said == (
        "Diabetic Retinopathy has collapsed: recall 0.273; 45 of its 88 test samples are named Central Serous "
        "Chorioretinopathy (precision 0.118)."
    )
    assert len(words(said)) <= 25
    assert first_screen.alarm(a_run(SOUND)) == ""


@pytest.mark.parametrize(
    ("row", "has"),
    [
        ([10, 10, 5], False),  # a tie is no collapse
        ([11, 10, 5], True),
        ([1, 0, 0], True),  # one sample of a class that is never named
        ([0, 0, 0], False),  # nobody of it is in test
    ],
)
def test_what_counts_as_collapsed(row, has):
    matrix = SOUND.copy()
    matrix[:, 1] = 0
    matrix[1] = row
    matrix[0, 1] = 1 if row[1] else 0
    assert bool(first_screen.collapsed(a_run(matrix))) == has


def test_several_collapsed_classes_are_counted():
    matrix = np.array([[40, 2, 0], [19, 24, 45], [10, 1, 6]])
    said = first_screen.alarm(a_run(matrix))
    assert said.startswith("2 classes have collapsed, Diabetic Retinopathy most: recall 0.273")
    assert len(words(said)) <= 25


def test_the_points_say_what_to_do_and_where_to_look():
    run = a_run(BROKEN, patients=4)
    run.audit["quality"] = {"black": {"count": 3}, "tiny": {"count": 1}}
    run.audit["warnings"] = ["The val split has fewer than 5 examples of Glaucoma."]
    run.decisions["phase2"] = {"warnings": ["learning_rate = 0.006 lies on the border of what was tried; widen it."]}
    points = first_screen.points(run)
    text = " ".join(point.text for point in points)
    assert len(points) == 5
    assert all(point.anchor in read_sections() for point in points)
    assert all(len(words(one)) <= 25 for point in points for one in sentences(point.text))
    assert "set final.seeds" in text
    assert "3 classes have fewer than 10 test patients" in text
    assert points[-1].text == "2 warnings of the stages and the audit are listed."
    run.audit["warnings"], run.decisions["phase2"]["warnings"] = [], []
    assert "Check 4 images that the audit marked: 3 black, 1 tiny." in [one.text for one in first_screen.points(run)]


def test_a_best_value_on_the_border_is_to_be_widened():
    """By what the choice has recorded, whatever the words of its warnings."""
    run = a_run(seeds=3, patients=400)
    run.decisions["phase2"] = {
        "warnings": ["batch_size = 8 has a border of its own."],
        "borders": {"learning_rate": 0.006},
    }
    said = [point.text for point in first_screen.points(run)]
    assert "Widen phase2.space.learning_rate: the best value, 0.006, lies on its border." in said
    assert not any("batch_size" in text for text in said)


def test_a_trial_is_called_by_what_varies():
    values = {"learning_rate": 3e-3, "batch_size": 32, "warmup_steps": 20, "temperature": 0.07, "optimizer": "adamw"}
    assert configuration_name(values, ["learning_rate", "batch_size", "warmup_steps"]) == (
        "lr 3e-3 · batch 32 · warm-up 20"
    )
    assert configuration_name(values, ["temperature", "optimizer"]) == "temperature 0.07 · adamw"
    assert configuration_name(values, []) == "baseline values"
    assert configuration_name({"learning_rate": 1.8e-05, "learnable_temperature": False}, None) == (
        "lr 1.8e-5 · learnable temperature off"
    )


def test_a_trial_is_called_by_what_varies_in_its_stage():
    def trial(identity: str, kind: str = "trial", candidate: str | None = None, **values) -> FinishedTrial:
        told = trial_of(kind=kind, candidate=candidate, seed=7, configured=values)
        return FinishedTrial(identity, metrics_of(told), None, None)

    run = a_run()
    run.finals = run.finals[:1]
    run.searched = {
        "phase1": [trial("p1-a", learning_rate=1e-3, batch_size=32),
                   trial("baseline", "baseline", learning_rate=3e-4, batch_size=32)],
        "phase2": [trial("b0r0s00", learning_rate=2e-3, batch_size=32), trial("b0r0s01", learning_rate=1e-3,
                                                                              batch_size=64)],
        "confirm": [trial("c0-s7", candidate="c0", learning_rate=2e-3, batch_size=32)],
    }  # fmt: skip
    assert trial_names(run) == {
        "p1-a": "lr 1e-3",
        "baseline": "baseline (lr 3e-4)",
        "b0r0s00": "lr 2e-3 · batch 32",
        "b0r0s01": "lr 1e-3 · batch 64",
        "c0": "lr 2e-3 · batch 32",
        "c0-s7": "lr 2e-3 · batch 32, seed 7",
        "tuned": "tuned, pubmedbert",
    }


def test_the_metric_is_the_one_of_test():
    assert METRIC == "zero_shot_balanced_accuracy"
    assert [name for name, *_ in first_screen.tiles(a_run())] == [
        "tuned with pubmedbert",
        "baseline with pubmedbert",
        "gain by tuning with pubmedbert",
    ]
