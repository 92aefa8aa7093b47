"""What a table holds, for the plan: every row is read and every file looked for, as the build does; no pixel is."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from retclip.data.build import UNITS, Settings, splits_of
from retclip.data.labels import class_counts, classes_of, label_level_of
from retclip.data.reconciliation import Ledger
from retclip.data.refusals import reasons_of, refuse_nothing_left, refuse_useless
from retclip.data.samples import fill_texts, patient_labels, text_columns
from retclip.data.source import Source
from retclip.data.usable import usable_rows

if TYPE_CHECKING:
    import pandas as pd

# Classes that a line has room for, and letters of one.
MOST_CLASSES = 6
LONGEST_CLASS = 24


class Preview(NamedTuple):
    """counts: split -> samples. class_names: in order. single: how many of them some unit has alone.
    train_patients: their ids. lines: ten at most, for a person, and notes."""

    counts: dict[str, int]
    class_names: list[str]
    single: int
    train_patients: frozenset[str]
    lines: list[str]
    notes: list[str]

    @property
    def classes(self) -> int:
        """How many there are."""
        return len(self.class_names)


def preview(
    settings: Mapping[str, Any], table: Path, image_root: Path, test_table: Path | None, class_map: Path | None
) -> Preview:
    """settings: those of build_lmdb, by name (core.data_settings.build_settings).

    Raises ValueError in one sentence where the build would refuse the table, for whatever needs no pixel. Images that
    cannot be read, and near-duplicates, only the build finds.
    """
    fields = {name: settings[name] for name in Source._fields if name in settings}
    source = Source(settings["source"], table, image_root, test_table, class_map=class_map, **fields)
    ours = {name: settings[name] for name in Settings._fields if name in settings}
    build = Settings(**{"report_section": None, "threads": 1, **ours})
    ledger = Ledger()
    frame, problems = usable_rows(source, build.max_bad_fraction, ledger)
    refuse_nothing_left(frame, problems)
    counted = ledger.close(frame)
    texts = text_columns(frame)
    has_text = frame[texts].ne("").any(axis=1)
    frame, from_labels = fill_texts(patient_labels(frame), build.report_section)
    named = frame["split"].ne("").any()
    frame["split"] = splits_of(frame, {}, source, build)
    level = label_level_of(frame)
    units = _units(frame, level)
    parts = {split: frame[frame["split"] == split] for split in build.splits}
    classes = classes_of(units["label"])
    silent = set(frame["split"]) - set(frame.loc[frame["text"].ne(""), "split"])
    facts = {"splits": {split: {"samples": len(part)} for split, part in parts.items()}, "classes": classes,
             "label_level": level}  # fmt: skip
    refuse_useless(facts, silent, named)
    rows, fates = ledger.received["rows"], counted["counts"]["rows"]
    refused = len({(problem["table"], problem["row"]) for problem in problems})
    silent_samples = int((~has_text).sum())
    sides = {side: int(frame["eyes"].isin([side, "both"]).sum()) for side in ("left", "right")}
    unknown = int(frame["eyes"].eq("unknown").sum())
    lines = [
        f"rows      {fates['in']:,}: {fates['used']:,} used, {fates['merged']:,} merged",
        f"patients  {_by_split({split: part['patient_id'].nunique() for split, part in parts.items()})}",
        f"samples   {_by_split({split: len(part) for split, part in parts.items()})}",
        f"images    {sides['left'] + sides['right'] + unknown:,}: {sides['left']} left, {sides['right']} right"
        + (f", {unknown} of unknown side" if unknown else ""),
        *_class_lines(units, level, tuple(parts)),
        "texts     " + ("none: made from the labels" if from_labels else f"{len(frame) - silent_samples:,} samples"),
        f"missing   {_missing(frame, units, level, 0 if from_labels else silent_samples, unknown)}",
        f"refused   {refused:,} of {rows:,} rows" + (f" ({reasons_of(problems)})" if problems else ""),
    ]
    counts = {split: len(part) for split, part in parts.items()}
    single = sum(count > 0 for count in class_counts(units["label"], classes, alone=True).values())
    train_patients = frozenset(parts["train"]["patient_id"]) if "train" in parts else frozenset()
    return Preview(counts, classes, single, train_patients, lines, [*_shared_images(frame), *counted["notes"]])


def _shared_images(frame: "pd.DataFrame") -> list[str]:
    """What is to be said of files that rows of several patients name."""
    import pandas as pd

    columns = ["patient_id", "table", "image", "line"]
    sides = [
        frame[["patient_id", "table", f"source_{side}", f"row_{side}"]].set_axis(columns, axis=1)
        for side in ("left", "right")
    ]
    images = pd.concat(sides).query("image != ''").drop_duplicates(["patient_id", "table", "image"])
    shared = images[images.duplicated(["table", "image"], keep=False)]
    if not len(shared):
        return []
    files = shared.groupby(["table", "image"], sort=False)["line"]
    first = next(iter(files))[1]
    return [
        f"{files.ngroups} image files are named by several patients (the first in lines "
        f"{' and '.join(first[:2])}): one photograph would be in several splits."
    ]


def _units(frame: "pd.DataFrame", level: str) -> "pd.DataFrame":
    """split and label of every eye or patient that is scored, one row each."""
    import pandas as pd

    columns = {"eye": ("label_left", "label_right"), "patient": ("label",), "none": ()}[level]
    assert len(columns) == len(UNITS[level])
    found = [frame[["split", column]].set_axis(["split", "label"], axis=1) for column in columns]
    table = pd.concat(found) if found else pd.DataFrame({"split": [], "label": []}, dtype=str)
    return table[table["label"].ne("")]


def _class_lines(units: "pd.DataFrame", level: str, splits: tuple[str, ...]) -> list[str]:
    """The classes by split: the most frequent ones, and the rarest."""
    if not len(units):
        return ["classes   none: only retrieval can be scored"]
    several = int(units["label"].str.contains("|", regex=False).sum())
    labels = units.assign(label=units["label"].str.split("|")).explode("label")
    table = labels.groupby(["label", "split"]).size().unstack(fill_value=0).reindex(columns=list(splits), fill_value=0)
    table = table.loc[table.sum(axis=1).sort_values(ascending=False, kind="stable").index]
    told = [
        f"{_short(str(label))} {'/'.join(map(str, row))}"
        for label, row in zip(table.index, table.to_numpy(), strict=True)
    ]
    more = ""
    if len(told) > 2 * MOST_CLASSES:
        more = f" and {len(told) - 2 * MOST_CLASSES} more"
        told = [*told[:MOST_CLASSES], *told[-MOST_CLASSES:]]
    head = f"classes   {len(table)} of {'eyes' if level == 'eye' else 'patients'}, {'/'.join(splits)}"
    lines = [head + (f"; {several:,} have several" if several else "") + ":"]
    half = (len(told) + 1) // 2 if len(told) > 4 else len(told)
    lines += [f"          {', '.join(part)}" for part in (told[:half], told[half:]) if part]
    lines[-1] += more
    return lines


def _missing(frame: "pd.DataFrame", units: "pd.DataFrame", level: str, texts: int, unknown: int) -> str:
    """What samples lack, counted."""
    images = int(frame[["source_left", "source_right"]].ne("").to_numpy().sum())
    labels = (images if level == "eye" else len(frame)) - len(units)
    of = "eyes" if level == "eye" else "samples"
    fellow = int(frame["eyes"].isin(["left", "right"]).sum())
    return f"{fellow:,} fellow eyes, {unknown:,} sides, labels of {labels:,} {of}, texts of {texts:,} samples"


def _by_split(counts: Mapping[str, int]) -> str:
    parts = ", ".join(f"{split} {count}" for split, count in counts.items())
    return f"{sum(counts.values()):,}: {parts}"


def _short(label: str) -> str:
    return label if len(label) <= LONGEST_CLASS else f"{label[: LONGEST_CLASS - 1]}…"
