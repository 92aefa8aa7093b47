"""Figures of what came in: the classes, and the range test of the learning rate."""

from typing import TYPE_CHECKING

import numpy as np

from retclip.report.drawing import BLUE, GREEN, GREY, ORANGE, RED, nothing, plain_ticks, subplots
from retclip.report.formatting import setting
from retclip.report.run_folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SPLIT_COLOURS = {"train": BLUE, "val": ORANGE, "test": GREEN}


def class_counts(run: RunFolder) -> "Figure":
    """Labelled eyes (or patients) per class and split, largest class first."""
    splits = run.audit["splits"]
    classes = sorted(run.fingerprint["classes"], key=lambda name: splits["train"]["per_class"].get(name, 0))
    if not classes:
        return nothing("nothing is labelled")
    figure, axes = subplots(height=0.32 * len(classes) + 1.2)
    left = np.zeros(len(classes))
    for split, colour in SPLIT_COLOURS.items():
        counts = np.array([splits[split]["per_class"].get(name, 0) for name in classes])
        axes.barh(classes, counts, left=left, color=colour, label=split)
        left += counts
    for position, total in enumerate(left):
        axes.annotate(f"{total:,.0f}", (total, position), xytext=(4, 0), textcoords="offset points", va="center")
    axes.set_xlabel({"eye": "labelled eyes", "patient": "labelled patients"}[run.audit["label_level"]])
    axes.grid(axis="y", visible=False)
    axes.legend(title="split", loc="lower right")
    return figure


def find_lr(run: RunFolder) -> "Figure":
    """The range test: loss against learning rate, with the suggestion and what the search chose."""
    figure, axes = subplots(height=3.2)
    curve = run.curve
    axes.plot(curve["learning_rate"], curve["loss"], color=GREY, linewidth=0.8, label="loss of each step")
    if "smoothed_loss" in curve:
        axes.plot(curve["learning_rate"], curve["smoothed_loss"], color=BLUE, label="smoothed")
    suggestion = run.suggestion["suggestion"]
    axes.axvline(suggestion, color=RED, linestyle="--", label=f"suggestion {setting(suggestion)}")
    if "best" in run.decisions:
        chosen = run.decisions["best"]["hyperparameters"]["learning_rate"]
        axes.axvline(chosen, color=GREEN, linestyle=":", label=f"chosen by the search {setting(chosen)}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss")
    plain_ticks(axes)
    axes.legend()
    return figure
