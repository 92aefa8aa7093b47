"""How sure the choice is: whether other patients or seeds would have chosen otherwise."""

from statistics import stdev
from typing import TYPE_CHECKING, Any

import numpy as np

from retclip.report import formatting as wording
from retclip.report.cells import Captioned, Table, TrialCell
from retclip.report.drawing import BLUE, GREEN, ROW, SMALL, named_rows, nothing, subplots
from retclip.report.names import trial_names
from retclip.report.run_folder import RunFolder
from retclip.report.section import Section
from retclip.report.stability import candidates_of, choices_by_one_seed, winning_shares

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEXT = """
<p>Would other patients or other seeds have chosen otherwise? The validation patients, and the seeds of each finalist,
are drawn again 1,000 times; each time somebody wins.</p>
{{ figure("stability") }}
{% if "seeds" in tables %}
{{ table("seeds") }}
{% endif %}
{% if one_seed %}
<p>Had one fresh seed alone decided:
{% for seed, name in one_seed.items() %}
seed {{ seed }}: {{ names[name] }} <small>{{ name }}</small>{{ "; " if not loop.last }}
{%- endfor %}.</p>
{% endif %}
"""


def draw_stability(run: RunFolder) -> "Figure":
    """How often each of the best wins when the validation patients are drawn again."""
    stages = [stage for stage in ("phase2", "confirm") if winning_shares(run, stage)]
    if not stages:
        return nothing("fewer than two candidates have scores to compare")
    contests = [winning_shares(run, stage) for stage in stages]
    heights = [ROW * len(shares) + 0.9 for shares in contests]
    figure, axes = subplots(height=sum(heights), rows=len(stages), squeeze=False, height_ratios=heights)
    called = trial_names(run)
    titles = {"phase2": "Phase 2, one trial each", "confirm": "Confirmation, fresh seeds"}
    chosen = {stage: run.decisions.get("best" if stage == "confirm" else stage, {}).get("id") for stage in stages}
    for place, stage, shares in zip(axes[:, 0], stages, contests, strict=True):
        names = list(shares)[::-1]
        colors = [GREEN if name == chosen[stage] else BLUE for name in names]
        place.barh(np.arange(len(names)) - 0.2, [shares[name] for name in names], color=colors, height=0.28)
        for position, name in enumerate(names):
            place.annotate(f"{shares[name]:.0%}", (shares[name], position - 0.2), xytext=(4, 0),
                           textcoords="offset points", va="center", fontsize=SMALL)  # fmt: skip
        named_rows(place, names, called)
        place.set(title=titles[stage], xlabel="share of resamples won", xlim=(0, 1.12))
        place.grid(axis="y", visible=False)
    return figure


def seeds_table(run: RunFolder) -> Table:
    """The finalists' scores by fresh seed, their spread, and how often each wins resampled patients."""
    finalists, shares = candidates_of(run, "confirm"), winning_shares(run, "confirm")
    found = sorted({one.trial.seed for members in finalists.values() for one in members})
    rows: list[list[str]] = []
    called = trial_names(run)
    for name, members in finalists.items():
        by_seed = {one.trial.seed: one.score(run.metric) for one in members}
        values = [value for value in by_seed.values() if value is not None]
        spread = f"{stdev(values):.3f}" if len(values) > 1 else wording.NOTHING
        share = wording.percent(shares[name]) if name in shares else wording.NOTHING
        mean = wording.score(sum(values) / len(values)) if values else wording.NOTHING
        rows.append(
            [
                TrialCell(called.get(name, name), name),
                *(wording.score(by_seed.get(seed)) for seed in found),
                mean,
                spread,
                share,
            ]
        )
    chosen = run.decisions.get("best", {}).get("id")
    heads = ["finalist", *(f"seed {seed}" for seed in found), "mean", "SD over seeds", "resamples won"]
    return Table(heads, rows, frozenset(i for i, name in enumerate(finalists) if name == chosen))


def _tables(run: RunFolder) -> dict[str, Captioned]:
    if not run.searched.get("confirm"):
        return {}
    return {"seeds": Captioned("The finalists by fresh seed, on validation", seeds_table(run))}


def _words(run: RunFolder) -> dict[str, Any]:
    return {"one_seed": choices_by_one_seed(run), "names": trial_names(run)}


SECTION = Section(
    "How sure the choice is",
    TEXT,
    is_ready=lambda run: "phase2" in run.boards,
    figures={"stability": draw_stability},
    tables=_tables,
    words=_words,
)
