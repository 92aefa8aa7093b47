"""Figures of the result on test, and of what the run cost."""

from typing import TYPE_CHECKING

import numpy as np

from retclip.report.comparisons import Estimate, difference, score, value_of
from retclip.report.drawing import BLUE, GREEN, GREY, HALF, heatmap, level_line, nothing, subplots, whiskers
from retclip.report.formatting import STAGE_NAMES, metric_name, signed
from retclip.report.run_folder import Final, RunFolder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = tuple[str, list[Final], str]


def answer(run: RunFolder) -> "Figure":
    """Every recipe's score on test beside chance, with 95 % intervals."""
    controls = run.controls()
    rows: list[Row] = [
        *([("shuffled texts", controls, GREY)] if controls else []),
        ("default config", run.baselines(), GREY),
        *_by_encoder(run),
    ]
    figure, axes = subplots(height=_answer_height(run), width=HALF)
    _test_bars(axes, run, rows)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", ncols=2)
    return figure


def differences(run: RunFolder) -> "Figure":
    """The differences on test that the run was made to find, with 95 % intervals."""
    winners, controls = run.winners(run.search_encoder), run.controls()
    gaps = [("tuned − default", difference(winners, run.baselines(), run.test_metric))]
    if controls:
        gaps.append(("tuned − shuffled texts", difference(winners, controls, run.test_metric)))
    recommended = run.recommendation["encoder"] if run.recommendation else None
    if recommended:
        gaps += [
            (f"{name} − {recommended}", difference(run.winners(name), run.winners(recommended), run.test_metric))
            for name in run.encoders
            if name != recommended
        ]
    figure, axes = subplots(height=_answer_height(run), width=HALF)
    _differences(axes, gaps[::-1], metric_name(run.test_metric))
    return figure


def _answer_height(run: RunFolder) -> float:
    """Inches; the same for both halves of the answer."""
    return 0.42 * (len(run.encoders) + 1 + bool(run.controls())) + 1.5


def encoders(run: RunFolder) -> "Figure":
    """The winner's recipe with each text encoder on test, with 95 % intervals."""
    rows = _by_encoder(run)
    figure, axes = subplots(height=0.5 * len(rows) + 1.4)
    _test_bars(axes, run, rows)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", ncols=2)
    return figure


def per_class(run: RunFolder) -> "Figure":
    """Recall of each class on test, winner and default config, with the number of test samples."""
    winner, baseline = run.winners(run.search_encoder)[0], run.baselines()[0]
    pairs = [
        (ours, theirs)
        for ours, theirs in zip(winner.evaluation["per_class"], baseline.evaluation["per_class"], strict=True)
        if ours["recall"] is not None
    ]
    if not pairs:
        return nothing("no test sample is labelled")
    pairs.sort(key=lambda pair: pair[0]["recall"])
    figure, axes = subplots(height=0.34 * len(pairs) + 1.3)
    for position, (ours, theirs) in enumerate(pairs):
        axes.plot([theirs["recall"], ours["recall"]], [position] * 2, color=GREY, linewidth=1.5, zorder=1)
        axes.scatter(theirs["recall"], position, color="white", edgecolor=GREY, linewidth=1.5, s=34, zorder=2)
        axes.scatter(ours["recall"], position, color=BLUE, s=38, zorder=3)
    axes.scatter([], [], color=BLUE, s=38, label="tuned winner")
    axes.scatter([], [], color="white", edgecolor=GREY, linewidth=1.5, s=34, label="default config")
    axes.set_yticks(range(len(pairs)), [f"{ours['class']} ({ours['count']:,})" for ours, _ in pairs])
    axes.set(xlim=(-0.02, 1.02), xlabel="recall on test; in brackets, test samples of the class")
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside lower left", ncols=2)
    return figure


def calibration(run: RunFolder) -> "Figure":
    """How often the likeliest class is right, by how sure the model is; the diagonal is honest."""
    figure, axes = subplots(height=3.6)
    drawn = False
    models = (("tuned winner", run.winners(run.search_encoder)[0], BLUE), ("default config", run.baselines()[0], GREY))
    for name, final, colour in models:
        bins = [one for one in (final.evaluation["calibration"] or {"bins": []})["bins"] if one["count"]]
        if not bins:
            continue
        drawn = True
        error = final.evaluation["calibration"]["expected_calibration_error"]["value"]
        confidence, accuracy = [one["confidence"] for one in bins], [one["accuracy"] for one in bins]
        axes.plot(confidence, accuracy, color=colour, linewidth=1.5, label=f"{name}, expected error {error:.3f}")
        axes.scatter(confidence, accuracy, color=colour, s=[18 + 160 * one["count"] / _units(bins) for one in bins])
    if not drawn:
        return nothing("no test sample is labelled")
    axes.plot([0, 1], [0, 1], color="black", linestyle=":", linewidth=1)
    axes.set(
        xlim=(0, 1.02), ylim=(-0.02, 1.02), xlabel="confidence in the likeliest class", ylabel="share that is right"
    )
    axes.legend(loc="lower right")
    return figure


def _units(bins: list[dict]) -> int:
    return sum(one["count"] for one in bins)


def confusion_winner(run: RunFolder) -> "Figure":
    """Confusion matrix on test of the winner with the text encoder that the search used."""
    return _confusion(run.winners(run.search_encoder)[0])


def confusion_baseline(run: RunFolder) -> "Figure":
    """Confusion matrix on test of the default config."""
    return _confusion(run.baselines()[0])


