"""What every source ends in: one row a sample, its pictures found, its texts filled in."""

import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "sample_id",
    "patient_id",
    "split",
    "label",
    "label_left",
    "label_right",
    "text",
    "text_left",
    "text_right",
    "eyes",
    "source_left",
    "source_right",
)
# What may be known of a patient or a photograph beside it: for subgroups and shortcuts, never seen by a training.
EXTRAS = ("age", "sex", "site", "camera")
LINES = ("row_left", "row_right")
KNOWN = frozenset((*COLUMNS, *EXTRAS, *LINES))
EYES = {"left": "left", "l": "left", "os": "left", "right": "right", "r": "right", "od": "right"}
SPLITS = ("train", "val", "test")
EYE_TEXT = "A fundus photograph of the {eye} eye showing {label}."
PATIENT_TEXT = "Fundus photographs showing {label}."
# A picture inside a file of many begins so; see pictures.open_picture.
CONTAINERS = ("tsv://", "lmdb://")
# What tables of pandas' and of spreadsheets write for a missing text.
MISSING = {"nan", "none", "null", "n/a", "na"}
LONGEST_ID = 400

Problems = list[dict[str, Any]]


class Row(NamedTuple):
    """A line of a source's table in our words.

    pictures: eye (left, right or unknown) -> location below the image root. values: any of the columns split,
    label*, text*, age, sex, site, camera. sample_id: "" where the patient is the sample.
    """

    line: int
    patient_id: str
    sample_id: str
    pictures: dict[str, str]
    values: dict[str, str]


def collect(
    rows: Iterable[Row], image_root: str | os.PathLike[str], eye_images: str, problems: Problems
) -> "pd.DataFrame":
    """One row a sample with COLUMNS, EXTRAS, LINES and every further text column, all strings.

    Rows of one sample_id (or of one patient, where there is none) become one sample. Where an eye has several
    pictures, eye_images says: all (each further one begins a sample NAME#2 of the same patient), best (the
    same here; the build keeps the sharpest) or first. What cannot be used goes to problems as {"row": line,
    "reason": sentence}; a row with one good picture keeps it.
    """
    root = os.path.realpath(image_root)
    samples: dict[str, dict[str, str]] = {}
    for row in rows:
        try:
            _add(samples, row, root, eye_images, problems)
        except ValueError as error:
            problems.append({"row": row.line, "reason": str(error)})
    return _frame(list(samples.values()))


def fill_texts(frame: "pd.DataFrame", report_section: str | None) -> tuple["pd.DataFrame", bool]:
    """The frame with a text for every sample, and whether all of them were made from labels.

    Where only the eyes have texts, the patient's is both; where nobody has, a template names the label.
    report_section: the heading whose paragraph stands for the whole report, where a report has it.
    """
    frame = frame.copy()
    texts = text_columns(frame)
    for column in texts:
        frame[column] = frame[column].where(~frame[column].str.lower().isin(MISSING), "")
        if report_section:
            frame[column] = [section(text, report_section) for text in frame[column]]
    own = frame[texts].ne("").to_numpy().any()
    for eye in ("left", "right"):
        column, label = f"text_{eye}", f"label_{eye}"
        missing = frame[column].eq("") & frame[label].ne("") & frame["text"].eq("")
        names = frame.loc[missing, label].str.replace("|", " and ")
        frame.loc[missing, column] = [EYE_TEXT.format(eye=eye, label=name) for name in names]
    empty = frame["text"].eq("")
    if empty.any():
        eyes = frame.loc[empty, "text_left"] + " " + frame.loc[empty, "text_right"]
        labels = frame.loc[empty, "label"].str.replace("|", " and ")
        from_labels = [PATIENT_TEXT.format(label=label) if label else "" for label in labels]
        frame.loc[empty, "text"] = eyes.str.strip().where(eyes.str.strip().ne(""), from_labels)
    # an eye without words of its own is described by the patient's
    for eye in ("left", "right"):
        frame[f"text_{eye}"] = frame[f"text_{eye}"].where(frame[f"text_{eye}"].ne(""), frame["text"])
    return frame, not own


def section(report: str, heading: str) -> str:
    """What stands under `heading:` in a report, up to the next heading; the whole report where it has none."""
    begin = re.search(rf"(?im)(?:^|(?<=[.\n ]))\s*{re.escape(heading)}\s*:\s*", report)
    if begin is None:
        return report
    rest = report[begin.end() :]
    following = re.search(r"(?m)^\s*[A-Z][\w /-]{2,40}:|(?<=\. )[A-Z][A-Z /-]{2,40}:", rest)
    found = rest[: following.start()] if following else rest
    return found.strip() or report


