"""Would more data help: the score by number of train patients, with a fitted curve."""

from typing import TYPE_CHECKING, Any

import numpy as np

from retclip.report import formatting as wording
from retclip.report.cells import Captioned, Table, with_interval
from retclip.report.comparisons import score, value_of
from retclip.report.drawing import BLUE, GRAY, level_line, subplots
from retclip.report.more_data import more_data
from retclip.report.run_folder import RunFolder
from retclip.report.section import Section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEXT = """
<p>{{ sentence }}</p>
{{ figure("more_data") }}
{{ table("more_data") }}
<p class="note">Smaller numbers of patients are among the larger ones, and train for as many epochs, so in fewer steps.
The band holds every inverse power law of the number of patients (Figueroa et al., BMC Med. Inform. Decis. Mak. 12:8,
2012) by how well it fits, with what {{ moved }} move the scores.</p>
"""


def draw_more_data(run: RunFolder) -> "Figure":
    """Scores with 95 % CIs by number of train patients; the curve continues, dashed, to twice as many."""
    told = more_data(run)
    figure, axes = subplots(height=3.4)
    if told.curve is not None:
        smallest, whole = told.curve.smallest, told.curve.largest
        patients = np.geomspace(smallest, 2 * whole, 60)
        low, middle, high = told.curve.at(patients)
        axes.fill_between(patients, low, high, color=BLUE, alpha=0.15, linewidth=0, label="95 % band")
        seen = patients <= whole
        axes.plot(patients[seen], middle[seen], color=BLUE, linewidth=1.5, label="inverse power law")
        axes.plot(patients[~seen], middle[~seen], color=BLUE, linewidth=1.5, linestyle="--")
    scored = {size: score(group, run.test_metric) for size, group in told.groups.items()}
    scored = {size: found for size, found in scored.items() if found.value is not None}
    for size, found in scored.items():
        if found.low is not None and found.high is not None:
            axes.plot([size, size], [found.low, found.high], color="black", linewidth=1.2)
        each = [value_of(one, run.test_metric) for one in told.groups[size]]
        axes.scatter([size] * len(each), each, color="white", edgecolor=GRAY, s=14, zorder=3)
    seeds = min(map(len, told.groups.values()))
    label = "one seed" if seeds == 1 else f"mean of {seeds} seeds"
    axes.scatter(list(scored), [found.value for found in scored.values()], color=BLUE, s=38, zorder=4, label=label)
    level_line(axes, run.chance(run.test_metric))
    axes.set_xscale("log")
    ticks = [*told.groups, 2 * max(told.groups)]
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.minorticks_off()
    axes.set(xlabel="train patients", ylabel=f"{wording.metric_name(run.test_metric)} on test")
    axes.set_xlim(0.9 * min(ticks), 1.1 * max(ticks))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", ncols=2)
    return figure


def more_data_table(run: RunFolder) -> Table:
    """The same scores in numbers."""
    groups = more_data(run).groups
    rows = [
        [
            f"{size:,} (all)" if size == max(groups) else f"{size:,}",
            with_interval(score(group, run.test_metric)),
            str(len(group)),
        ]
        for size, group in groups.items()
    ]
    return Table(["train patients", f"{wording.metric_name(run.test_metric)} on test", "seeds"], rows)


def _words(run: RunFolder) -> dict[str, Any]:
    moved = "test patients" if run.seeds_each == 1 else "test patients and seeds"
    return {"sentence": more_data(run).sentence, "moved": moved}


def _tables(run: RunFolder) -> dict[str, Captioned]:
    caption = (
        f"The tuned configuration with {run.search_encoder} by number of train patients, with "
        f"{wording.intervals_over(run.seeds_each)}"
    )
    return {"more_data": Captioned(caption, more_data_table(run))}


SECTION = Section(
    "Would more data help?",
    TEXT,
    is_ready=lambda run: run.is_decided and bool(run.subsets()),
    figures={"more_data": draw_more_data},
    tables=_tables,
    words=_words,
)
