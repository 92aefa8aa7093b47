"""What is in the data, and what about it would spoil a study: counted before GPU hours are spent."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from retclip.data.audit_images import duplicates, quality, sides
from retclip.data.audit_texts import text_problems, token_statistics
from retclip.data.samples import text_columns
from retclip.data.shortcuts import DANGEROUS, shortcuts

if TYPE_CHECKING:
    import pandas as pd

# Above these shares a person has to be told.
TRUNCATED_LIMIT = 0.1
UNKNOWN_LIMIT = 0.05
IMBALANCE_LIMIT = 20
FEW_PER_CLASS = 5
MOST_GIVEAWAYS = 3  # per feature; all of them are in audit.json


def audit(
    frame: "pd.DataFrame",
    images: "pd.DataFrame",
    fingerprint: dict[str, Any],
    encoders: dict[str, Path],
    context_length: int,
) -> dict[str, Any]:
    """The content of audit.json, with warnings in plain words.

    frame, images: samples.parquet and pictures.parquet. Warnings hold no id, path or text of a patient;
    the lists of sample_ids beside the counts do, and stay in audit.json.
    """
    texts = [text for column in text_columns(frame) for text in frame[column] if text]
    document = {
        "splits": {
            split: {key: entry[key] for key in ("patients", "samples", "images", "per_class")}
            for split, entry in fingerprint["splits"].items()
        },
        "label_level": fingerprint["label_level"],
        "text_level": fingerprint["text_level"],
        "texts_from_labels": fingerprint["texts_from_labels"],
        "patients_known": fingerprint["patients_known"],
        "patients_in_two_splits": int((frame.groupby("patient_id")["split"].nunique() > 1).sum()),
        "eyes": {str(kind): int(count) for kind, count in frame["eyes"].value_counts().items()},
        "unlabeled_samples": int(_unlabeled(frame).sum()),
        "several_labels": int(_several(frame, fingerprint["label_level"]).sum()),
        "texts": text_problems(frame, fingerprint["classes"], fingerprint["texts_from_labels"]),
        "tokens": {name: token_statistics(folder, texts, context_length) for name, folder in encoders.items()},
        "context_length": context_length,
        "quality": quality(images, fingerprint["image_size"]),
        "near_duplicates": fingerprint["near_duplicates"],
        "duplicates": duplicates(images, frame),
        "sides": sides(images),
        "shortcuts": shortcuts(frame, images, fingerprint["label_level"]),
        "quarantined": fingerprint["quarantined"],
        "reconciliation": fingerprint["reconciliation"],
        "never_scored": int(_never_scored(frame, fingerprint["label_level"]).sum()),
    }
    return {**document, "warnings": _warnings(document)}


def _unlabeled(frame: "pd.DataFrame") -> "pd.Series":
    return frame[["label", "label_left", "label_right"]].eq("").all(axis=1)


def _never_scored(frame: "pd.DataFrame", level: str) -> "pd.Series":
    """Where eyes are scored, a sample whose label is the patient's alone."""
    return frame["label"].ne("") & frame[["label_left", "label_right"]].eq("").all(axis=1) & (level == "eye")


def _several(frame: "pd.DataFrame", level: str) -> "pd.Series":
    columns = {"eye": ["label_left", "label_right"], "patient": ["label"], "none": []}[level]
    found = frame["sample_id"].eq("")
    for column in columns:
        found |= frame[column].str.contains("|", regex=False)
    return found


def _warnings(document: dict[str, Any]) -> list[str]:
    return [
        *_patient_warnings(document),
        *_class_warnings(document["splits"]),
        *_text_warnings(document),
        *_image_warnings(document),
        *_shortcut_warnings(document["shortcuts"]),
        *_quarantine_warnings(document),
    ]