def text_columns(frame: "pd.DataFrame") -> list[str]:
    """text, text_left, text_right and those of further languages (text_de, text_left_de)."""
    return [name for name in frame.columns if name == "text" or name.startswith("text_")]


def _add(samples: dict[str, dict[str, str]], row: Row, root: str, eye_images: str, problems: Problems) -> None:
    """Adds a row to its sample. Raises ValueError with the reason where nothing of it can be used."""
    if not row.patient_id:
        raise ValueError("patient_id is empty")
    split = row.values.get("split", "")
    if split and split not in SPLITS:
        raise ValueError(f"split is {split[:40]!r}; it must be train, val or test")
    name = row.sample_id or row.patient_id
    if "\0" in name or len(name) > LONGEST_ID:
        raise ValueError(f"sample_id has a null character or more than {LONGEST_ID} letters")
    pictures = _found(row, root, problems)
    known = samples.get(name)
    if known is not None and known["patient_id"] != row.patient_id:
        raise ValueError("this sample_id was used before for another patient")
    if known is not None and known["split"] != split:
        raise ValueError(f"split is {split!r}, but an earlier row of the same sample says {known['split']!r}")
    place, copy = name, 1
    while place in samples and set(pictures) & set(samples[place]["eyes"].split()):
        earlier = samples[place]
        if any(location == earlier.get(f"source_{_side(eye)}") for eye, location in pictures.items()):
            raise ValueError(f"duplicate: this sample already has this {' and '.join(sorted(pictures))} picture")
        if eye_images == "first":
            return
        copy += 1
        place = f"{name}#{copy}"
    # only what there is: a hundred thousand samples with every column would be a gigabyte
    fresh = {"sample_id": place, "patient_id": row.patient_id, "split": split, "eyes": ""}
    sample = samples.setdefault(place, fresh)
    for eye, location in pictures.items():
        sample[f"source_{_side(eye)}"], sample[f"row_{_side(eye)}"] = location, str(row.line)
        sample["eyes"] = f"{sample['eyes']} {eye}".strip()
    sample.update({column: value for column, value in row.values.items() if value or column not in KNOWN})


def _found(row: Row, root: str, problems: Problems) -> dict[str, str]:
    """The row's pictures that are there; the others go to problems. Raises ValueError where none is."""
    found = {}
    reasons = []
    for eye, location in row.pictures.items():
        try:
            _check_inside(root, location)
            found[eye] = location
        except ValueError as error:
            reasons.append(str(error))
    if not found:
        raise ValueError(reasons[0])
    problems += [{"row": row.line, "reason": reason} for reason in reasons]
    return found


def _check_inside(root: str, location: str) -> None:
    """Raises ValueError where a path leads out of the root or to no file. No path is named: it may hold a name."""
    if location.startswith(CONTAINERS):
        return  # the reader of the container made it
    if "\0" in location:
        raise ValueError("the image path has a null character")
    path = os.path.realpath(os.path.join(root, location))  # a loop of links ends in a path that is no file
    if not path.startswith(root.rstrip(os.sep) + os.sep):
        raise ValueError("the image path leads out of the image root")
    if os.path.isdir(path):
        raise ValueError("the image path is a folder")
    if not os.path.isfile(path):
        raise ValueError("the image file does not exist")


def _side(eye: str) -> str:
    return "right" if eye == "right" else "left"  # a picture of unknown side is kept as left


def _frame(samples: list[dict[str, str]]) -> "pd.DataFrame":
    import pandas as pd

    further = dict.fromkeys(name for sample in samples for name in sample if name not in KNOWN)
    columns = [*COLUMNS, *EXTRAS, *LINES, *further]
    frame = pd.DataFrame({name: [sample.get(name, "") for sample in samples] for name in columns}, dtype=str)
    eyes = frame["eyes"].map(lambda text: set(text.split()))
    frame["eyes"] = ["both" if {"left", "right"} <= seen else next(iter(sorted(seen)), "unknown") for seen in eyes]
    if frame["label"].eq("").all() and len(frame):
        # a patient's labels are those of its eyes, so that patient-level tables and strata have them too
        frame["label"] = [
            "|".join(dict.fromkeys(label for label in pair if label))
            for pair in zip(frame["label_left"], frame["label_right"], strict=True)
        ]
    return frame
