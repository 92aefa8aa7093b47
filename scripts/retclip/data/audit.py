"""What is in the data, and what about it would spoil a study: counted before GPU hours are spent."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retclip.core.licenses import encoder_licenses
from retclip.data.audit_images import duplicates, quality, sides
from retclip.data.audit_texts import text_problems, token_statistics
from retclip.data.audit_warnings import warnings_of
from retclip.data.samples import text_columns
from retclip.data.shortcuts import shortcuts

if TYPE_CHECKING:
    import pandas as pd


def audit(
    frame: "pd.DataFrame",
    images: "pd.DataFrame",
    fingerprint: dict[str, Any],
    encoders: dict[str, Path],
    context_length: int,
    selection_metric: str,
    image_weights: Path | None = None,
    of_config: Sequence[str] = (),
) -> dict[str, Any]:
    """The content of audit.json, with warnings in plain words.

    frame, images: samples.parquet and pictures.parquet. selection_metric: what chooses on validation. image_weights:
    the file of the image encoder's initial weights, where there is one. of_config: warnings of what it asks of these
    data. Warnings hold no id, path or text of a patient;
    the lists of sample_ids beside the counts do, and stay in audit.json.
    """
    texts = [text for column in text_columns(frame) for text in frame[column] if text]
    document = {
        "splits": {
            split: {key: entry[key] for key in ("patients", "samples", "images", "per_class", "per_class_alone")}
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
        "licenses": encoder_licenses(encoders, image_weights),
        "context_length": context_length,
        "selection_metric": selection_metric,
        "quality": quality(images, fingerprint["image_size"]),
        "near_duplicates": fingerprint["near_duplicates"],
        "duplicates": duplicates(images, frame),
        "sides": sides(images),
        "shortcuts": shortcuts(frame, images, fingerprint["label_level"]),
        "quarantined": fingerprint["quarantined"],
        "reconciliation": fingerprint["reconciliation"],
        "never_scored": int(_never_scored(frame, fingerprint["label_level"]).sum()),
    }
    return {**document, "warnings": [*of_config, *warnings_of(document)]}


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
