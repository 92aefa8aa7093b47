"""All figures of the report by name: how each is drawn, what it shows in words, and what it needs to be drawn."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from retclip.core.config import strategy_facts
from retclip.report import figures_data, figures_result, figures_search
from retclip.report.formatting import drawn, metric_name
from retclip.report.run_folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Drawing(NamedTuple):
    """caption: with {metric} (of the choice, on validation), {test_metric}, {encoder}, {drawn} (what intervals are
    drawn over) and {seed} (which one is shown) to be filled in."""

    draw: Callable[[RunFolder], "Figure"]
    caption: str
    is_ready: Callable[[RunFolder], bool]


def _halving(run: RunFolder) -> bool:
    return "has_rungs" in strategy_facts(run.config) and bool(run.searched["phase2"])


def _decided(run: RunFolder) -> bool:
    return run.is_decided


def _searched(stage: str) -> Callable[[RunFolder], bool]:
    return lambda run: stage in run.boards


FIGURES = {
    "answer": Drawing(
        figures_result.answer,
        "What each recipe scores on test: {test_metric}, with 95 % intervals over {drawn}.",
        _decided,
    ),
    "differences": Drawing(
        figures_result.differences,
        "Differences on test, paired, with 95 % intervals over {drawn}; one whose interval crosses nought, in grey, "
        "may be no difference at all.",
        _decided,
    ),
    "class_counts": Drawing(
        figures_data.class_counts,
        "Labelled samples of each class, by split.",
        lambda run: run.audit is not None and run.fingerprint is not None,
    ),
    "find_lr": Drawing(
        figures_data.find_lr,
        "Training loss while the learning rate rises.",
        lambda run: run.curve is not None and run.suggestion is not None,
    ),
    "rank_phase1": Drawing(
        figures_search.rank_phase1,
        "Phase 1: trials by their validation {metric} with its standard error, and the score against each "
        "hyperparameter that was varied.",
        _searched("phase1"),
    ),
    "rank_phase2": Drawing(
        figures_search.rank_phase2,
        "Phase 2: trials by their validation {metric} with its standard error, and the score against each "
        "hyperparameter that was varied.",
        _searched("phase2"),
    ),
    "best_so_far": Drawing(
        figures_search.best_so_far,
        "The best validation {metric} after each trial of Phase 2. A search that learns leaves the grey band upwards.",
        _searched("phase2"),
    ),
    "parallel_coordinates": Drawing(
        figures_search.parallel_coordinates,
        "Every trial of Phase 2 as a line through its hyperparameters to its validation {metric}; the best is thick.",
        _searched("phase2"),
    ),
    "rung_cuts": Drawing(
        figures_search.rung_cuts,
        "Validation {metric} of Phase 2's trainings; a cross marks where a rung stopped one.",
        _halving,
    ),
    "importances": Drawing(
        figures_search.importances,
        "How much of the scores' spread each hyperparameter explains. With few trials these are guesses: read the "
        "intervals, not the order.",
        lambda run: run.importances is not None,
    ),
    "stability": Drawing(
        figures_search.stability,
        "How often each candidate scores best when the validation patients, and the seeds of a finalist, are drawn "
        "again; the chosen one is green.",
        _searched("phase2"),
    ),
    "learning_curves": Drawing(
        figures_search.learning_curves,
        "Validation loss and {metric} after each epoch of the final trainings; the trials of Phase 2 in grey.",
        lambda run: bool(run.finals),
    ),
    "encoders": Drawing(
        figures_result.encoders,
        "Zero-shot {test_metric} on test of the winner's recipe with each text encoder, with 95 % intervals over "
        "{drawn}.",
        lambda run: bool(run.encoders),
    ),
    "per_class": Drawing(
        figures_result.per_class,
        "Recall of each class on test, the winner with {encoder} and the default config{seed}.",
        _decided,
    ),
    "calibration": Drawing(
        figures_result.calibration,
        "Confidence and truth on test{seed}: below the diagonal, a model is less often right than it is sure. Larger "
        "points have more samples.",
        _decided,
    ),
    "confusion_winner": Drawing(
        figures_result.confusion_winner,
        "The winner{seed}: rows are true classes, cells are counts, shades are shares of the row.",
        _decided,
    ),
    "confusion_baseline": Drawing(
        figures_result.confusion_baseline, "The default config{seed}, read in the same way.", _decided
    ),
    "embedding": Drawing(
        figures_result.embedding,
        "The winner's image features of test patients{seed}, a dot a patient. Near means alike; far means little.",
        lambda run: run.looks is not None,
    ),
    "cost": Drawing(
        figures_result.cost,
        "Device time of each stage, each training counted once, and how fast its trainings went.",
        lambda run: any(run.paid().values()),
    ),
}  # fmt: skip


def captions(run: RunFolder) -> dict[str, str]:
    """name -> caption of every figure that can be drawn."""
    words = {
        "metric": metric_name(run.metric),
        "test_metric": metric_name(run.test_metric),
        "encoder": run.search_encoder,
        "drawn": drawn(run.seeds_each),
        "seed": run.shown_seed,
    }
    return {name: entry.caption.format(**words) for name, entry in FIGURES.items() if entry.is_ready(run)}
