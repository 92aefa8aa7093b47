"""The first screen: what a reader has to see first, and how far an interim run is."""

from typing import TYPE_CHECKING, Any

from retclip.metrics.estimates import Estimate
from retclip.report.answer import verdict
from retclip.report.comparisons import difference
from retclip.report.drawing import BLUE, GRAY, HALF, SMALL, subplots, whiskers
from retclip.report.first_screen import alarm, headline, points, tiles, tuned_name
from retclip.report.formatting import metric_name, signed
from retclip.report.limitations import warnings
from retclip.report.progress import eta, stages, still_to_come
from retclip.report.run_folder import RunFolder
from retclip.report.score_bars import Row, draw_scores, rows_by_encoder
from retclip.report.section import Section

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TEXT = """
<p class="kicker">Run {{ run.config.run }}{% if run.interim %}, interim{% endif %}</p>
{% if run.interim %}
<h1>What run {{ run.config.run }} has found so far</h1>
<aside class="interim"><h2>Interim: this run has not ended</h2>
<p>Nothing below is final: trials are missing, and no choice is made but those named.
Still to come: {{ still_to_come | join(", ") or "nothing" }}. {{ eta }}
{% if run.recommendation is none %}
Which text encoder to take is known when all final models have been evaluated.
{% endif %}</p>
<div class="scroll"><table class="many">
<thead><tr>{% for head in ("stage", "finished", "device time", "to go") %}
<th scope="col">{{ head }}</th>{% endfor %}</tr></thead>
<tbody>
{% for stage in stages %}
<tr><th scope="row">{{ stage.name }}</th><td>{{ stage.finished }} of {{ stage.planned }}</td>
<td>{{ wording.duration(stage.device_seconds) }}</td>
<td>{{ wording.NOTHING if stage.to_go is none else wording.duration(stage.to_go) }}</td></tr>
{% endfor %}
</tbody></table></div>
</aside>
{% else %}
<h1>Which RET-CLIP configuration is best, and by how much?</h1>
{% endif %}
{% if tiles %}
<p class="lead{% if not learned %} chance{% endif %}">{{ headline }}</p>
{% if learned %}
<p class="tuned">Tuned configuration: {{ tuned_name }} <small>trial {{ run.decisions.best.id }}</small></p>
{% endif %}
{% if alarm %}
<p class="alarm"><a href="#classes">{{ alarm }}</a></p>
{% endif %}
<div class="tiles">
{% for name, number, interval in tiles %}
<div class="tile{% if loop.first %} first{% endif %}"><span class="name">{{ name }}</span>
<strong>{{ number }}</strong><span class="interval">{{ "95 % CI " ~ interval if interval }}</span></div>
{% endfor %}
</div>
<div class="pair">
{{ figure("answer") }}
{{ figure("differences") }}
</div>
{% if points %}
<h2 class="next">What limits this answer, and what to do next</h2>
<ul class="points">
{% for point in points %}
<li>{{ point.text }} <a href="#{{ point.anchor }}">See {{ titles[point.anchor] }}</a></li>
{% endfor %}
</ul>
{% endif %}
{% endif %}
{% if run.interim and warnings %}
<aside class="warnings"><h2>Warnings so far</h2>
<ul>
{% for warning in warnings %}
<li>{{ warning }}</li>
{% endfor %}
</ul></aside>
{% endif %}
{% if not run.interim %}
<p class="note">Beside this page: <a href="summary.md">summary.md</a> (one page), <a href="methods.md">methods.md</a>,
<a href="references.bib">references.bib</a>, <a href="checklist.md">checklist.md</a>,
<a href="results.json">results.json</a>, <a href="trials.csv">trials.csv</a>, <a href="figures/">figures</a>,
<a href="tables/">tables</a>.</p>
{% endif %}
"""


def draw_answer(run: RunFolder) -> "Figure | None":
    """Every configuration's score on test beside chance, with 95 % CIs; none before the decision."""
    if not run.is_decided:
        return None
    controls = run.controls()
    rows: list[Row] = [
        *([("negative control", controls, GRAY)] if controls else []),
        ("baseline", run.baselines(), GRAY),
        *rows_by_encoder(run),
    ]
    figure, axes = subplots(height=_answer_height(run), width=HALF)
    draw_scores(axes, run, rows)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", ncols=2)
    return figure


def draw_differences(run: RunFolder) -> "Figure | None":
    """The differences on test that the run was made to find, with 95 % CIs; none before the decision."""
    if not run.is_decided:
        return None
    tuned, controls = run.tuned(run.search_encoder), run.controls()
    gaps = [("tuned − baseline", difference(tuned, run.baselines(), run.test_metric))]
    if controls:
        gaps.append(("tuned − negative control", difference(tuned, controls, run.test_metric)))
    recommended = run.recommendation["encoder"] if run.recommendation else None
    if recommended:
        gaps += [
            (f"{name} − {recommended}", difference(run.tuned(name), run.tuned(recommended), run.test_metric))
            for name in run.encoders
            if name != recommended
        ]
    figure, axes = subplots(height=_answer_height(run), width=HALF)
    _differences(axes, gaps[::-1], metric_name(run.test_metric))
    return figure


def _answer_height(run: RunFolder) -> float:
    """Inches; the same for both halves of the answer."""
    return 0.42 * (len(run.encoders) + 1 + bool(run.controls())) + 1.5


def _differences(axes: "Axes", gaps: list[tuple[str, Estimate]], metric: str) -> None:
    """Points with intervals; whatever crosses zero is not significant."""
    for position, (_, gap) in enumerate(gaps):
        if gap.value is None:
            continue
        color = BLUE if gap.excludes_zero else GRAY
        whiskers(axes, position, gap.value, gap.low, gap.high, color=color, linewidth=2)
        axes.scatter(gap.value, position, color=color, s=42, zorder=3)
        axes.annotate(signed(gap.value), (gap.value, position), xytext=(0, 7), textcoords="offset points",
                      ha="center", fontsize=SMALL)  # fmt: skip
    axes.axvline(0, color="black", linewidth=1)
    axes.set_yticks(range(len(gaps)), [label for label, _ in gaps])
    axes.set_ylim(-0.6, len(gaps) - 0.4)
    axes.margins(x=0.2)  # for the numbers above the outermost points
    axes.set_xlabel(f"difference in {metric}", loc="right")
    axes.grid(axis="y", visible=False)


def _words(run: RunFolder) -> dict[str, Any]:
    """Sentences and numbers, once there is a decision; before, how far the run is."""
    decided = run.is_decided
    return {
        "headline": headline(run) if decided else "",
        "tuned_name": tuned_name(run) if decided else "",
        "alarm": alarm(run) if decided else "",
        "points": points(run) if decided and run.audit is not None else [],
        "learned": decided and verdict(run).learned,
        "tiles": tiles(run) if decided else [],
        "warnings": warnings(run),
        "stages": stages(run),
        "still_to_come": still_to_come(run),
        "eta": eta(run),
    }


SECTION = Section("Answer", TEXT, figures={"answer": draw_answer, "differences": draw_differences}, words=_words)
