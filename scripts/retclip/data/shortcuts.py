"""What beside the retina gives the class away: the frame, the size, the age. A model learns whatever is easiest."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

FEATURES = {
    "border color": ("border_red", "border_green", "border_blue"),
    "image size": ("width", "height"),
    "file size": ("file_bytes",),
    "brightness": ("brightness",),
    "age": ("age",),
    "sex": ("sex",),
    "site": ("site",),
    "camera": ("camera",),
}
FOLDS = 5
FEWEST = 10  # examples of a class that is judged
DANGEROUS = 0.8  # AUROC of one class against the others
PURE = 0.8  # share of one class among the examples of a value
RARER = 3  # so many times less than among all examples the other classes must be, where the class is a large one
FEWEST_PATIENTS = 5  # of a value that is judged
CERTAIN = 1e-4  # chance probability of so pure a value, corrected for all values looked at
# The same for a value that looks like a placeholder: it stands apart at an end of a column's numbers, as age 1 does in
# ODIR-5K. Only two values of a column can, so that fewer are looked at, and more is expected of them.
CERTAIN_PLACEHOLDER = 1e-2
APART = 5  # times the median distance between neighboring values
MOST_VALUES = 120
STEPS = 8


def shortcuts(frame: "pd.DataFrame", images: "pd.DataFrame", label_level: str) -> dict[str, Any]:
    """feature -> {auroc, by_class, giveaways}: how well each alone predicts the class.

    auroc: mean over classes of one against the others, cross-validated by patient with a shallow tree (.5 is
    chance). giveaways: single values nearly all of whose examples are one class. Features that are constant
    or absent are left out; {} without labels.
    """
    examples = _examples(frame, images, label_level)
    if examples is None:
        return {}
    found = {}
    for feature, columns in FEATURES.items():
        values = _numbers(examples, [column for column in columns if column in examples])
        if values is not None:
            by_class = _auroc(values, examples["class"].to_numpy(), examples["patient_id"].to_numpy())
            if by_class:
                found[feature] = {
                    "auroc": float(np.mean(list(by_class.values()))),
                    "by_class": by_class,
                    "giveaways": _giveaways(examples, columns),
                }
    return found


def _examples(frame: "pd.DataFrame", images: "pd.DataFrame", label_level: str) -> "pd.DataFrame | None":
    """One row an example with a single class that is frequent enough: eyes, or samples by their first image."""
    if label_level == "none":
        return None
    table = images.merge(frame, on="sample_id")
    if label_level == "eye":
        table["class"] = np.where(table["eye"] == "right", table["label_right"], table["label_left"])
    else:
        table = table.drop_duplicates("sample_id").assign(**{"class": lambda rows: rows["label"]})
    table = table[table["class"].ne("") & ~table["class"].str.contains("|", regex=False)]
    frequent = table["class"].value_counts()
    table = table[table["class"].isin(frequent[frequent >= FEWEST].index)].reset_index(drop=True)
    return table if table["class"].nunique() > 1 else None


def _numbers(examples: "pd.DataFrame", columns: list[str]) -> np.ndarray | None:
    """float [N, columns]; words become their rank by frequency, blanks and ages that are no
    number -1. None where nothing varies."""
    import pandas as pd

    numbers = []
    for column in columns:
        cells = examples[column]
        if cells.dtype == object or str(cells.dtype).startswith("str"):
            if cells.eq("").all():
                continue
            parsed = pd.to_numeric(cells, errors="coerce")
            if column != "age" and parsed.notna().sum() < cells.ne("").sum():
                parsed = cells.map({word: rank for rank, word in enumerate(cells.value_counts().index)})
            cells = parsed.fillna(-1)
        numbers.append(cells.to_numpy(dtype=float))
    if not numbers or all(np.ptp(column) == 0 for column in numbers):
        return None
    return np.stack(numbers, axis=1)


def _auroc(values: np.ndarray, classes: np.ndarray, patients: np.ndarray) -> dict[str, float]:
    """class -> AUROC against all others, of scores from folds that did not see the patient."""
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.tree import DecisionTreeClassifier

    names = np.unique(classes)
    if len(np.unique(patients)) < 2 * FOLDS:
        return {}
    tree = DecisionTreeClassifier(max_depth=4, min_samples_leaf=5, random_state=0)
    scores = np.zeros((len(values), len(names)))
    for train, held_out in StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(values, classes, patients):
        tree.fit(values[train], classes[train])
        scores[np.ix_(held_out, np.searchsorted(names, tree.classes_))] = tree.predict_proba(values[held_out])
    return {str(name): float(roc_auc_score(classes == name, scores[:, k])) for k, name in enumerate(names)}


def _steps(cells: "pd.Series") -> "pd.Series":
    """The cells as text; numbers of too many different values become the eighth of their range."""
    import pandas as pd

    if cells.nunique() <= MOST_VALUES and not pd.api.types.is_float_dtype(cells):
        return cells.astype(str)
    numbers = pd.to_numeric(cells, errors="coerce")
    low, high = numbers.min(), numbers.max()
    if not high > low:
        return cells.astype(str).where(numbers.notna(), "")
    width = (high - low) / STEPS
    place = ((numbers - low) // width).clip(upper=STEPS - 1)
    names = [f"{low + step * width:.0f} to {low + (step + 1) * width:.0f}" for step in range(STEPS)]
    return place.map(dict(enumerate(names))).fillna("")


def _giveaways(examples: "pd.DataFrame", columns: tuple[str, ...]) -> list[dict[str, Any]]:
    """Values nearly all of whose examples are one class: words, whole numbers, or eighths of a finer range.

    How likely that is by chance is judged by patients, whose two eyes are one witness.
    """
    from scipy.stats import binom

    shares = examples["class"].value_counts(normalize=True)
    found = []
    for column in columns:
        if column not in examples:
            continue
        values = _steps(examples[column])
        groups = examples[values.ne("")].groupby(values)
        apart = _placeholders(values)
        for value, members in groups:
            top = members["class"].value_counts().index[0]
            share = float((members["class"] == top).mean())
            witnesses = members.drop_duplicates(["patient_id", "class"])["class"]
            by_chance = binom.sf((witnesses == top).sum() - 1, len(witnesses), shares[top]) * len(shares)
            is_certain = by_chance * groups.ngroups < CERTAIN or (
                value in apart and by_chance * 2 < CERTAIN_PLACEHOLDER
            )
            is_pure = share >= PURE and RARER * (1 - share) <= 1 - shares[top]
            if is_certain and is_pure and members["patient_id"].nunique() >= FEWEST_PATIENTS:
                found.append(
                    {"column": column, "value": str(value), "class": str(top), "share": share, "count": len(members)}
                )
    return found


def _placeholders(values: "pd.Series") -> set[str]:
    """The lowest and the highest of a column's numbers, as they are written, where they stand apart from the others."""
    import pandas as pd

    numbers = pd.to_numeric(values[values.ne("")].drop_duplicates(), errors="coerce").dropna().sort_values()
    gaps = np.diff(numbers)
    if len(gaps) < APART:
        return set()
    ends = {numbers.index[0]: gaps[0], numbers.index[-1]: gaps[-1]}
    return {str(values[place]) for place, gap in ends.items() if gap >= APART * np.median(gaps)}
