"""The classes on test: which are told from the rest, how sure the model is, and who is missed."""

from typing import TYPE_CHECKING

import numpy as np

from retclip.metrics.estimates import Estimate
from retclip.metrics.evaluation_document import Row
from retclip.report import formatting as wording
from retclip.report.cells import Captioned, Table, estimated, with_interval
from retclip.report.drawing import BLUE, GRAY, heatmap, nothing, subplots
from retclip.report.names import baseline_name, final_name
from retclip.report.run_folder import FinalModel, RunFolder
from retclip.report.section import Section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEXT = """
{{ figure("per_class") }}
{{ table("per_class") }}
{{ figure("calibration") }}
{{ figure("confusion_tuned") }}
{{ figure("confusion_baseline") }}
{% if "subgroups" in tables %}
{{ table("subgroups") }}
{% endif %}
"""


def draw_per_class(run: RunFolder) -> "Figure":
    """Recall of each class on test, tuned configuration and baseline, with the number of test samples."""
    tuned_model, baseline = run.tuned(run.answer_encoder)[0], run.baselines()[0]
    pairs = [
        (ours, theirs)
        for ours, theirs in zip(tuned_model.evaluation.per_class, baseline.evaluation.per_class, strict=True)
        if ours["recall"] is not None
    ]
    if not pairs:
        return nothing("no test sample is labeled")
    pairs.sort(key=lambda pair: pair[0]["recall"])
    figure, axes = subplots(height=0.34 * len(pairs) + 1.3)
    for position, (ours, theirs) in enumerate(pairs):
        axes.plot([theirs["recall"], ours["recall"]], [position] * 2, color=GRAY, linewidth=1.5, zorder=1)
        axes.scatter(theirs["recall"], position, color="white", edgecolor=GRAY, linewidth=1.5, s=34, zorder=2)
        axes.scatter(ours["recall"], position, color=BLUE, s=38, zorder=3)
    axes.scatter([], [], color=BLUE, s=38, label=final_name(tuned_model))
    axes.scatter([], [], color="white", edgecolor=GRAY, linewidth=1.5, s=34, label=final_name(baseline))
    axes.set_yticks(range(len(pairs)), [f"{ours['class']} ({ours['count']:,})" for ours, _ in pairs])
    axes.set(xlim=(-0.02, 1.02), xlabel="recall on test (number of samples)")
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside lower left", ncols=2)
    return figure


def draw_calibration(run: RunFolder) -> "Figure":
    """How often the likeliest class is right, by how sure the model is; the diagonal is honest."""
    figure, axes = subplots(height=3.6)
    drawn = False
    for final, color in ((run.tuned(run.answer_encoder)[0], BLUE), (run.baselines()[0], GRAY)):
        bins = [
            one for one in (final.evaluation.calibration.bins if final.evaluation.calibration else ()) if one["count"]
        ]
        if not bins:
            continue
        drawn = True
        assert final.evaluation.calibration is not None
        error = final.evaluation.calibration.expected_calibration_error["value"]
        confidence, accuracy = [one["confidence"] for one in bins], [one["accuracy"] for one in bins]
        axes.plot(
            confidence, accuracy, color=color, linewidth=1.5, label=f"{final_name(final)}: expected error {error:.3f}"
        )
        axes.scatter(confidence, accuracy, color=color, s=[18 + 160 * one["count"] / _units(bins) for one in bins])
    if not drawn:
        return nothing("no test sample is labeled")
    axes.plot([0, 1], [0, 1], color="black", linestyle=":", linewidth=1)
    axes.set(
        xlim=(0, 1.02), ylim=(-0.02, 1.02), xlabel="confidence in the likeliest class", ylabel="share that is right"
    )
    axes.legend(loc="lower right")
    return figure


def draw_confusion_tuned(run: RunFolder) -> "Figure":
    """Confusion matrix on test of the tuned configuration with the text encoder of the answer."""
    return _confusion(run.tuned(run.answer_encoder)[0])


def draw_confusion_baseline(run: RunFolder) -> "Figure":
    """Confusion matrix on test of the baseline."""
    return _confusion(run.baselines()[0])


def per_class_table(run: RunFolder) -> Table:
    """Per class on test: how it is named, how it is told from the rest, and the baseline's recall."""
    tuned_model, baseline = run.tuned(run.answer_encoder)[0], run.baselines()[0]
    rows = []
    for ours, theirs in zip(tuned_model.evaluation.per_class, baseline.evaluation.per_class, strict=True):
        rows.append(
            [
                ours["class"],
                f"{ours['count']:,}",
                f"{ours['patients']:,}",
                *(wording.score(ours[key]) for key in ("precision", "recall", "f1")),
                wording.score(theirs["recall"]),
                _of(ours, "auroc"),
                wording.score(ours["average_precision"]),
                _of(ours, "sensitivity"),
                _of(ours, "specificity"),
            ]
        )
    heads = [
        "class",
        "test samples",
        "patients",
        "precision",
        "recall",
        "F1",
        "baseline's recall",
        "AUROC",
        "average precision",
        "sensitivity",
        "specificity",
    ]
    return Table(heads, rows)


def subgroups_table(run: RunFolder) -> Table:
    """The tuned configuration's score in groups of test patients; groups of few patients have none."""
    metric = run.test_metric
    rows = [
        [
            f"{entry['variable']}: {entry['group']}",
            f"{entry['patients']:,}",
            f"{entry['units']:,}",
            "too few patients" if entry["scores"] is None else estimated(entry["scores"].get(metric)),
        ]
        for entry in run.tuned(run.answer_encoder)[0].evaluation.subgroups
    ]
    return Table(["group", "patients", "samples", wording.metric_name(metric)], rows)


def _units(bins: list[Row]) -> int:
    return sum(one["count"] for one in bins)


def _confusion(final: FinalModel) -> "Figure":
    """Rows are true classes, in shares of the row; counts in the cells."""
    confusion = final.evaluation.confusion
    if not confusion.matrix:
        return nothing("no test sample has a single label")
    matrix = np.array(confusion.matrix, dtype=int)
    return heatmap(matrix, matrix / np.maximum(matrix.sum(1, keepdims=True), 1), list(confusion.classes))


def _of(row: Row, key: str) -> str:
    """A value of a class with its interval."""
    return with_interval(Estimate(row[key], row[f"{key}_low"], row[f"{key}_high"]))


def _tables(run: RunFolder) -> dict[str, Captioned]:
    found = {
        "per_class": Captioned(
            f"The tuned configuration with {run.answer_encoder}{run.shown_seed}, per class on test; sensitivity and "
            f"specificity at the threshold that is best on validation; recall beside that of {baseline_name(run)}",
            per_class_table(run),
        )
    }
    groups = subgroups_table(run)
    if groups.rows:
        found["subgroups"] = Captioned(
            f"The tuned configuration with {run.answer_encoder} in groups of test patients{run.shown_seed}", groups
        )
    return found


SECTION = Section(
    "Classes",
    TEXT,
    is_ready=lambda run: run.is_decided,
    figures={
        "per_class": draw_per_class,
        "calibration": draw_calibration,
        "confusion_tuned": draw_confusion_tuned,
        "confusion_baseline": draw_confusion_baseline,
    },
    tables=_tables,
)
