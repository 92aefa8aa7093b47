"""What is in the data, and what about it would spoil a study: counted before GPU hours are spent."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

# Above these shares a person has to be told.
TRUNCATED_LIMIT = 0.1
UNKNOWN_LIMIT = 0.05
IMBALANCE_LIMIT = 20
FEW_PER_CLASS = 5
TEXT_COLUMNS = ("text", "text_left", "text_right")


def audit(
    frame: "pd.DataFrame", fingerprint: dict[str, Any], encoders: dict[str, Path], context_length: int
) -> dict[str, Any]:
    """The content of audit.json: counts, leaks, tokens per encoder, and warnings in plain words."""
    texts = [text for column in TEXT_COLUMNS for text in frame[column] if text]
    document = {
        "splits": {
            split: {key: entry[key] for key in ("patients", "samples", "images", "per_class")}
            for split, entry in fingerprint["splits"].items()
        },
        "label_level": fingerprint["label_level"],
        "text_level": fingerprint["text_level"],
        "texts_from_labels": fingerprint["texts_from_labels"],
        "patients_in_two_splits": int((frame.groupby("patient_id")["split"].nunique() > 1).sum()),
        "eyes": {str(kind): int(count) for kind, count in frame["eyes"].value_counts().items()},
        "unlabelled_samples": int(_unlabelled(frame).sum()),
        "several_labels": int(_several(frame, fingerprint["label_level"]).sum()),
        "missing_texts": int(frame["text"].eq("").sum()),
        "duplicate_texts": int(frame["text"].duplicated().sum()),
        "tokens": {name: token_statistics(folder, texts, context_length) for name, folder in encoders.items()},
        "context_length": context_length,
        "quarantined": fingerprint["quarantined"],
    }
    return {**document, "warnings": _warnings(document)}


def token_statistics(folder: Path, texts: list[str], context_length: int) -> dict[str, Any]:
    """Token counts of the texts under the tokenizer in `folder`, without torch.

    truncated: share of texts longer than context_length. unknown: share of [UNK] among the tokens.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    unique, counts = np.unique(np.array(texts, dtype=object).astype(str), return_counts=True)
    encoded = tokenizer.encode_batch(list(unique))
    lengths = np.repeat([len(text.ids) for text in encoded], counts) if texts else np.zeros(1)
    unknowns = sum(text.tokens.count("[UNK]") * count for text, count in zip(encoded, counts, strict=True))
    quantiles = np.quantile(lengths, [0.05, 0.5, 0.95, 1.0])
    return {
        "vocabulary": tokenizer.get_vocab_size(),
        "length_quantiles": dict(zip(("q05", "median", "q95", "max"), map(float, quantiles), strict=True)),
        "truncated": float((lengths > context_length).mean()),
        "unknown": float(unknowns / max(lengths.sum(), 1)),
    }


def _unlabelled(frame: "pd.DataFrame") -> "pd.Series":
    return frame[["label", "label_left", "label_right"]].eq("").all(axis=1)


def _several(frame: "pd.DataFrame", level: str) -> "pd.Series":
    columns = {"eye": ["label_left", "label_right"], "patient": ["label"], "none": []}[level]
    found = frame["sample_id"].eq("")
    for column in columns:
        found |= frame[column].str.contains("|", regex=False)
    return found


def _warnings(document: dict[str, Any]) -> list[str]:
    warnings = []
    if document["patients_in_two_splits"]:
        warnings.append(f"{document['patients_in_two_splits']} patients are in more than one split.")
    warnings += _class_warnings(document["splits"])
    if document["texts_from_labels"]:
        warnings.append("All texts were made from labels: retrieval scores say nothing about reports.")
    if document["missing_texts"]:
        warnings.append(f"{document['missing_texts']} samples have neither a text nor a label to make one from.")
    if document["several_labels"]:
        warnings.append(f"{document['several_labels']} samples have several labels: they train but are not scored.")
    if document["unlabelled_samples"]:
        warnings.append(f"{document['unlabelled_samples']} samples have no label: they train but are not scored.")
    for name, tokens in document["tokens"].items():
        if tokens["truncated"] > TRUNCATED_LIMIT:
            warnings.append(
                f"{name}: {tokens['truncated']:.0%} of the texts are longer than model.context_length = "
                f"{document['context_length']} tokens and lose their end."
            )
        if tokens["unknown"] > UNKNOWN_LIMIT:
            warnings.append(
                f"{name}: {tokens['unknown']:.0%} of the tokens are unknown to this vocabulary; "
                "is it the right language?"
            )
    if document["quarantined"]:
        warnings.append(f"{len(document['quarantined'])} rows could not be used; their lines are in fingerprint.json.")
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