def embedding(run: RunFolder) -> "Figure":
    """The winner's image features of the test patients in two dimensions, by class."""
    import seaborn

    looks = run.looks
    if len(looks.embedding) < 2:
        return nothing("fewer than two test patients to draw")
    figure, axes = subplots(height=5.0)
    colours, markers = seaborn.color_palette("colorblind"), "osD^vP"
    for index, name in enumerate(looks.classes):
        points = looks.embedding[looks.embedding_label == index]
        if len(points):
            marker = markers[index // len(colours) % len(markers)]
            axes.scatter(
                *points.T, color=colours[index % len(colours)], marker=marker, s=22, alpha=0.8, label=str(name)
            )
    rest = looks.embedding[looks.embedding_label < 0]
    if len(rest):
        axes.scatter(*rest.T, color=GREY, s=12, alpha=0.5, label="unlabelled")
    axes.set(xticks=[], yticks=[], xlabel=str(looks.embedding_method))
    figure.legend(loc="outside right upper")
    return figure


def cost(run: RunFolder) -> "Figure":
    """Device time of each stage, and the speed of its trainings."""
    stages = {stage: trainings for stage, trainings in run.paid().items() if trainings}
    names = [STAGE_NAMES[stage] for stage in stages][::-1]
    figure, (left, right) = subplots(height=0.4 * len(stages) + 1.2, columns=2)
    seconds = np.array([sum(t.metrics["device_seconds"] for t in trainings) for trainings in stages.values()])[::-1]
    unit, label = (60, "minutes") if seconds.max() < 7200 else (3600, "hours")
    left.barh(names, seconds / unit, color=BLUE, height=0.6)
    left.set_xlabel(f"device {label}")
    left.grid(axis="y", visible=False)
    for position, trainings in enumerate(list(stages.values())[::-1]):
        speeds = [t.metrics["samples_per_second"] for t in trainings if t.metrics["samples_per_second"]]
        right.scatter(speeds, [position] * len(speeds), color=BLUE, alpha=0.5, s=16)
    right.set_yticks(range(len(names)), [])
    right.set_ylim(left.get_ylim())
    right.set_xlim(left=0)
    right.set_xlabel("samples per second, a dot a training")
    return figure


def _by_encoder(run: RunFolder) -> list[Row]:
    recommended = run.recommendation["encoder"] if run.recommendation else None
    return [
        (
            f"{name} (recommended)" if name == recommended else name,
            run.winners(name),
            GREEN if name == recommended else BLUE,
        )
        for name in reversed(run.encoders)
    ]


def _test_bars(axes: "Axes", run: RunFolder, rows: list[Row]) -> None:
    """Horizontal bars with intervals; every seed a dot; chance and majority as lines."""
    for position, (_, finals, colour) in enumerate(rows):
        estimate = score(finals, run.test_metric)
        if estimate.value is None:
            continue
        axes.barh(position, estimate.value, color=colour, height=0.62)
        whiskers(axes, position, estimate.value, estimate.low, estimate.high)
        seeds = [value for final in finals if (value := value_of(final, run.test_metric)) is not None]
        if len(seeds) > 1:
            axes.scatter(seeds, [position] * len(seeds), color="white", edgecolor="black", s=16, zorder=3)
        axes.annotate(
            f"{estimate.value:.3f}", (1.0, position), xytext=(2, 0), textcoords="offset points", va="center",
            fontsize=8,
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), [label for label, _, _ in rows])
    chance = run.chance(run.test_metric)
    level_line(axes, chance, vertical=True)
    majority = run.finals[0].evaluation["levels"]["majority"].get(run.test_metric)
    if majority is not None and abs(majority - (chance or 0.0)) > 0.005:
        level_line(axes, majority, "always the largest class", vertical=True)
    axes.set_xlim(0, 1)
    axes.set_xlabel(f"{metric_name(run.test_metric)} on test")
    axes.grid(axis="y", visible=False)


def _differences(axes: "Axes", gaps: list[tuple[str, Estimate]], metric: str) -> None:
    """Points with intervals; whatever crosses nought may be no difference at all."""
    for position, (_, gap) in enumerate(gaps):
        if gap.value is None:
            continue
        colour = BLUE if gap.is_real else GREY
        whiskers(axes, position, gap.value, gap.low, gap.high, color=colour, linewidth=2)
        axes.scatter(gap.value, position, color=colour, s=42, zorder=3)
        axes.annotate(signed(gap.value), (gap.value, position), xytext=(0, 7), textcoords="offset points",
                      ha="center", fontsize=8)  # fmt: skip
    axes.axvline(0, color="black", linewidth=1)
    axes.set_yticks(range(len(gaps)), [label for label, _ in gaps])
    axes.set_ylim(-0.6, len(gaps) - 0.4)
    axes.margins(x=0.2)  # for the numbers above the outermost points
    axes.set_xlabel(f"difference in {metric}")
    axes.grid(axis="y", visible=False)


def _confusion(final: Final) -> "Figure":
    """Rows are true classes, in shares of the row; counts in the cells."""
    confusion = final.evaluation["confusion"]
    if not confusion["matrix"]:
        return nothing("no test sample has a single label")
    matrix = np.array(confusion["matrix"], dtype=int)
    return heatmap(matrix, matrix / np.maximum(matrix.sum(1, keepdims=True), 1), confusion["classes"])
