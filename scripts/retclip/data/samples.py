"""What every source ends in: one row a sample, its images found, its texts filled in."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from retclip.core.spelling import form_of
from retclip.data.image_paths import ImageFolder
from retclip.data.reconciliation import LABELS, Ledger, row_name

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
# What a second reader said, whose agreement is what models are measured against.
SECOND_LABELS = ("label_2", "label_2_left", "label_2_right")
# What may be known of a patient or a photograph beside it: for subgroups, shortcuts and reference models, never seen by
# a training run.
EXTRAS = ("age", "sex", "site", "camera", *SECOND_LABELS)
LINES = ("row_left", "row_right")
# table: the file of the rows where a source has several. base: the sample that this one repeats an eye of.
ORIGINS = (*LINES, "table", "base")
KNOWN = frozenset((*COLUMNS, *EXTRAS, *ORIGINS))
EYES = {
    **dict.fromkeys(("left", "l", "os", "left eye"), "left"),
    **dict.fromkeys(("right", "r", "od", "right eye"), "right"),
}
SPLITS = ("train", "val", "test")
EYE_TEXT = "A fundus photograph of the {eye} eye showing {label}."
# Of an eye that nobody described, beside one that somebody did: true, and nothing about the other eye.
BARE_TEXT = "A fundus photograph of the {eye} eye."
PATIENT_TEXT = "Fundus photographs showing {label}."
LONGEST_ID = 400

# {"row": line, "reason": sentence, "table": file}: rows, or single images of theirs, that cannot be used
Problems = list[dict[str, Any]]


class Row(NamedTuple):
    """A line of a source's table in our words.

    images: eye (left, right or unknown) -> location below the image root. values: any of the columns split,
    label*, text*, age, sex, site, camera, label_2*. sample_id: "" where the patient, or its visit, is the sample.
    problem: why the reader could not use the row; "" where it could. table: the file, where a source has several.
    """

    line: int
    patient_id: str
    sample_id: str
    images: dict[str, str]
    values: dict[str, str]
    problem: str = ""
    table: str = ""
    visit: str = ""


def collect(
    rows: Iterable[Row],
    folder: ImageFolder,
    eye_images: str,
    problems: Problems,
    ledger: Ledger,
    schemes: Iterable[str] = (),
) -> "pd.DataFrame":
    """One row a sample with COLUMNS, EXTRAS, ORIGINS and every further text column, all strings.

    Rows of one sample_id (or, where there is none, of one patient and visit) become one sample, as long as their
    texts, labels and ages agree: what differs is of another visit, and begins a sample NAME~2 of the same patient.
    Where an eye has several images, eye_images says: all (each further one begins a sample NAME#2), best (the same
    here; the build keeps the sharpest) or first. What cannot be used goes to problems and is booked in the ledger; a
    row with one good image keeps it. schemes: of locations SCHEME://... in other files, which a reader made.
    """
    samples = _Samples(folder, eye_images, problems, ledger, schemes)
    for row in rows:
        try:
            samples.add(row)
        except ValueError as error:
            problems.append({"row": row.line, "reason": str(error), "table": row.table})
            ledger.book("quarantined", str(error), _items(row))
    return _frame(list(samples.by_id.values()))


def patient_labels(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Where no patient has a label of its own, that of its eyes, so that tables and strata of patients have one."""
    if frame["label"].ne("").any():
        return frame
    pairs = zip(frame["label_left"], frame["label_right"], strict=True)
    return frame.assign(label=["|".join(dict.fromkeys(label for label in pair if label)) for pair in pairs])


