"""Learning curves of the final models."""

from typing import TYPE_CHECKING

from retclip.report.drawing import GRAY, level_line, subplots
from retclip.report.formatting import metric_name
from retclip.report.names import final_name
from retclip.report.run_folder import RunFolder
from retclip.report.section import Section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEXT = """
{{ figure("learning_curves") }}
"""


def draw_learning_curves(run: RunFolder) -> "Figure":
    """Validation loss and score per epoch of the final models; the search's trials in gray."""
    import seaborn
    from matplotlib.collections import LineCollection

    figure, (upper, lower) = subplots(height=5.4, rows=2)
    for axes, column in ((upper, "val_loss"), (lower, run.metric)):
        lines = [
            finished.history[["epoch", column]].to_numpy()
            for finished in run.searched.get("phase2", [])
            if column in finished.history
        ]
        axes.add_collection(LineCollection(lines, colors=GRAY, alpha=0.35, linewidths=0.7))
        axes.autoscale_view()
    finals = [final for final in run.finals if final.kind not in ("ablation", "subset")]
    colors = dict(zip(dict.fromkeys(map(final_name, finals)), seaborn.color_palette("colorblind"), strict=False))
    for final in finals:
        name = final_name(final)
        for axes, column in ((upper, "val_loss"), (lower, run.metric)):
            if column in final.history:
                style = {"color": colors[name], "marker": "o", "markersize": 3, "label": name}
                axes.plot(final.history["epoch"], final.history[column], **style)
    level_line(lower, run.chance(run.metric))
    upper.set(ylabel="validation loss")
    lower.set(xlabel="epoch", ylabel=f"validation {metric_name(run.metric)}")
    handles, labels = lower.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    figure.legend(unique.values(), unique.keys(), loc="outside lower center", ncols=2)
    return figure


SECTION = Section(
    "Learning curves",
    TEXT,
    is_ready=lambda run: bool(run.finals),
    figures={"learning_curves": draw_learning_curves},
)
