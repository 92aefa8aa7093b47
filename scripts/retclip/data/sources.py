"""Readers of the tables that people have; each returns the same frame, and the rows that cannot be used."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from retclip.core.files import csv_separator

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
EYES = {"left": "left", "l": "left", "os": "left", "right": "right", "r": "right", "od": "right"}
SPLITS = ("train", "val", "test")
EYE_TEXT = "A fundus photograph of the {eye} eye showing {label}."
PATIENT_TEXT = "Fundus photographs showing {label}."

Problems = list[dict[str, Any]]


def read_source(kind: str, manifest: str | Path, image_root: str | Path) -> tuple["pd.DataFrame", Problems]:
    """The samples of a source, one row a sample with COLUMNS as strings, and rows that cannot be used.

    split is "" where the table does not say. source_left and source_right are paths below image_root, and
    row_left and row_right the lines in the table that they come from. A problem is {"row": line, "reason":
    sentence}; lines count from 1, the header's.
    """
    return READERS[kind](Path(manifest), Path(image_root))


def read_manifest(path: Path, image_root: Path) -> tuple["pd.DataFrame", Problems]:
    """A CSV with one row per patient (image_left, image_right) or per eye (image, eye).

    Raises ValueError naming a column that is missing. Rows of one eye each that share a sample_id (or a
    patient_id, where there is no sample_id) become one sample.
    """
    table = _read_table(path)
    problems: Problems = []
    samples: dict[str, dict[str, str]] = {}
    by_eye = "image" in table.columns
    for row in table.to_dict("records"):
        try:
            _add_row(samples, row, image_root, by_eye)
        except ValueError as error:
            problems.append({"row": int(row["__line__"]), "reason": str(error)})
    return _frame(list(samples.values())), problems


READERS = {"manifest": read_manifest, "demo": read_manifest}


def fill_texts(frame: "pd.DataFrame") -> tuple["pd.DataFrame", bool]:
    """The frame with a text for every sample, and whether all of them were made from labels.

    Where only the eyes have texts, the patient's is both; where nobody has, a template names the label.
    """
    frame = frame.copy()
    own = frame[["text", "text_left", "text_right"]].ne("").to_numpy().any()
    for eye in ("left", "right"):
        column, label = f"text_{eye}", f"label_{eye}"
        missing = frame[column].eq("") & frame[label].ne("") & frame["text"].eq("")
        names = frame.loc[missing, label].str.replace("|", " and ")
        frame.loc[missing, column] = [EYE_TEXT.format(eye=eye, label=name) for name in names]
    for index in frame.index[frame["text"].eq("")]:
        row = frame.loc[index]
        eyes = [row["text_left"], row["text_right"]]
        if any(eyes):
            frame.loc[index, "text"] = " ".join(text for text in eyes if text)
        elif row["label"]:
            frame.loc[index, "text"] = PATIENT_TEXT.format(label=row["label"].replace("|", " and "))
    # an eye without words of its own is described by the patient's
    for eye in ("left", "right"):
        frame[f"text_{eye}"] = frame[f"text_{eye}"].where(frame[f"text_{eye}"].ne(""), frame["text"])
    return frame, not own


def _read_table(path: Path) -> "pd.DataFrame":
    import pandas as pd

    if not path.is_file():
        raise ValueError(f"{path}: no such file.")
    with path.open(encoding="utf-8-sig", errors="replace") as stream:
        header = stream.readline()
    try:
        table = pd.read_csv(
            path,
            sep=csv_separator(header),
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
            skip_blank_lines=False,
        )
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"{path}: cannot be read as a CSV table in UTF-8 ({error}).") from None
    table.columns = [name.strip() for name in table.columns]
    if "patient_id" not in table.columns:
        raise ValueError(f"{path} lacks the column patient_id; it has {', '.join(table.columns)}.")
    if not {"image", "image_left", "image_right"} & set(table.columns):
        raise ValueError(
            f"{path} lacks the column image (or image_left and image_right); it has {', '.join(table.columns)}."
        )
    table = table.apply(lambda column: column.str.strip())
    blank = table.eq("").all(axis=1)
    return table.assign(__line__=[str(line) for line in range(2, len(table) + 2)])[~blank]


def _add_row(samples: dict[str, dict[str, str]], row: dict[str, str], image_root: Path, by_eye: bool) -> None:
    """Adds a table's row to its sample. Raises ValueError with the reason where it cannot be used."""
    patient = row["patient_id"]
    if not patient:
        raise ValueError("patient_id is empty")
    if row.get("split") and row["split"] not in SPLITS:
        raise ValueError(f"split is {row['split']!r}; it must be train, val or test")
    name = row.get("sample_id") or patient
    if "\0" in name or len(name) > 400:
        raise ValueError("sample_id is too long or has a null character")
    images = _images(row, by_eye)
    paths = {eye: _inside(image_root, path) for eye, path in images.items()}
    sample = samples.get(name)
    if sample is None:
        fresh = dict.fromkeys((*COLUMNS, "row_left", "row_right"), "")
        sample = {**fresh, "sample_id": name, "patient_id": patient, "split": row.get("split", "")}
    elif sample["patient_id"] != patient:
        raise ValueError(f"sample_id {name!r} was used before for another patient")
    elif set(paths) & set(sample["eyes"].split()):
        raise ValueError(f"duplicate: sample {name!r} already has its {' and '.join(sorted(paths))} picture")
    elif row.get("split", "") != sample["split"]:
        raise ValueError(f"split is {row['split']!r}, but an earlier row of {name!r} says {sample['split']!r}")
    for eye, path in paths.items():
        side = "right" if eye == "right" else "left"  # a picture of unknown side is kept as left
        sample[f"source_{side}"], sample[f"row_{side}"] = path, row["__line__"]
        sample["eyes"] = f"{sample['eyes']} {eye}".strip()
        if by_eye and eye != "unknown":
            sample[f"label_{eye}"] = row.get("label", "")
            sample[f"text_{eye}"] = row.get("text", "")
        elif by_eye:
            sample["label"], sample["text"] = row.get("label", ""), row.get("text", "")
    for column in ("label_left", "label_right", "text_left", "text_right"):
        sample[column] = row.get(column) or sample[column]
    if not by_eye:
        sample["label"], sample["text"] = row.get("label", ""), row.get("text", "")
    samples[name] = sample