def of_present_eyes(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Labels and texts of an eye without an image are taken out: they would describe another one."""
    frame = frame.copy()
    for eye in ("left", "right"):
        frame.loc[~frame["eyes"].isin((eye, "both")), eye_columns(frame, eye)] = ""
    return frame


def fill_texts(frame: "pd.DataFrame", report_section: str | None) -> tuple["pd.DataFrame", bool]:
    """The frame with a text for every sample, and whether all of them were made from labels.

    Where only the eyes have texts, the patient's is both; where nobody has, a template names the label. An eye
    without words of its own is described by the patient's, but never by words about the fellow eye.
    report_section: the heading whose paragraph stands for the whole report, where a report has it.
    """
    frame = frame.copy()
    texts = text_columns(frame)
    if report_section:
        for column in texts:
            frame[column] = [section(text, report_section) for text in frame[column]]
    own = frame[texts].ne("").to_numpy().any()
    of_patient = frame["text"].ne("")
    for eye in ("left", "right"):
        column, label = f"text_{eye}", f"label_{eye}"
        missing = frame[column].eq("") & frame[label].ne("") & ~of_patient
        names = frame.loc[missing, label].str.replace("|", " and ")
        frame.loc[missing, column] = [EYE_TEXT.format(eye=eye, label=name) for name in names]
    described = frame["text_left"].ne("") | frame["text_right"].ne("")
    if not of_patient.all():
        eyes = (frame["text_left"] + " " + frame["text_right"])[~of_patient].str.strip()
        labels = frame.loc[~of_patient, "label"].str.replace("|", " and ")
        from_labels = [PATIENT_TEXT.format(label=label) if label else "" for label in labels]
        frame.loc[~of_patient, "text"] = eyes.where(eyes.ne(""), from_labels)
    for eye in ("left", "right"):
        silent = frame[f"text_{eye}"].eq("")
        bare = silent & ~of_patient & described & frame["eyes"].isin((eye, "both"))
        frame[f"text_{eye}"] = frame[f"text_{eye}"].where(~silent, frame["text"])
        frame.loc[bare, f"text_{eye}"] = BARE_TEXT.format(eye=eye)
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


def eye_columns(frame: "pd.DataFrame", eye: str) -> list[str]:
    """The label and the texts of an eye."""
    return [f"label_{eye}", *(name for name in text_columns(frame) if name.startswith(f"text_{eye}"))]


def patient_columns(frame: "pd.DataFrame") -> list[str]:
    """The label and the texts of a patient."""
    of_eyes = {*eye_columns(frame, "left"), *eye_columns(frame, "right")}
    return ["label", *(name for name in text_columns(frame) if name not in of_eyes)]


def text_columns(frame: "pd.DataFrame") -> list[str]:
    """text, text_left, text_right and those of further languages (text_de, text_left_de)."""
    return [name for name in frame.columns if name == "text" or name.startswith("text_")]


class _Samples:
    """The samples so far. by_id: sample_id -> its values; of_name: what rows call a sample -> its sample_ids."""

    def __init__(
        self, folder: ImageFolder, eye_images: str, problems: Problems, ledger: Ledger, schemes: Iterable[str]
    ) -> None:
        self.folder, self.eye_images, self.problems, self.ledger = folder, eye_images, problems, ledger
        self.containers = tuple(f"{scheme}://" for scheme in schemes)
        self.by_id: dict[str, dict[str, str]] = {}
        self.of_name: dict[str, list[str]] = {}

    def add(self, row: Row) -> None:
        """Adds a row to its sample. Raises ValueError with the reason where nothing of it can be used."""
        if row.problem:
            raise ValueError(row.problem)
        name = _name(row)
        own = self.of_name.get(name, [])
        self._refuse_other(row, own)
        images = self._found(row, own)
        base = ""
        for place in own:
            sample = self.by_id[place]
            if ("unknown" in images) != ("unknown" in sample["eyes"].split()):
                continue
            again = set(images) & set(sample["eyes"].split())
            of_image = _columns_of(again, row.values)
            if any(_differs(sample, key, value) for key, value in row.values.items() if key not in of_image):
                continue
            if not again:
                self._join(sample, row, images)
                return
            if self.eye_images == "first":
                self._merge(sample, row, images, of_image)
                return
            base = base or sample["base"]
        place = self._free(name if not own else f"{base}#{len(own) + 1}" if base else f"{name}~{len(own) + 1}")
        # only what there is: a hundred thousand samples with every column would be a gigabyte
        sample = {"sample_id": place, "patient_id": row.patient_id, "split": row.values.get("split", ""), "eyes": ""}
        self.by_id[place] = {**sample, "table": row.table, "base": base or place}
        self.of_name.setdefault(name, []).append(place)
        self._join(self.by_id[place], row, images)

    def _refuse_other(self, row: Row, own: list[str]) -> None:
        if not own:
            return
        known = self.by_id[own[0]]
        if known["patient_id"] != row.patient_id:
            raise ValueError("this sample_id was used before for another patient")
        if known["split"] != row.values.get("split", ""):
            raise ValueError("split is another than that of an earlier row of the same sample")

    def _found(self, row: Row, own: list[str]) -> dict[str, str]:
        """The row's images that are there; the others go to problems. Raises ValueError where none is, or where the
        sample has one already."""
        found: dict[str, str] = {}
        reasons: dict[str, str] = {}
        for eye, location in row.images.items():
            try:
                found[eye] = location if location.startswith(self.containers) else self.folder.find(location)
            except ValueError as error:
                reasons[eye] = str(error)
        if not found:
            raise ValueError(next(iter(reasons.values())))
        for place in own:
            earlier = self.by_id[place]
            if any(location == earlier.get(f"source_{_side(eye)}") for eye, location in found.items()):
                raise ValueError(f"duplicate: this sample already has this {' and '.join(sorted(found))} image")
        for eye, reason in reasons.items():
            self.problems.append({"row": row.line, "reason": reason, "table": row.table})
            self.ledger.book("quarantined", reason, {"images": {_image_name(row, eye)}})
        return found

    def _join(self, sample: dict[str, str], row: Row, images: dict[str, str]) -> None:
        """The row's images and values become the sample's; what it has already, is merged."""
        for eye, location in images.items():
            sample[f"source_{_side(eye)}"], sample[f"row_{_side(eye)}"] = location, str(row.line)
            sample["eyes"] = f"{sample['eyes']} {eye}".strip()
        for column, value in row.values.items():
            known = sample.get(column, "")
            if value and known and column != "split":
                what = _what(column)
                if what:
                    self.ledger.book("merged", "the same in another row of the sample", {what: 1})
                elif form_of(value) != form_of(known):
                    self.ledger.disagreements[column] += 1
            elif value or column not in KNOWN:
                sample[column] = value or known

    def _merge(self, sample: dict[str, str], row: Row, images: dict[str, str], of_image: set[str]) -> None:
        """data.eye_images: first. A further image goes with its own label and text; the patient's values stay."""
        values = {column: value for column, value in row.values.items() if column in of_image}
        self._join(sample, row._replace(values={k: v for k, v in row.values.items() if k not in of_image}), {})
        row = row._replace(images=images, values=values)
        self.ledger.book("merged", "a further image of an eye (data.eye_images: first)", _items(row))

    def _free(self, name: str) -> str:
        """The name, or where a sample_id of the table is the same, one that is nobody's."""
        while name in self.by_id:
            name += "~"
        return name


def _name(row: Row) -> str:
    """What the row calls its sample. Raises ValueError where it names nobody, or no split of ours."""
    if not row.patient_id:
        raise ValueError("patient_id is empty")
    if row.values.get("split", "") not in ("", *SPLITS):
        raise ValueError("split is none of ours; it must be train, val or test, or what data.values.split maps to them")
    name = row.sample_id or (f"{row.patient_id}@{row.visit}" if row.visit else row.patient_id)
    if "\0" in name or len(name) > LONGEST_ID:
        raise ValueError(f"sample_id has a null character or more than {LONGEST_ID} letters")
    return name


def _differs(sample: dict[str, str], column: str, value: str) -> bool:
    """Whether a value says that the row is of another visit than the sample."""
    known = sample.get(column, "")
    same = form_of(value) == form_of(known) if column in LABELS or column == "age" else value == known
    return bool(value and known and not same and (_what(column) or column == "age"))


def _columns_of(eyes: set[str], columns: Iterable[str]) -> set[str]:
    """The columns that belong to the images of these eyes; those of an eye of unknown side are the patient's."""
    found = {
        column
        for column in columns
        for eye in eyes - {"unknown"}
        if column == f"label_{eye}" or column.startswith(f"text_{eye}")
    }
    return found | {column for column in columns if _what(column)} if "unknown" in eyes else found


def _what(column: str) -> str:
    """texts or labels; "" for other columns."""
    return "labels" if column in LABELS else "texts" if column == "text" or column.startswith("text_") else ""


def _items(row: Row) -> dict[str, set[str] | int]:
    """All that a row holds, for the ledger."""
    kinds = [_what(column) for column, value in row.values.items() if value]
    images = {_image_name(row, eye) for eye, location in row.images.items() if location}
    rows = {row_name(row.table, row.line)}
    return {"rows": rows, "images": images, "texts": kinds.count("texts"), "labels": kinds.count("labels")}


def _image_name(row: Row, eye: str) -> str:
    return f"{row_name(row.table, row.line)}/{_side(eye)}"


def _side(eye: str) -> str:
    return "right" if eye == "right" else "left"  # an image of unknown side is kept as left


def _frame(samples: list[dict[str, str]]) -> "pd.DataFrame":
    import pandas as pd

    further = dict.fromkeys(name for sample in samples for name in sample if name not in KNOWN)
    columns = [*COLUMNS, *EXTRAS, *ORIGINS, *further]
    frame = pd.DataFrame({name: [sample.get(name, "") for sample in samples] for name in columns}, dtype=str)
    eyes = frame["eyes"].map(lambda text: set(text.split()))
    frame["eyes"] = ["both" if {"left", "right"} <= seen else next(iter(sorted(seen)), "unknown") for seen in eyes]
    return frame
