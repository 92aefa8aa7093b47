"""Metrics that a study cannot be chosen by, since its labels cannot give them: said before anything trains."""

from typing import Any

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