def _images(row: dict[str, str], by_eye: bool) -> dict[str, str]:
    if not by_eye:
        images = {eye: row[f"image_{eye}"] for eye in ("left", "right") if row.get(f"image_{eye}")}
        if not images:
            raise ValueError("neither image_left nor image_right is given")
        return images
    if not row["image"]:
        raise ValueError("image is empty")
    word = row.get("eye", "").lower()
    if word not in ("", "unknown") and word not in EYES:
        raise ValueError(f"eye is {row['eye']!r}; it must be left, right or unknown")
    return {EYES.get(word, "unknown"): row["image"]}


def _inside(root: Path, name: str) -> str:
    """The path relative to the root. Raises ValueError where it leads out of it or to no file."""
    path = (root / name).resolve()
    if not path.is_relative_to(root.resolve()):
        raise ValueError(f"the image path {name!r} leads out of the image root")
    if not path.is_file():
        raise ValueError(f"the image file {name!r} does not exist")
    return name


def _frame(samples: list[dict[str, str]]) -> "pd.DataFrame":
    import pandas as pd

    frame = pd.DataFrame(samples, columns=[*COLUMNS, "row_left", "row_right"]).astype(str)
    eyes = frame["eyes"].map(lambda text: set(text.split()))
    frame["eyes"] = ["both" if {"left", "right"} <= seen else next(iter(sorted(seen)), "unknown") for seen in eyes]
    if frame["label"].eq("").all() and len(frame):
        # a patient's labels are those of its eyes, so that patient-level tables and strata have them too
        frame["label"] = [
            "|".join(dict.fromkeys(label for label in pair if label))
            for pair in zip(frame["label_left"], frame["label_right"], strict=True)
        ]
    return frame
