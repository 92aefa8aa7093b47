"""What a tuned model has to beat, without RET-CLIP: age and sex, the colors of the photographs, and a second reader."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from retclip.data.store import Store
from retclip.evaluation.logistic import fit
from retclip.metrics.evaluation_report import scores_with_intervals
from retclip.metrics.reference_document import Omitted, ReferenceModel, ReferenceModels

if TYPE_CHECKING:
    import pandas as pd

SPLITS = ("train", "val", "test")
VIEWS = {"eye": ("left", "right"), "patient": ("patient",), "none": ()}
# Of each channel; what is darker than this in all channels is no retina.
BINS, DARK = 16, 10
READ_AT_ONCE = 256


class Units(NamedTuple):
    """The labeled views of a split: row of its frame [M], view [M] and class index [M]."""

    frame: "pd.DataFrame"
    row: np.ndarray
    view: np.ndarray
    target: np.ndarray

    @property
    def patients(self) -> np.ndarray:
        return self.frame["patient_id"].to_numpy()[self.row]


def reference_models(data_dir: Path, fingerprint: dict[str, Any], code: str) -> ReferenceModels:
    """Fitted on train with the penalty that is best on val, scored on test. code: hash of this code."""
    import pandas as pd

    classes = fingerprint["classes"]
    frames = {name: pd.read_parquet(data_dir / f"samples_{name}.parquet") for name in SPLITS}
    units = {name: _units(frame, classes, fingerprint["label_level"]) for name, frame in frames.items()}
    measured = {
        "age and sex": lambda: _fitted("age and sex", {name: _demographics(one, units["train"]) for name, one in
                                                       units.items()}, units, classes),
        "color histogram": lambda: _fitted("color histogram", {name: _colors(one, data_dir, name, fingerprint) for
                                                               name, one in units.items()}, units, classes),
        "second reader": lambda: _second_reader(units["test"], classes),
    }  # fmt: skip
    found = {name: measure() if _is_measurable(units) else UNLABELED for name, measure in measured.items()}
    return ReferenceModels(
        models=tuple(one for one in found.values() if isinstance(one, ReferenceModel)),
        omitted=tuple(Omitted(name=name, reason=why) for name, why in found.items() if isinstance(why, str)),
        code=code,
        data={name: fingerprint["splits"][name]["sha256"] for name in SPLITS},
    )


UNLABELED = "fewer than two classes are labeled in train, or none in val or test"


def _is_measurable(units: dict[str, Units]) -> bool:
    return len(np.unique(units["train"].target)) > 1 and all(len(one.target) for one in units.values())


def _units(frame: "pd.DataFrame", classes: list[str], label_level: str) -> Units:
    index = {label: position for position, label in enumerate(classes)}
    rows, views, targets = [], [], []
    for view in VIEWS[label_level]:
        labels = frame["label" if view == "patient" else f"label_{view}"]
        target = labels.map(index).fillna(-1).to_numpy(dtype=np.int64)
        seen = np.ones(len(frame), dtype=bool) if view == "patient" else frame["eyes"].isin((view, "both")).to_numpy()
        there = np.flatnonzero((target >= 0) & seen)
        rows.append(there)
        views.append(np.full(len(there), view))
        targets.append(target[there])
    empty = np.zeros(0, dtype=np.int64)
    return Units(frame, *(np.concatenate(parts) if parts else empty for parts in (rows, views, targets)))


def _fitted(
    name: str, features: dict[str, np.ndarray | None], units: dict[str, Units], classes: list[str]
) -> ReferenceModel | str:
    """A logistic regression on features [M, D] of each split's units; why there is none, where train has none."""
    x = {split: values for split, values in features.items() if values is not None}
    if "train" not in x:
        return "the table has neither of them for the training patients"
    train, val, test = (units[split] for split in SPLITS)
    model = fit(x["train"], train.target, x["val"], val.target)
    scores = model.probabilities(x["test"], len(classes))
    return ReferenceModel(
        name=name,
        scores=scores_with_intervals(test.target, scores, test.patients),
        strength=model.strength,
        train_units=len(train.target),
        test_units=len(test.target),
        left_out=0,
    )


