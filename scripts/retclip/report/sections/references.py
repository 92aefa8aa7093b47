"""What the tuned models are measured against: rows that read no report, on one axis with them."""

from typing import TYPE_CHECKING, Any, NamedTuple

from retclip.metrics.estimates import Estimate
from retclip.metrics.evaluation_document import Evaluation
from retclip.report import formatting as wording
from retclip.report.cells import Captioned, Table, estimate_in, with_interval
from retclip.report.comparisons import score
from retclip.report.drawing import BLUE, GRAY, GREEN, ORANGE, ROW, level_line, subplots
from retclip.report.names import final_name
from retclip.report.run_folder import RunFolder
from retclip.report.score_bars import draw_dots
from retclip.report.section import Section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

READER, PERSON = "second reader", "a person"
COLORS = {"reports": BLUE, "shuffled reports": GRAY, "nothing": GRAY, "labels": GREEN, PERSON: ORANGE}
TEXT = """
<p>{% if run.fingerprint and run.fingerprint.texts_from_labels %}
The texts were made from the labels, so that a tuned model reads them, too.
{% else %}
A tuned model reads no label.
{% endif %}
It is worth its training where it beats what needs no report: colors alone, or age and
sex alone, with a logistic regression on the labels of train. A probe shows what the labels would give with the same
image encoder.</p>
{% if ceiling %}
<p>{{ ceiling }}</p>
{% endif %}
{{ figure("references") }}
{{ table("references") }}
{% for sentence in omitted %}
<p class="note">Not measured: {{ sentence }}.</p>
{% endfor %}
"""


class Measured(NamedTuple):
    """A row of the figure. source: what it has learned from. train, test: units."""

    name: str
    estimate: Estimate
    source: str
    train: int | None
    test: int


def draw_references(run: RunFolder) -> "Figure":
    """Every score on test with its 95 % CI beside chance; what a second reader reaches is a line."""
    rows = _rows(run)
    figure, axes = subplots(height=ROW * len(rows) + 1.4)
    dots = [(row.name, row.estimate, COLORS[row.source]) for row in rows]
    draw_dots(axes, dots, f"{wording.metric_name(run.test_metric)} on test")
    for row in rows:
        if row.name == READER:
            level_line(axes, row.estimate.value, READER, vertical=True)
    level_line(axes, run.chance(run.test_metric), vertical=True)
    for source in dict.fromkeys(row.source for row in rows):
        learned = source if source == PERSON else f"learned from {source}"
        axes.scatter([], [], color=COLORS[source], s=38, label=learned)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", ncols=2)
    return figure


def references_table(run: RunFolder) -> Table:
    """The same numbers, with how many labeled units each was fitted on and scored on."""
    rows = [
        [
            row.name,
            with_interval(row.estimate),
            row.source,
            wording.NOTHING if row.train is None else f"{row.train:,}",
            f"{row.test:,}",
        ]
        for row in _rows(run)
    ]
    metric = wording.metric_name(run.test_metric)
    return Table(["model", f"{metric} on test", "learned from", "labels of train", "scored on test"], rows)


def _rows(run: RunFolder) -> list[Measured]:
    """Those that have a score: final models, initial weights, probes, and the reference models, the best of them
    first."""
    metric = run.test_metric
    found = []
    named = {"tuned": "reports", "baseline": "reports", "control": "shuffled reports"}
    for finals in (*(run.tuned(encoder) for encoder in run.encoders), run.baselines(), run.controls()):
        for one in finals[:1]:
            row = (final_name(one), score(finals, metric), named[one.kind], None, one.evaluation.counts.scored)
            found.append(Measured(*row))
    if run.initial is not None:
        reached = estimate_in(run.initial.zero_shot.get(metric))
        scored = run.initial.counts.scored
        found.append(Measured(f"initial weights, {run.search_encoder}", reached, "nothing", None, scored))
        found += _probe("probe of the initial image encoder", run.initial, metric)
    answer = run.tuned(run.answer_encoder)[0]
    found += _probe(f"probe of the tuned image encoder, {answer.encoder}", answer.evaluation, metric)
    models = [
        Measured(
            one.name,
            estimate_in(one.scores.get(metric)),
            PERSON if one.name == READER else "labels",
            one.train_units,
            one.test_units,
        )
        for one in (run.references.models if run.references else ())
    ]
    # a person is no model, and stands last
    found += sorted(models, key=lambda row: (row.name == READER, -(row.estimate.value or 0.0)))
    return [row for row in found if row.estimate.value is not None]


def _probe(name: str, evaluation: Evaluation, metric: str) -> list[Measured]:
    if evaluation.probe is None:
        return []
    reached = estimate_in(evaluation.linear_probe.get(metric))
    return [Measured(name, reached, "labels", evaluation.probe.train_units, evaluation.counts.scored)]


def _words(run: RunFolder) -> dict[str, Any]:
    reader = next((row for row in _rows(run) if row.name == READER), None)
    ceiling = ""
    if reader is not None:
        ci = wording.interval(reader.estimate.low, reader.estimate.high)
        ceiling = (
            f"The second reader agrees with the labels at {wording.score(reader.estimate.value)}"
            f"{f' (95 % CI {ci})' if ci else ''}: no model can be asked for more."
        )
    omitted = run.references.omitted if run.references else ()
    return {"ceiling": ceiling, "omitted": [f"{one.name}: {one.reason}" for one in omitted]}


def _tables(run: RunFolder) -> dict[str, Captioned]:
    caption = f"What the tuned models are measured against, with 95 % CIs over patients{run.shown_seed}"
    return {"references": Captioned(caption, references_table(run))}


SECTION = Section(
    "Measured against",
    TEXT,
    is_ready=lambda run: run.is_decided and run.references is not None,
    figures={"references": draw_references},
    tables=_tables,
    words=_words,
)
