"""The section that holds what the tuned models are measured against, all on one axis."""

import pytest
from documents import evaluation_of
from matplotlib.collections import PathCollection
from small_runs import METRIC, final, run_of

from retclip.core.documents import build
from retclip.metrics.reference_document import ReferenceModels
from retclip.report import first_screen
from retclip.report.layout import read_sections
from retclip.report.sections.references import SECTION, draw_references, references_table


def score_of(value: float) -> dict:
    return {"value": value, "low": value - 0.1, "high": value + 0.1, "standard_error": 0.05}


def a_run(second: bool = True):
    run = run_of(final("tuned", 0.9), final("baseline", 0.4), final("control", 0.5))
    scores = {"age and sex": 0.55, "color histogram": 0.6, "second reader": 0.95}
    names = list(scores) if second else ["color histogram"]
    models = [{"name": name, "scores": {METRIC: score_of(scores[name])}, "test_units": 60, "left_out": 0,
               "strength": 1.0, "train_units": None if name == "second reader" else 100} for name in names]  # fmt: skip
    omitted = [{"name": name, "reason": "the table has none"} for name in scores if name not in names]
    run.references = build(ReferenceModels, {"models": models, "omitted": omitted, "code": "c", "data": {}})
    probe = {"features": "image_encoder", "strength": 1.0, "train_units": 100, "seeds": []}
    run.initial = evaluation_of(zero_shot={METRIC: score_of(0.48)}, probe=probe,
                                linear_probe={METRIC: {**score_of(0.7), "seeds": []}})  # fmt: skip
    run.decisions = {"best": {"id": "c0"}}
    return run


def test_one_figure_holds_all_rows_on_one_axis():
    run = a_run()
    (axes,) = draw_references(run).axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[::-1] == [
        "tuned, pubmedbert",
        "baseline, pubmedbert",
        "negative control, pubmedbert",
        "initial weights, pubmedbert",
        "probe of the initial image encoder",
        "color histogram",
        "age and sex",
        "second reader",
    ]
    dots = [one for one in axes.collections if isinstance(one, PathCollection) and one.get_label().startswith("_")]
    points = [one.get_offsets()[0] for one in dots]
    drawn = {round(float(x), 6): labels[int(y)] for x, y in points}
    assert drawn == {0.9: "tuned, pubmedbert", 0.4: "baseline, pubmedbert", 0.5: "negative control, pubmedbert",
                     0.48: "initial weights, pubmedbert", 0.7: "probe of the initial image encoder",
                     0.6: "color histogram", 0.55: "age and sex", 0.95: "second reader"}  # fmt: skip


def test_every_row_has_its_interval_and_says_what_it_learned_from():
    rows = {row[0]: row[1:] for row in references_table(a_run()).rows}
    assert rows["age and sex"] == ["0.550 (0.450 to 0.650)", "labels", "100", "60"]
    assert rows["second reader"] == ["0.950 (0.850 to 1.050)", "a person", "—", "60"]
    assert rows["initial weights, pubmedbert"][1] == "nothing"
    assert rows["tuned, pubmedbert"][1] == "reports"
    assert rows["negative control, pubmedbert"][1] == "shuffled reports"


@pytest.mark.parametrize("second", [True, False])
def test_the_section_says_what_could_not_be_measured(second):
    words = SECTION.words(a_run(second))
    assert words["omitted"] == (
        [] if second else ["age and sex: the table has none", "second reader: the table has none"]
    )
    assert words["ceiling"] == (
        "The second reader agrees with the labels at 0.950 (95 % CI 0.850 to 1.050): no model can be asked for more."
        if second
        else ""
    )


def test_colors_that_do_as_well_as_the_tuned_model_are_told_on_the_first_screen():
    run = a_run()
    assert first_screen._outdone(run) == []
    run.references = build(ReferenceModels, {"models": [
        {"name": "color histogram", "scores": {METRIC: score_of(0.9)}, "test_units": 60, "left_out": 0, "strength": 1.0,
         "train_units": 100}], "omitted": [], "code": "c", "data": {}})  # fmt: skip
    (point,) = first_screen._outdone(run)
    assert point.anchor == "references"
    assert (
        point.text == "The colors, fitted to labels, reach 0.900 against 0.900 tuned: they may give the classes away."
    )


def test_it_has_a_place_on_the_page():
    assert "references" in read_sections()