def _demographics(units: Units, train: Units) -> np.ndarray | None:
    """[M, D]: the age, the mean of the training patients where it is unknown, whether it is, and a column for each sex
    that they have. None where the training patients do not differ in any of it."""
    known = _ages(train)
    columns = []
    if np.unique(known[np.isfinite(known)]).size > 1:
        ages = _ages(units)
        columns.append(np.where(np.isfinite(ages), ages, np.nanmean(known)))
        if not np.isfinite(known).all():
            columns.append(~np.isfinite(ages))
    sexes = sorted(set(_sexes(train)) - {""})
    if len(set(_sexes(train))) > 1:
        columns += [_sexes(units) == sex for sex in sexes]
    return np.column_stack(columns).astype(float) if columns else None


def _ages(units: Units) -> np.ndarray:
    import pandas as pd

    return pd.to_numeric(units.frame["age"], errors="coerce").to_numpy(dtype=float)[units.row]


def _sexes(units: Units) -> np.ndarray:
    return units.frame["sex"].to_numpy(dtype=object)[units.row]


def _colors(units: Units, data_dir: Path, split: str, fingerprint: dict[str, Any]) -> np.ndarray:
    """[M, 3 * BINS] for eyes: the shares of the retina's pixels in bins of each channel; both eyes' for patients, one
    that is alone twice."""
    store = Store(data_dir / f"{split}.lmdb", fingerprint["splits"][split]["lmdb_bytes"])
    keys: dict[str, int] = {}
    places = []
    for row, view in zip(units.row, units.view, strict=True):
        sample, eyes = units.frame["sample_id"].iloc[row], units.frame["eyes"].iloc[row]
        stored = {"both": ("left", "right"), "right": ("right", "right")}.get(eyes, ("left", "left"))
        sides = stored if view == "patient" else (view,)
        places.append([keys.setdefault(f"{sample}/{side}", len(keys)) for side in sides])
    names, found = list(keys), []
    for start in range(0, len(names), READ_AT_ONCE):
        found += [_histogram(image) for image in store.get_many(names[start : start + READ_AT_ONCE])]
    return np.array(found)[np.array(places)].reshape(len(places), -1)


def _histogram(image: np.ndarray) -> np.ndarray:
    """Shares [3 * BINS] of the pixels of an image uint8 [S, S, 3] that are not dark."""
    pixels = image[image.max(axis=2) > DARK]
    counts = [np.bincount(channel // (256 // BINS), minlength=BINS) for channel in pixels.T]
    return np.concatenate(counts) / max(len(pixels), 1)


def _second_reader(units: Units, classes: list[str]) -> ReferenceModel | str:
    """The labels of another person as if a model had named them: a name that is no class is a miss, and who named
    several classes has not answered."""
    index = {label: position for position, label in enumerate(classes)}
    columns = {view: "label_2" if view == "patient" else f"label_2_{view}" for view in np.unique(units.view)}
    named = [
        units.frame[columns[view]].iloc[row] if columns[view] in units.frame.columns else ""
        for row, view in zip(units.row, units.view, strict=True)
    ]
    answered = np.array([bool(name) and "|" not in name for name in named], dtype=bool)
    if not any(named):
        return f"the table has nothing in {' and '.join(columns.values())}"
    target = units.target[answered]
    said = [index.get(name, -1) for name in np.array(named, dtype=object)[answered]]
    missed = np.where(np.array(said, dtype=np.int64) < 0, (target + 1) % len(classes), said)
    return ReferenceModel(
        name="second reader",
        scores=scores_with_intervals(target, np.eye(len(classes))[missed], units.patients[answered]),
        strength=None,
        train_units=None,
        test_units=len(target),
        left_out=sum("|" in name for name in named),
    )
