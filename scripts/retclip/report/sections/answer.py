"""The first screen: what a reader has to see first, and how far an interim run is."""

from typing import TYPE_CHECKING, Any

import numpy as np

from retclip.metrics.estimates import Estimate
from retclip.report.answer import verdict
from retclip.report.comparisons import difference
from retclip.report.drawing import BLUE, GRAY, HALF, SMALL, subplots, whiskers
from retclip.report.encoder_choices import decision_of
from retclip.report.first_screen import alarm, headline, points, tiles, tuned_name
from retclip.report.formatting import metric_name, signed
from retclip.report.limitations import warnings
from retclip.report.names import final_name
from retclip.report.progress import eta, stages, still_to_come
from retclip.report.run_folder import RunFolder
from retclip.report.score_bars import Row, draw_scores, rows_by_encoder
from retclip.report.section import Section

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TEXT = """
{% if run.interim %}
<p class="kicker">Run {{ run.config.run }}, interim</p>
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
<h1>Run {{ run.config.run }}</h1>
{% endif %}
{% if tiles %}
<p class="lead{% if not learned %} chance{% endif %}">{{ headline }}</p>
{% if learned %}
<p class="tuned">Tuned: {{ tuned_name }} <small>{{ tuned_id }}</small></p>
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
        *([(final_name(controls[0]), controls, GRAY)] if controls else []),
        (final_name(run.baselines()[0]), run.baselines(), GRAY),
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
    search, metric = run.search_encoder, run.test_metric
    tuned, controls = run.tuned(search), run.controls()
    gaps = [(f"gain by tuning: {search}, tuned − baseline", difference(tuned, run.baselines(), metric))]
    recommended = run.recommendation["encoder"] if run.recommendation else None
    if recommended and recommended != search:
        gain = difference(run.tuned(recommended), run.baselines(), metric)
        gaps.append((f"{recommended}, tuned − {search}, baseline", gain))
    if controls:
        gaps.append((f"{search}: tuned − negative control", difference(tuned, controls, metric)))
    if recommended:
        gaps += [
            (f"tuned: {name} − {recommended}", difference(run.tuned(name), run.tuned(recommended), metric))
            for name in run.encoders
            if name != recommended
        ]
    figure, axes = subplots(height=_answer_height(run), width=HALF)
    _differences(axes, gaps[::-1], metric_name(metric))
    return figure


def _answer_height(run: RunFolder) -> float:
    """Inches; the same for both halves of the answer."""
    return 0.42 * (len(run.encoders) + 1 + bool(run.controls())) + 1.5


def _differences(axes: "Axes", gaps: list[tuple[str, Estimate]], metric: str) -> None:
    """Points with intervals, which models they are of above them; whatever crosses zero is not significant."""
    for position, (label, gap) in enumerate(gaps):
        row: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "xytext": (0, 8), "textcoords": "offset points"}
        axes.annotate(label, (0.0, position), fontsize=SMALL, **row)
        axes.annotate(signed(gap.value), (1.0, position), fontsize=SMALL, ha="right", **row)
        if gap.value is None:
            continue
        color = BLUE if gap.excludes_zero else GRAY
        whiskers(axes, position, gap.value, gap.low, gap.high, color=color, linewidth=2)
        axes.scatter(gap.value, position, color=color, s=42, zorder=3)
    axes.vlines([0] * len(gaps), *np.add.outer((-0.2, 0.15), np.arange(len(gaps))), color="black", linewidth=1)
    axes.set_yticks(range(len(gaps)), [])
    axes.set_ylim(-0.4, len(gaps) - 0.3)
    axes.set_xlabel(f"difference in {metric}", loc="right")
    axes.grid(visible=False)


def _words(run: RunFolder) -> dict[str, Any]:
    """Sentences and numbers, once there is a decision; before, how far the run is."""
    decided = run.is_decided
    return {
        "headline": headline(run) if decided else "",
        "tuned_name": tuned_name(run) if decided else "",
        "tuned_id": decision_of(run, run.answer_encoder)["id"] if decided else "",
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