def _patient_warnings(document: dict[str, Any]) -> list[str]:
    warnings = []
    if document["patients_in_two_splits"]:
        warnings.append(f"{document['patients_in_two_splits']} patients are in more than one split.")
    if not document["patients_known"]:
        warnings.append(
            "Patients are not known (data.patient_id: none): only photographs of one eye are kept in one split, "
            "so two eyes of a patient may be parted, and scores may be too good."
        )
    return warnings


def _class_warnings(splits: dict[str, Any]) -> list[str]:
    warnings = []
    for split, entry in splits.items():
        missing = [label for label, count in entry["per_class"].items() if count == 0]
        if missing:
            warnings.append(f"The {split} split has no example of {', '.join(missing)}.")
        few = [label for label, count in entry["per_class"].items() if 0 < count < FEW_PER_CLASS]
        if few and split != "train":
            warnings.append(f"The {split} split has fewer than {FEW_PER_CLASS} examples of {', '.join(few)}.")
    counts = [count for count in splits["train"]["per_class"].values() if count]
    if counts and max(counts) > IMBALANCE_LIMIT * min(counts):
        warnings.append(
            f"The largest class has {max(counts) / min(counts):.0f} times the samples of the smallest: "
            "read balanced scores, not plain accuracy."
        )
    return warnings


def _text_warnings(document: dict[str, Any]) -> list[str]:
    warnings = []
    texts = document["texts"]
    if document["texts_from_labels"]:
        warnings.append("All texts were made from labels: retrieval scores say nothing about reports.")
    if texts["missing"]["count"]:
        warnings.append(f"{texts['missing']['count']} samples have neither a text nor a label to make one from.")
    if texts["unfilled"]["count"]:
        warnings.append(f"{texts['unfilled']['count']} samples have a text with an unfilled place, such as [...].")
    if texts["markup"]["count"]:
        warnings.append(f"{texts['markup']['count']} samples have HTML in their text; the model reads it as words.")
    wrong = texts.get("contradictory", {"count": 0})
    if wrong["count"]:
        kinds = ", ".join(f"{count} of {kind}" for kind, count in wrong["kinds"].items())
        warnings.append(f"{wrong['count']} samples have a text that their labels deny ({kinds}).")
    if document["several_labels"]:
        warnings.append(
            f"{document['several_labels']} samples have several labels: they train, and on test they are scored class "
            "by class (macro AUROC), but the choices on validation leave them out."
        )
    if document["unlabeled_samples"]:
        warnings.append(f"{document['unlabeled_samples']} samples have no label: they train but are not scored.")
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


def _image_warnings(document: dict[str, Any]) -> list[str]:
    warnings = []
    for kind, entry in document["quality"].items():
        if entry["count"] and kind != "tiny":
            warnings.append(f"{entry['count']} images are {kind}.")
    copies = document["duplicates"]
    if copies["both_eyes"]["count"]:
        warnings.append(f"{copies['both_eyes']['count']} samples have one photograph as both eyes.")
    near, exact = copies["near"], copies["exact"]
    found = near if near["groups"] >= exact["groups"] else exact
    if found["across_patients"]:
        warnings.append(f"{found['across_patients']} groups of photographs of one eye bear several patient ids.")
    if found["across_splits"]:
        advice = "" if document["near_duplicates"] == "group" else "; data.near_duplicates: group keeps them together"
        warnings.append(f"{found['across_splits']} groups of photographs of one eye are in several splits{advice}.")
    swapped = document["sides"]["swapped"]
    if swapped and swapped["count"]:
        warnings.append(f"{swapped['count']} samples seem to have left and right eye swapped (by the optic disc).")
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


def _quarantine_warnings(document: dict[str, Any]) -> list[str]:
    warnings = []
    for what, entry in document["reconciliation"]["counts"].items():
        if entry["quarantined"]:
            warnings.append(f"{entry['quarantined']} of {entry['in']} {what} are not used; audit.json has the reasons.")
    if document["never_scored"]:
        warnings.append(
            f"{document['never_scored']} labeled samples say no eye: they train, but are never scored, since eyes are."
        )
    return [*warnings, *document["reconciliation"]["notes"]]
