"""External validation: the tuned configuration on data sets on which nothing was trained or chosen."""

from typing import Any

from retclip.metrics.registry import METRICS, ZERO_SHOT
from retclip.report import formatting as wording
from retclip.report.cells import Captioned, Table, estimated
from retclip.report.limitations import external_limitations
from retclip.report.run_folder import RunFolder
from retclip.report.section import Section

# Those that a table can hold; results.json has them all.
SHOWN = [name for name, declared in METRICS.items() if declared.in_brief]
TEXT = """
{{ table("external") }}
<ul>
{% for sentence in external_limitations %}
<li>{{ sentence }}</li>
{% endfor %}
</ul>
"""


def external_table(run: RunFolder) -> Table:
    """Per external data set and tuned model: its size, and the scores that it can give, each beside chance there."""
    documents = [one.evaluation for one in run.external]
    chances = [one.levels.chance for one in documents]
    views = [
        (
            wording.metric_name(metric),
            [(one.zero_shot if metric in ZERO_SHOT else one.retrieval).get(metric) for one in documents],
            [one.get(metric) for one in chances],
        )
        for metric in SHOWN
    ]
    views += [
        (
            "macro AUROC, all labels",
            [one.multi_label.macro_auroc if one.multi_label else None for one in documents],
            [0.5] * len(documents),
        ),
        ("quadratic kappa over ordered classes", [one.quadratic_kappa for one in documents], [0.0] * len(documents)),
    ]
    views = [view for view in views if any(value and value["value"] is not None for value in view[1])]
    heads = ["external data set", "model", "samples", "patients", "of them in train or val", "scored"]
    rows = []
    for position, one in enumerate(run.external):
        counts = one.evaluation.counts
        overlap = one.evaluation.overlap
        shared = f"{overlap.left_out.patients:,}" if overlap else wording.NOTHING
        row = [one.name, one.model.id, f"{counts.samples:,}", f"{counts.patients:,}"]
        row += [shared, f"{counts.scored:,}"]
        for _, values, levels in views:
            value = values[position]
            row += [estimated(value), wording.score(levels[position]) if value else wording.NOTHING]
        rows.append(row)
    return Table([*heads, *(head for name, *_ in views for head in (name, f"{name} by chance"))], rows)


def _tables(run: RunFolder) -> dict[str, Captioned]:
    caption = "The tuned configuration on external data sets, with 95 % CIs over their patients"
    return {"external": Captioned(caption, external_table(run))}


def _words(run: RunFolder) -> dict[str, Any]:
    return {"external_limitations": external_limitations(run)}


SECTION = Section(
    "External validation",
    TEXT,
    is_ready=lambda run: run.is_decided and bool(run.external),
    tables=_tables,
    words=_words,
)
