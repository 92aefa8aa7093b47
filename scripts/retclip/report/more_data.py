"""Would more patients help: the scores by number of train patients, and what twice as many would bring, or why nobody
can tell."""

from dataclasses import dataclass
from functools import lru_cache

from retclip.metrics.estimates import FEWEST_SEEDS, Estimate
from retclip.metrics.learning_curve import LearningCurve, fit
from retclip.report import formatting as wording
from retclip.report.comparisons import difference, seeds_of
from retclip.report.limitations import WORTH_FINDING
from retclip.report.run_folder import FinalModel, RunFolder

# An inverse power law has three numbers.
FEWEST_SIZES = 3


@dataclass
class MoreData:
    """groups: number of train patients -> models that differ in the seed alone, all patients last. curve: None where
    none can be fitted. gain: of twice the patients; None where it cannot be told. sentence: either, in words."""

    groups: dict[int, list[FinalModel]]
    curve: LearningCurve | None
    gain: Estimate | None
    sentence: str


@lru_cache(maxsize=1)
def more_data(run: RunFolder) -> MoreData:
    """Of a run whose final models were trained on fractions of the patients, too."""
    whole = run.fingerprint["splits"]["train"]["patients"]
    groups = {**run.subsets(), whole: run.tuned(run.search_encoder)}
    found = {size: seeds_of(group, run.test_metric) for size, group in groups.items()}
    known = {size: seeds for size, seeds in found.items() if seeds is not None}
    curve = fit(list(known), list(known.values())) if len(known) >= FEWEST_SIZES else None
    reason = _why_not(run, groups, [size for size in groups if size not in known], curve)
    if reason or curve is None:
        return MoreData(groups, curve, None, f"What twice the train patients would bring cannot be told: {reason}.")
    gain, twice = curve.gain, f"Twice the train patients ({2 * whole:,})"
    if _is_small(gain):
        told = f"would bring at most {wording.signed(gain.high)}, the upper end of the 95 % band"
    else:
        ends = wording.interval(gain.low, gain.high)
        told = f"would bring about {wording.signed(gain.value)} (95 % band {ends})"
    return MoreData(groups, curve, gain, f"{twice} {told}, if the curve continues as a power law.")


def _why_not(
    run: RunFolder, groups: dict[int, list[FinalModel]], unscored: list[int], curve: LearningCurve | None
) -> str:
    """Why the gain cannot be told; empty where it can."""
    if unscored:
        return f"a training run on {unscored[0]:,} patients has no score"
    if len(groups) < FEWEST_SIZES:
        return f"it takes three numbers of patients, and there are {len(groups)}; add to study.data_fractions"
    if min(map(len, groups.values())) < FEWEST_SEEDS:
        return (
            f"each number of patients has fewer than {FEWEST_SEEDS} seeds, so chance of training may be all of it; set "
            f"final.seeds to {FEWEST_SEEDS}"
        )
    if curve is None:
        return "no rising curve fits these scores, or predictions were removed"
    smallest, *_, whole = groups
    rise = difference(groups[whole], groups[smallest], run.test_metric)
    if not rise.is_significant and not _is_small(curve.gain):
        return f"the scores on {smallest:,} and {whole:,} train patients do not differ significantly"
    return ""


def _is_small(gain: Estimate) -> bool:
    """All that it may be is less than what is worth finding."""
    return gain.high is not None and gain.high < WORTH_FINDING
