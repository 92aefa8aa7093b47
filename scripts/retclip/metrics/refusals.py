"""Metrics that the data's labels cannot give: said before anything trains."""

from typing import Any

from retclip.core.plain_text import first_of
from retclip.core.spelling import in_words_of
from retclip.metrics.registry import RETRIEVAL


def refuse_meaningless(metric: str, labels: int, single: int | None = None) -> None:
    """Raises ValueError where the metric needs labels that the data does not have. labels: different ones. single: how
    many of them some unit has alone; None where that is not known."""
    if metric.startswith("zero_shot") and labels > 1 and single is not None and single < 2:
        why = "units of one label are all of one class" if single else "every unit has several labels"
        raise ValueError(
            f"config: selection.metric is {metric}, which needs units of one label, but {why}; "
            "choose multi_label_macro_auroc."
        )
    if metric not in RETRIEVAL and labels == 0:
        raise ValueError(
            f"config: selection.metric is {metric}, but the data has no labels; choose a retrieval metric, "
            "such as image_to_text_recall_at_10, or add labels."
        )
    if labels == 1:
        raise ValueError("config: the data has one class, so there is nothing to tell apart; leave its labels out.")


def refuse_unscorable(metric: str, fingerprint: dict[str, Any]) -> None:
    """Raises ValueError as refuse_meaningless does, of data that are built. fingerprint: fingerprint.json."""
    alone = [entry.get("per_class_alone") for entry in fingerprint["splits"].values()]
    single = len({name for entry in alone for name, count in entry.items() if count}) if all(alone) else None
    refuse_meaningless(metric, len(fingerprint["classes"]), single)


def note_on_order(ordered: list[str], classes: list[str]) -> str:
    """What is to be said of evaluation.ordered_classes: names that the data does not have; "" where it has them all.

    Raises ValueError where it has fewer than two of them, or where one stands there twice, in whatever spelling."""
    spellings: dict[str, list[str]] = {}
    for name, theirs in zip(ordered, map(in_words_of(classes), ordered), strict=True):
        spellings.setdefault(theirs, []).append(name)
    for name, same in spellings.items():
        if len(same) > 1:
            raise ValueError(f"config: evaluation.ordered_classes names the class {name} twice ({', '.join(same)}).")
    unknown = [name for name in spellings if name not in classes]
    if not unknown:
        return ""
    note = (
        f"evaluation.ordered_classes: the data has no class {first_of(unknown)}; "
        f"its classes are {first_of(classes) or 'none'}"
    )
    if len(ordered) - len(unknown) < 2:
        raise ValueError(f"config: {note}: without two of them there is no quadratic kappa.")
    return f"{note}."
