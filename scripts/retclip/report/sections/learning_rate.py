"""The range test of the learning rate."""

from typing import TYPE_CHECKING

from retclip.report.drawing import BLUE, GRAY, GREEN, RED, plain_ticks, subplots
from retclip.report.formatting import setting
from retclip.report.run_folder import RunFolder
from retclip.report.section import Section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEXT = """
<p>The range test raised the learning rate step by step and suggests
{{ wording.setting(run.suggestion.suggestion) }} ({{ run.suggestion.note }}).</p>
{{ figure("find_lr") }}
"""


def draw_find_lr(run: RunFolder) -> "Figure":
    """The range test: loss against learning rate, with the suggestion and what the search chose."""
    figure, axes = subplots(height=3.2)
    curve = run.curve
    axes.plot(curve["learning_rate"], curve["loss"], color=GRAY, linewidth=0.8, label="loss of each step")
    if "smoothed_loss" in curve:
        axes.plot(curve["learning_rate"], curve["smoothed_loss"], color=BLUE, label="smoothed")
    suggestion = run.suggestion["suggestion"]
    axes.axvline(suggestion, color=RED, linestyle="--", label=f"suggestion {setting(suggestion)}")
    if "best" in run.decisions:
        chosen = run.decisions["best"]["configured"]["learning_rate"]
        axes.axvline(chosen, color=GREEN, linestyle=":", label=f"chosen by the search {setting(chosen)}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss")
    plain_ticks(axes)
    axes.legend()
    return figure


SECTION = Section(
    "Learning rate",
    TEXT,
    is_ready=lambda run: run.curve is not None and run.suggestion is not None,
    figures={"find_lr": draw_find_lr},
)
