"""The section on class prompts: per class what helps and what hurts, as the document says."""

from small_runs import final, run_of

from retclip.core.documents import build
from retclip.metrics.prompt_document import PromptSensitivity
from retclip.report.sections.prompts import SECTION, draw_prompts, prompts_table, templates_table

DOCUMENT = {
    "metric": "zero_shot_balanced_accuracy",
    "ensemble": {"value": 0.7, "low": 0.6, "high": 0.8, "standard_error": 0.05},
    "templates": [{"template": "A {label}.", "value": 0.65}, {"template": "Some {label}.", "value": 0.75}],
    "halves": [0.68, 0.55, 0.72],
    "prompts": [
        {"label": "Glaucoma", "prompt": "cupping", "adds": 0.02, "adds_recall": 0.1},
        {"label": "Glaucoma", "prompt": "pale disc", "adds": -0.03, "adds_recall": -0.05},
        {"label": "Glaucoma", "prompt": "thin rim", "adds": 0.0, "adds_recall": None},
        {"label": "Myopia", "prompt": "tilted disc", "adds": 0.01, "adds_recall": 0.0},
        {"label": "Myopia", "prompt": "tessellated", "adds": 0.04, "adds_recall": 0.2},
    ],
    "units": 60,
}  # fmt: skip


def a_run(**changes):
    run = run_of(final("tuned", 0.9), final("baseline", 0.4))
    run.prompts = build(PromptSensitivity, {**DOCUMENT, **changes})
    run.decisions = {"best": {"id": "c0"}}
    return run


def test_each_class_has_the_prompt_that_helps_and_the_one_that_hurts_most():
    assert prompts_table(a_run()).rows == [
        ["Glaucoma", "cupping", "+0.020", "+0.100", "pale disc", "−0.030", "−0.050"],
        ["Myopia", "tessellated", "+0.040", "+0.200", "tilted disc", "+0.010", "+0.000"],
    ]


def test_templates_stand_beside_all_prompts():
    assert [row[2:] for row in templates_table(a_run()).rows] == [["0.650", "−0.050"], ["0.750", "+0.050"]]
    labels = [label.get_text() for label in draw_prompts(a_run()).axes[0].get_yticklabels()]
    assert sorted(labels) == ["all prompts", "random halves", "template 1", "template 2"]


def test_the_sentence_names_encoder_and_split():
    assert SECTION.words(a_run())["spread"] == (
        "With all class prompts, the tuned configuration with pubmedbert has a balanced accuracy of 0.700 on "
        "validation. With random halves of them it has 0.550 to 0.720."
    )


def test_without_labels_there_is_no_score():
    nothing = {"value": None, "low": None, "high": None, "standard_error": None}
    run = a_run(ensemble=nothing, templates=[], halves=[], prompts=[], units=0)
    assert SECTION.words(run)["spread"] == "No validation sample is labeled, so that no prompt can be scored."
    assert draw_prompts(run) is not None
    assert prompts_table(run).rows == templates_table(run).rows == []
