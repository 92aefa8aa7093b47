"""Phase 1: the grid."""

from typing import TYPE_CHECKING

from retclip.report.cells import Captioned
from retclip.report.leaderboards import draw_ranking, leaderboard_of
from retclip.report.run_folder import RunFolder
from retclip.report.section import Section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEXT = """
{% if "phase1" in run.decisions %}
<p>Chosen: {{ names[run.decisions.phase1.id] }} <small>{{ run.decisions.phase1.id }}</small>,
{{ run.decisions.phase1.reason }}.</p>
{% else %}
<p>Nothing is chosen yet; {{ run.boards.phase1 | length }} trials have finished.</p>
{% endif %}
{{ figure("rank_phase1") }}
{{ table("leaderboard_phase1") }}
"""


def draw_rank_phase1(run: RunFolder) -> "Figure":
    """The trials of the grid with their standard errors, and the score against what was varied."""
    return draw_ranking(run, "phase1")


def _tables(run: RunFolder) -> dict[str, Captioned]:
    return leaderboard_of(run, "phase1")


SECTION = Section(
    "Phase 1",
    TEXT,
    is_ready=lambda run: "phase1" in run.boards,
    figures={"rank_phase1": draw_rank_phase1},
    tables=_tables,
)
