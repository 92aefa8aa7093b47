"""What is wrong with report sentences: missing, repeated, unfilled, contradicting the labels, unfit for a tokenizer."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 20
UNFILLED = re.compile(r"\[[^\]\n]{0,60}\]|\{[^}\n]{0,40}\}|_{3,}|<[A-Z_ ]{2,40}>")
MARKUP = re.compile(r"</?[a-z][^<>]{0,80}>|&(?:amp|lt|gt|nbsp|quot);", re.IGNORECASE)
# A finding that stands behind one of these in its clause is not claimed.
NOT_CLAIMED = re.compile(
    r"\b(no|not|nor|without|absence|absent|negative|den(?:y|ies)|rule[sd]? out|exclud\w*|risk|prior|previous|history|"
    r"versus|vs|differential|potential\w*|possib\w*|progress\w*|future|avert|prevent|rather than|unlike|than)\b",
    re.IGNORECASE,
)
CLAUSE = re.compile(r"[.;:\n]")
BOTH_EYES = re.compile(r"\b(bilateral\w*|both eyes|both fundi|each eye)\b", re.IGNORECASE)
SIDE = {side: re.compile(rf"\b{side} (eye|fundus|retina|macula)\b", re.IGNORECASE) for side in ("left", "right")}
OTHER = {"left": "right", "right": "left"}


def text_problems(frame: "pd.DataFrame", classes: list[str], from_labels: bool) -> dict[str, Any]:
    """Counts, and the first sample ids, of texts that are missing, duplicate, unfilled, markup or contradictory."""
    texts = frame["text"]
    given = texts.ne("")
    problems = {
        "missing": _found(frame, ~given),
        "duplicate": _found(frame, given & texts.duplicated(keep=False)),
        "unfilled": _found(frame, _any_text(frame, UNFILLED)),
        "markup": _found(frame, _any_text(frame, MARKUP)),
    }
    if not from_labels:
        wrong = [contradiction(row, classes) for row in frame.to_dict("records")]
        problems["contradictory"] = _found(frame, np.array([bool(reason) for reason in wrong], dtype=bool))
        kinds = [reason for reason in wrong if reason]
        problems["contradictory"]["kinds"] = {kind: kinds.count(kind) for kind in sorted(set(kinds))}
    return problems


def contradiction(row: dict[str, Any], classes: list[str]) -> str:
    """finding, side or both eyes: what a sample's texts say that its labels deny; "" where nothing is.

    finding: a class is named, and claimed, that the eye or patient does not have. side: an eye's text speaks of
    the other eye only. both eyes: the patient's text says so, and the eyes have no label in common.
    """
    for eye in ("left", "right"):
        text = row[f"text_{eye}"]
        if text and text != row["text"] and SIDE[OTHER[eye]].search(text) and not SIDE[eye].search(text):
            return "side"
    labels = {side: _labels(row[f"label_{side}"]) for side in ("left", "right")}
    everything = labels["left"] | labels["right"] | _labels(row["label"])
    if labels["left"] and labels["right"] and not labels["left"] & labels["right"] and BOTH_EYES.search(row["text"]):
        return "both eyes"
    units = [(row["text"], everything)]
    units += [(row[f"text_{eye}"], labels[eye]) for eye in labels if row[f"text_{eye}"] != row["text"]]
    if any(own and _claimed(text, own, classes) - own for text, own in units):
        return "finding"
    return ""


def token_statistics(folder: Path, texts: list[str], context_length: int) -> dict[str, Any]:
    """Token counts of the texts under the tokenizer in `folder`, without torch.

    truncated: share of texts longer than context_length. unknown: share of [UNK] or <unk> among the tokens.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    unique, counts = np.unique(np.array(texts, dtype=object).astype(str), return_counts=True)
    encoded = tokenizer.encode_batch(list(unique))
    lengths = np.repeat([len(text.ids) for text in encoded], counts) if texts else np.zeros(1)
    unknown = {tokenizer.token_to_id(name) for name in ("[UNK]", "<unk>")}  # None is no token's id
    unknowns = sum(sum(token in unknown for token in text.ids) * n for text, n in zip(encoded, counts, strict=True))
    quantiles = np.quantile(lengths, [0.05, 0.5, 0.95, 1.0])
    return {
        "vocabulary": tokenizer.get_vocab_size(),
        "length_quantiles": dict(zip(("q05", "median", "q95", "max"), map(float, quantiles), strict=True)),
        "truncated": float((lengths > context_length).mean()),
        "unknown": float(unknowns / max(lengths.sum(), 1)),
    }


def _claimed(text: str, own: set[str], classes: list[str]) -> set[str]:
    """The classes that a text names and does not deny; names inside the sample's own classes do not count."""
    lower = text.lower()
    for label in sorted(own, key=len, reverse=True):
        lower = lower.replace(_plain(label), " ")
    found = set()
    for label in sorted(classes, key=len, reverse=True):
        for match in re.finditer(rf"\b{re.escape(_plain(label))}\b", lower):
            clause = CLAUSE.split(lower[: match.start()])[-1]
            if not NOT_CLAIMED.search(clause):
                found.add(label)
        lower = lower.replace(_plain(label), " ")
    return found


def _plain(label: str) -> str:
    """A class as a sentence names it: "Myopia [Color Fundus]" is myopia."""
    return re.sub(r"\s*\[[^\]]*\]", "", label).lower().strip()


def _labels(joined: str) -> set[str]:
    return {label for label in joined.split("|") if label}


def _any_text(frame: "pd.DataFrame", pattern: re.Pattern[str]) -> "pd.Series":
    columns = ["text", "text_left", "text_right"]
    return frame[columns].apply(lambda column: column.str.contains(pattern)).any(axis=1)


def _found(frame: "pd.DataFrame", mask: Any) -> dict[str, Any]:
    return {"count": int(mask.sum()), "sample_ids": frame.loc[mask, "sample_id"].head(SHOWN).tolist()}
