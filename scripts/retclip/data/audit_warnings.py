"""What a person must be told of an audit, in plain words, the worst first."""

from typing import Any

from retclip.data.shortcuts import DANGEROUS

# Above these shares a person has to be told.
TRUNCATED_LIMIT = 0.1
UNKNOWN_LIMIT = 0.05
IMBALANCE_LIMIT = 20
FEW_PER_CLASS = 5
MOST_GIVEAWAYS = 3  # per feature; all of them are in audit.json
MOST_LINES = 10  # of a terminal


def warnings_of(document: dict[str, Any]) -> list[str]:
    """One sentence each: what makes scores worthless (leaks, shortcuts, wrong data), what is missing, what to know.

    document: audit.json without its warnings. No sentence holds an id, path or text of a patient.
    """
    return [
        *_leak_warnings(document),
        *_shortcut_warnings(document["shortcuts"]),
        *_wrong_warnings(document),
        *_class_warnings(document["splits"], document["selection_metric"]),
        *_lost_warnings(document),
        *_token_warnings(document),
        *_use_warnings(document),
        *document["reconciliation"]["notes"],
    ]


def terminal_lines(warnings: list[str], path: str) -> list[str]:
    """At most MOST_LINES lines: the first warnings, and where the others are (`path` of audit.json)."""
    shown = len(warnings) if len(warnings) <= MOST_LINES else MOST_LINES - 1
    lines = [f"warning: {warning}" for warning in warnings[:shown]]
    if shown < len(warnings):
        lines.append(f"{len(warnings) - shown} more warnings are in {path} and in the report.")
    return lines


def _leak_warnings(document: dict[str, Any]) -> list[str]:
    warnings = []
    if document["patients_in_two_splits"]:
        warnings.append(f"{document['patients_in_two_splits']} patients are in more than one split.")
    copies = document["duplicates"]
    near, exact = copies["near"], copies["exact"]
    found = near if near["groups"] >= exact["groups"] else exact
    if found["across_splits"]:
        advice = "" if document["near_duplicates"] == "group" else "; data.near_duplicates: group keeps them together"
        warnings.append(f"{found['across_splits']} groups of photographs of one eye are in several splits{advice}.")
    if found["across_patients"]:
        warnings.append(f"{found['across_patients']} groups of photographs of one eye bear several patient ids.")
    if not document["patients_known"]:
        warnings.append(
            "Patients are not known (data.patient_id: none): only photographs of one eye are kept in one split, "
            "so two eyes of a patient may be parted, and scores may be too good."
        )
    return warnings


def _shortcut_warnings(found: dict[str, Any]) -> list[str]:
    warnings = []
    for feature, entry in found.items():
        easy = {label: score for label, score in entry["by_class"].items() if score >= DANGEROUS}
        if easy:
            shown = ", ".join(
                f"{label} ({score:.2f})" for label, score in sorted(easy.items(), key=lambda e: -e[1])[:3]
            )
            warnings.append(f"The {feature} alone tells {shown} from the other classes: AUROC without a retina.")
        for value in entry["giveaways"][:MOST_GIVEAWAYS]:
            warnings.append(
                f"{value['column']} = {value['value']} is {value['share']:.0%} {value['class']} "
                f"({value['count']} examples): the value gives the class away."
            )
    return warnings


def _wrong_warnings(document: dict[str, Any]) -> list[str]:
    """What is said or shown of another eye, or of none."""
    warnings = []
    swapped = document["sides"]["swapped"]
    if swapped and swapped["count"]:
        warnings.append(f"{swapped['count']} samples seem to have left and right eye swapped (by the optic disc).")
    texts = document["texts"]
    wrong = texts.get("contradictory", {"count": 0})
    if wrong["count"]:
        kinds = ", ".join(f"{count} of {kind}" for kind, count in wrong["kinds"].items())
        warnings.append(f"{wrong['count']} samples have a text that their labels deny ({kinds}).")
    if document["duplicates"]["both_eyes"]["count"]:
        warnings.append(f"{document['duplicates']['both_eyes']['count']} samples have one photograph as both eyes.")
    for kind, entry in document["quality"].items():
        if entry["count"] and kind != "tiny":
            warnings.append(f"{entry['count']} images are {kind}.")
    if texts["unfilled"]["count"]:
        warnings.append(f"{texts['unfilled']['count']} samples have a text with an unfilled place, such as [...].")
    if texts["markup"]["count"]:
        warnings.append(f"{texts['markup']['count']} samples have HTML in their text; the model reads it as words.")
    return warnings


