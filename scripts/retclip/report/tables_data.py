"""Tables of what came in: counts, what the audit found, what tokenizers make of the texts."""

from retclip.report import formatting as wording
from retclip.report.cells import Table
from retclip.report.run_folder import RunFolder

FATES = ("in", "used", "merged", "quarantined")
EYES = {
    "both": "both eyes",
    "left": "the left eye alone",
    "right": "the right eye alone",
    "unknown": "a photograph of an unknown eye",
}


def data(run: RunFolder) -> Table:
    """Patients, samples and pictures per split."""
    rows = [
        [split, *(f"{entry[key]:,}" for key in ("patients", "samples", "images"))]
        for split, entry in run.audit["splits"].items()
    ]
    return Table(["split", "patients", "samples", "pictures"], rows)


def reconciliation(run: RunFolder) -> Table:
    """What the tables held, and where it went: rows, images, texts and labels, also of external test sets."""
    sources = {"": run.audit, **(run.external_fingerprints or {})}
    rows = [
        [f"{what} of {place}" if place else what, *(f"{entry[key]:,}" for key in FATES)]
        for place, document in sources.items()
        for what, entry in document["reconciliation"]["counts"].items()
    ]
    return Table(["what", *FATES], rows)


def findings(run: RunFolder) -> Table:
    """What the audit counted: absent eyes and labels, texts, pictures, copies, sides."""
    audit = run.audit
    texts, quality, copies = audit["texts"], audit["quality"], audit["duplicates"]
    swapped = audit["sides"]["swapped"]
    near = "not looked for" if audit["near_duplicates"] == "ignore" else f"{copies['near']['groups']:,} groups"
    rows = [
        *([f"samples with {words}", f"{audit['eyes'].get(eyes, 0):,}"] for eyes, words in EYES.items()),
        ["samples without a label", f"{audit['unlabelled_samples']:,}"],
        ["patients in two splits", f"{audit['patients_in_two_splits']:,}"],
        ["pictures of one eye in several samples", near],
        ["of these in several splits", f"{copies['near']['across_splits']:,}"],
        ["one photograph as both eyes", f"{copies['both_eyes']['count']:,}"],
        ["eyes swapped, by the optic disc", "cannot be told" if swapped is None else f"{swapped['count']:,}"],
        *([f"{kind} pictures", f"{entry['count']:,}"] for kind, entry in quality.items()),
        *([f"{kind} texts", f"{entry['count']:,}"] for kind, entry in texts.items()),
    ]
    return Table(["what", "found"], rows)


def shortcuts(run: RunFolder) -> Table:
    """How well each property that is no retina tells the classes apart."""
    rows = []
    for feature, entry in run.audit["shortcuts"].items():
        worst = max(entry["by_class"], key=lambda label: entry["by_class"][label])
        giveaways = "; ".join(f"{g['column']} = {g['value']}: {g['class']}" for g in entry["giveaways"][:2]) or "none"
        rows.append(
            [feature, wording.score(entry["auroc"]), f"{worst} {wording.score(entry['by_class'][worst])}", giveaways]
        )
    return Table(["property", "AUROC, mean of classes", "easiest class", "values that give a class away"], rows)


def tokens(run: RunFolder) -> Table:
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
