"""What came in: counts, what the audit found, what tokenizers make of the texts."""

from typing import TYPE_CHECKING

import numpy as np

from retclip.report import formatting as wording
from retclip.report.cells import Captioned, Table
from retclip.report.drawing import BLUE, GREEN, ORANGE, nothing, subplots
from retclip.report.run_folder import RunFolder
from retclip.report.section import Section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SPLIT_COLORS = {"train": BLUE, "val": ORANGE, "test": GREEN}
FATES = ("in", "used", "merged", "quarantined")
EYES = {
    "both": "both eyes",
    "left": "the left eye alone",
    "right": "the right eye alone",
    "unknown": "a photograph of an unknown eye",
}
TEXT = """
<p>Splits are by patient: {{ run.audit.patients_in_two_splits }} patients are in more than one of them.
Labels are per {{ run.audit.label_level }}; texts are per {{ run.audit.text_level }}.</p>
{% if "reconciliation" in tables %}
{{ table("reconciliation") }}
{% endif %}
{{ table("splits") }}
{{ figure("class_counts") }}
{{ table("findings") }}
{% if "shortcuts" in tables %}
{{ table("shortcuts") }}
{% endif %}
{{ table("tokens") }}
"""


def draw_class_counts(run: RunFolder) -> "Figure | None":
    """Labeled eyes (or patients) per class and split, largest class first; none before data are read."""
    if run.fingerprint is None:
        return None
    splits = run.audit["splits"]
    classes = sorted(run.fingerprint["classes"], key=lambda name: splits["train"]["per_class"].get(name, 0))
    if not classes:
        return nothing("nothing is labeled")
    figure, axes = subplots(height=0.32 * len(classes) + 1.2)
    left = np.zeros(len(classes))
    for split, color in SPLIT_COLORS.items():
        counts = np.array([splits[split]["per_class"].get(name, 0) for name in classes])
        axes.barh(classes, counts, left=left, color=color, label=split)
        left += counts
    for position, total in enumerate(left):
        axes.annotate(f"{total:,.0f}", (total, position), xytext=(4, 0), textcoords="offset points", va="center")
    axes.set_xlabel({"eye": "labeled eyes", "patient": "labeled patients"}[run.audit["label_level"]])
    axes.grid(axis="y", visible=False)
    axes.legend(title="split", loc="lower right")
    return figure


def splits_table(run: RunFolder) -> Table:
    """Patients, samples and images per split."""
    rows = [
        [split, *(f"{entry[key]:,}" for key in ("patients", "samples", "images"))]
        for split, entry in run.audit["splits"].items()
    ]
    return Table(["split", "patients", "samples", "images"], rows)


def reconciliation_table(run: RunFolder) -> Table:
    """What the tables held, and where it went: rows, images, texts and labels, also of external test sets."""
    sources = {"": run.audit, **(run.external_fingerprints or {})}
    rows = [
        [f"{what} of {place}" if place else what, *(f"{entry[key]:,}" for key in FATES)]
        for place, document in sources.items()
        for what, entry in document["reconciliation"]["counts"].items()
    ]
    return Table(["what", *FATES], rows)


def findings_table(run: RunFolder) -> Table:
    """What the audit counted: absent eyes and labels, texts, images, copies, sides."""
    audit = run.audit
    texts, quality, copies = audit["texts"], audit["quality"], audit["duplicates"]
    swapped = audit["sides"]["swapped"]
    near = "not looked for" if audit["near_duplicates"] == "ignore" else f"{copies['near']['groups']:,} groups"
    rows = [
        *([f"samples with {words}", f"{audit['eyes'].get(eyes, 0):,}"] for eyes, words in EYES.items()),
        ["samples without a label", f"{audit['unlabeled_samples']:,}"],
        ["patients in two splits", f"{audit['patients_in_two_splits']:,}"],
        ["images of one eye in several samples", near],
        ["of these in several splits", f"{copies['near']['across_splits']:,}"],
        ["one photograph as both eyes", f"{copies['both_eyes']['count']:,}"],
        ["eyes swapped, by the optic disc", "cannot be told" if swapped is None else f"{swapped['count']:,}"],
        *([f"{kind} images", f"{entry['count']:,}"] for kind, entry in quality.items()),
        *([f"{kind} texts", f"{entry['count']:,}"] for kind, entry in texts.items()),
    ]
    return Table(["what", "found"], rows)


def shortcuts_table(run: RunFolder) -> Table:
    """How well each property that is no retina tells the classes apart."""
    rows = []
    for feature, entry in run.audit["shortcuts"].items():
        worst = max(entry["by_class"], key=lambda label: entry["by_class"][label])
        giveaways = "; ".join(f"{g['column']} = {g['value']}: {g['class']}" for g in entry["giveaways"][:2]) or "none"
        rows.append(
            [feature, wording.score(entry["auroc"]), f"{worst} {wording.score(entry['by_class'][worst])}", giveaways]
        )
    return Table(["property", "AUROC, mean of classes", "easiest class", "values that give a class away"], rows)


def tokens_table(run: RunFolder) -> Table:
    """What each tokenizer makes of the reports."""
    rows = [
        [
            name,
            f"{entry['vocabulary']:,}",
            f"{entry['length_quantiles']['median']:.0f}",
            f"{entry['length_quantiles']['q95']:.0f}",
            wording.percent(entry["truncated"]),
            wording.percent(entry["unknown"]),
        ]
        for name, entry in run.audit["tokens"].items()
    ]
    heads = [
        "text encoder",
        "vocabulary",
        "median tokens",
        "95 % of texts below",
        "texts cut",
        "unknown tokens",
    ]
    return Table(heads, rows)


def _tables(run: RunFolder) -> dict[str, Captioned]:
    found = {
        "splits": Captioned("Patients, samples and images by split", splits_table(run)),
        "findings": Captioned("What the audit looked for, and how often it found it", findings_table(run)),
        "tokens": Captioned(
            f"What each tokenizer makes of the texts, at a context of {run.audit['context_length']} tokens",
            tokens_table(run),
        ),
    }
    if "reconciliation" in run.audit:  # an interim report may find the audit of an earlier version
        found["reconciliation"] = Captioned(
            "What the tables held, and where it went: merged is what another row, image or text stands for, "
            "quarantined what could not be used (audit.json has the reasons)",
            reconciliation_table(run),
        )
    if run.audit["shortcuts"]:
        found["shortcuts"] = Captioned(
            "How well the class can be told without a retina: AUROC by cross-validation, .5 is chance",
            shortcuts_table(run),
        )
    return found


SECTION = Section(
    "Data and audit",
    TEXT,
    is_ready=lambda run: run.audit is not None,
    figures={"class_counts": draw_class_counts},
    tables=_tables,
)