def _class_warnings(splits: dict[str, Any], metric: str) -> list[str]:
    """Of classes that are rare, or that the metric of the choices does not score."""
    warnings = []
    needs_one_label = metric.startswith("zero_shot")
    alone = {label for entry in splits.values() for label, count in entry["per_class_alone"].items() if count}
    beside = [label for label in splits["train"]["per_class"] if label not in alone]
    if beside and needs_one_label:
        warnings.append(
            f"{', '.join(beside)} only {'stand' if len(beside) > 1 else 'stands'} beside other labels: {metric} never "
            f"scores {'them' if len(beside) > 1 else 'it'}; multi_label_macro_auroc does."
        )
    for split, entry in splits.items():
        # what the choices score: where units have several labels, those of one alone, or all
        scored = entry["per_class_alone" if needs_one_label and split == "val" else "per_class"]
        missing = [label for label, count in entry["per_class"].items() if count == 0]
        if missing:
            warnings.append(f"The {split} split has no example of {', '.join(missing)}.")
        unscored = [label for label, count in scored.items() if not count and label not in (*missing, *beside)]
        if unscored:
            warnings.append(f"The {split} split has {', '.join(unscored)} only beside other labels: not in {metric}.")
        few = [label for label, count in scored.items() if 0 < count < FEW_PER_CLASS]
        if few and split != "train":
            warnings.append(f"The {split} split has fewer than {FEW_PER_CLASS} examples of {', '.join(few)}.")
    counts = [count for count in splits["train"]["per_class"].values() if count]
    if counts and max(counts) > IMBALANCE_LIMIT * min(counts):
        warnings.append(
            f"The largest class has {max(counts) / min(counts):.0f} times the samples of the smallest: "
            "read balanced scores, not plain accuracy."
        )
    return warnings


def _lost_warnings(document: dict[str, Any]) -> list[str]:
    """What is there and is not used, or not scored."""
    warnings = []
    for what, entry in document["reconciliation"]["counts"].items():
        if entry["quarantined"]:
            warnings.append(f"{entry['quarantined']} of {entry['in']} {what} are not used; audit.json has the reasons.")
    if document["never_scored"]:
        warnings.append(
            f"{document['never_scored']} labeled samples say no eye: they train, but no zero-shot score counts them, "
            "since eyes are scored."
        )
    if document["texts"]["missing"]["count"]:
        missing = document["texts"]["missing"]["count"]
        warnings.append(f"{missing} samples have neither a text nor a label to make one from.")
    return warnings


def _token_warnings(document: dict[str, Any]) -> list[str]:
    warnings = []
    for name, tokens in document["tokens"].items():
        if tokens["truncated"] > TRUNCATED_LIMIT:
            warnings.append(
                f"{name}: {tokens['truncated']:.0%} of the texts are longer than model.context_length = "
                f"{document['context_length']} tokens and lose a part (model.truncation_side)."
            )
        if tokens["unknown"] > UNKNOWN_LIMIT:
            warnings.append(
                f"{name}: {tokens['unknown']:.0%} of the tokens are unknown to this vocabulary; "
                "is it the right language?"
            )
    return warnings


def _use_warnings(document: dict[str, Any]) -> list[str]:
    """What the labels and texts that there are cannot show."""
    warnings = []
    if document["texts_from_labels"]:
        warnings.append("All texts were made from labels: retrieval scores say nothing about reports.")
    if document["several_labels"] and document["selection_metric"].startswith("zero_shot"):
        warnings.append(
            f"{document['several_labels']} samples have several labels: they train, and on test they are scored class "
            f"by class (macro AUROC), but the choices on validation leave them out, since "
            f"{document['selection_metric']} knows one label; multi_label_macro_auroc counts them."
        )
    if document["unlabeled_samples"]:
        unlabeled = document["unlabeled_samples"]
        warnings.append(f"{unlabeled} samples have no label: they train, and retrieval alone scores them.")
    return warnings
