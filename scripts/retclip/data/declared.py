"""A table in our words: its columns as data.columns declares them, its values as data.values maps them.

What every form of data reads passes here, so that a rule holds for each column of each table: which cells are empty,
which are equal, how eyes and splits may be written.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retclip.core.csv_tables import cell_of, is_missing, read_header, shown
from retclip.core.spelling import form_of
from retclip.core.table_columns import IGNORE, check_columns, declared_columns, suggestion
from retclip.data.eyes import eye_of_cell
from retclip.data.patterns import check_image_pattern, pattern_of
from retclip.data.reconciliation import LABELS, Ledger
from retclip.data.samples import EXTRAS, SECOND_LABELS, SPLITS
from retclip.data.source import Source
from retclip.data.tables import LINE, PROBLEM, RAW, read_table, refuse_nearly

if TYPE_CHECKING:
    import pandas as pd

# Classes in the words of the table: what data.values says of label holds for each of them.
OF_CLASSES = (*LABELS, *SECOND_LABELS)
# Columns whose cells may join several labels by |.
JOINED = (*OF_CLASSES, "left_keywords", "right_keywords")
PATHS = ("image", "image_left", "image_right")
# Of which a column that nothing uses may be meant.
SUGGESTED = ("text", "label", "eye", "split", "visit", *EXTRAS[:2])
IDS = ("patient_id", "sample_id", "dataset_index")
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "trn", "train set", "training set", "trainset"), "train"),
    **dict.fromkeys(
        ("val", "valid", "validation", "dev", "development", "validate", "val set", "validation set"), "val"
    ),
    **dict.fromkeys(("test", "testing", "tst", "test set", "testing set", "testset", "holdout", "hold-out"), "test"),
}
YES, NO = ("1", "true", "yes", "y", "x", "t"), ("", "0", "false", "no", "n", "f")
WHOLE_ID = re.compile(r"(\d+)\.0+")
# As a spreadsheet writes 60,5, and DICOM 064Y.
AGE = re.compile(r"0*(-?\d+)(?:[.,](\d+))?(?: ?(?:y|yo|yrs?|years?(?: old)?|岁))?", re.IGNORECASE)
FIELD = re.compile(r"\{([^{}]+)\}")


def read_declared(path: Path, source: Source, reads: Iterable[str], ledger: Ledger) -> "pd.DataFrame":
    """The table with our names for the columns that it reads, as tables.read_table gives it.

    reads: our names that this form of data knows. attrs["theirs"]: our name -> the table's; attrs["used"]: columns of
    the table that became others; PROBLEM: why a row cannot be used, "" where it can. Raises ValueError in one sentence
    where the declaration does not fit the table.
    """
    reads = [*reads, *(name for name in source.columns if name.startswith("text_"))]
    names = read_header(path)
    check_columns(source.columns, names, reads, str(path), "data.columns")
    check_columns(dict.fromkeys(source.values, ""), [""], reads, str(path), "data.values")
    for ours in source.values:
        _mapping(ours, source.values)
    theirs = {ours: found[0] if len(found) == 1 else "" for ours, found in declared_columns(source.columns).items()}
    theirs = {**{name: name for name in reads if name in names}, **theirs}
    translate = {theirs[ours]: how for ours in theirs if theirs[ours] and (how := _translation(ours, source.values))}
    _refuse_two_meanings(path, theirs, source)
    table = read_table(path, translate, [theirs.get(name, name) for name in PATHS], _fields(source))
    table.attrs["theirs"] = theirs
    _note_unseen(ledger, source, table)
    ignored = [cell_of(str(name)) for name in source.columns.get(IGNORE, [])]
    wanted = [name for name in reads if name not in (*theirs, *EXTRAS)]
    if source.patient_id != "patient_id":
        wanted = [name for name in wanted if name != "patient_id"]
    refuse_nearly(path, table, wanted, [*ignored, *theirs.values()])
    table = _named(table, source, reads, ledger)
    for name in (*IDS, source.patient_id):
        if name in table.columns:
            table[name] = [" ".join(_whole(cell).split()) for cell in table[name]]
    if "age" in table.columns:
        _read_ages(table, ledger)
    return table


def _refuse_two_meanings(path: Path, theirs: Mapping[str, str], source: Source) -> None:
    """A column that is read as two things, one of which has values of its own: they would be taken for the other's."""
    for ours, name in theirs.items():
        for other, same in theirs.items():
            if name and name == same and ours < other and {ours, other} & {"eye", "split", *source.values}:
                raise ValueError(
                    f"{path}: data.columns: the column {shown([name])} is both {ours} and {other}, whose values "
                    "differ; write a second column for one of them."
                )


def _named(table: "pd.DataFrame", source: Source, reads: list[str], ledger: Ledger) -> "pd.DataFrame":
    """The table under our names; what a declaration moved or hides is gone."""
    columns = source.columns
    moved = {name for found in declared_columns(columns).values() for name in found}
    made: dict[str, Any] = {}
    problems = [""] * len(table)
    for ours, found in declared_columns(columns).items():
        if not isinstance(columns[ours], Mapping):
            made[ours] = table[found[0]].copy()
        elif "one_hot" in columns[ours]:
            made[ours] = _from_one_hot(ours, table, columns[ours], source.values, problems, ledger)
    ignored = {cell_of(str(name)) for name in columns.get(IGNORE, [])}
    hidden = [name for name in table.columns if name in ignored or (name in reads and (name in moved or name in made))]
    unused = [name for name in hidden if name not in moved and name not in ignored]
    attrs = {**table.attrs, "used": {*moved, *_fields(source)}, "hidden": unused, "reads": reads}
    table = table.drop(columns=hidden)
    table = table.assign(**made)
    _fill_pattern(table, source)
    for ours, given in columns.items():
        if isinstance(given, Mapping) and "pattern" in given:
            table[ours] = _from_path(ours, table, given["pattern"], source.values, ledger)
    table = table.drop(columns=[name for name in table.columns if name.startswith(RAW)])
    table[PROBLEM] = problems
    table.attrs.update(attrs)
    return table


def note_of_table(ledger: Ledger, name: str, table: "pd.DataFrame", used: list[str], told: list[str]) -> None:
    """Notes the columns that nothing uses, with what they may be, and the words for nothing in the columns `told`: one
    might be a class.

    name: what to call the table on a page that shows no path.
    """
    known = {*used, *table.attrs.get("used", ()), LINE, PROBLEM}
    unused = [*table.attrs.get("hidden", ()), *(column for column in table.columns if column not in known)]
    if unused:
        free = [ours for ours in table.attrs.get("reads", ()) if ours in SUGGESTED and ours not in table.columns]
        hint = suggestion(unused, [ours for ours in free if not set(table.columns) & {f"{ours}_left", f"{ours}_right"}])
        ledger.note(f"{name}: columns that nothing uses: {shown(unused)}{f'; did you mean {hint}?' if hint else '.'}")
    theirs = table.attrs.get("theirs", {})
    for column in told:
        count = table.attrs["missing"].get(theirs.get(column) or column, 0)
        if column in LABELS and column in table.columns:  # or a part of what is joined
            parts = (cell.split("|") for cell in table[column] if "|" in cell)
            count += sum(any(is_missing(part.strip()) for part in cell) for cell in parts)
        if count:
            ledger.note(f"{name}: {count} cells of {column} are a word for nothing, such as NA, and count as empty.")


def _translation(ours: str, values: Mapping[str, Mapping[str, str]]) -> Callable[[str], str | None] | None:
    """What a cell of one of our columns means: the word that data.values or a usual spelling gives, None for none."""
    given = _mapping(ours, values)
    if ours == "eye":
        return lambda cell: given.get(form_of(cell), eye_of_cell(cell))
    if ours == "split":
        return lambda cell: given.get(form_of(cell), SPLIT_WORDS.get(form_of(cell).replace("_", " ")))
    if not given:
        return None
    if ours in JOINED:
        return lambda cell: _joined(cell, given)
    return lambda cell: given.get(form_of(cell))


def _joined(cell: str, given: Mapping[str, str]) -> str | None:
    """Each label of a cell by itself; None where none of them is mapped."""
    if (whole := given.get(form_of(cell))) is not None:
        return whole
    parts = [part.strip() for part in cell.split("|")]
    if len(parts) == 1 or not any(form_of(part) in given for part in parts):
        return None
    return "|".join(found for part in parts if (found := given.get(form_of(part), "" if is_missing(part) else part)))


def _mapping(ours: str, values: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """data.values of a column by the form of their keys; what it says of label holds for each eye's and a second
    reader's, too."""
    given = {**(values.get("label", {}) if ours in OF_CLASSES else {}), **values.get(ours, {})}
    for word in given.values():
        if ours == "eye" and word not in ("left", "right", "unknown", ""):
            raise ValueError(f"data.values.eye: {word[:40]} is no eye; give left, right or unknown.")
        if ours == "split" and word not in (*SPLITS, ""):
            raise ValueError(f"data.values.split: {word[:40]} is no split; give train, val or test.")
    return {form_of(str(key)): word for key, word in given.items()}


def _whole(cell: str) -> str:
    """12 for 12.0, which a program made of it that counts in fractions."""
    found = WHOLE_ID.fullmatch(cell)
    return found[1] if found else cell


def _read_ages(table: "pd.DataFrame", ledger: Ledger) -> None:
    """Numbers of years in place, however they are written; notes those that are none."""
    found = {cell: AGE.fullmatch(cell) for cell in table["age"].unique()}
    odd = table["age"].map({cell: bool(cell) and age is None for cell, age in found.items()})
    if odd.any():
        ledger.note(
            f"{odd.sum()} of {table['age'].ne('').sum()} ages are no number of years (the first in line "
            f"{table.loc[odd, LINE].iloc[0]}): no check of ages and no model of age and sex counts them."
        )
    years = {cell: f"{age[1]}{'.' if age[2] else ''}{age[2] or ''}" if age else cell for cell, age in found.items()}
    table["age"] = table["age"].map(years)


def _note_unseen(ledger: Ledger, source: Source, table: "pd.DataFrame") -> None:
    """Keys of data.values that no cell bears: mostly slips."""
    for ours, given in source.values.items():
        columns = [name for name in (ours, *(OF_CLASSES if ours == "label" else ())) if table.attrs["theirs"].get(name)]
        cells = {cell for name in columns for cell in table.attrs["cells"].get(table.attrs["theirs"][name], ())}
        seen = {form_of(part) for cell in cells for part in (cell, *cell.split("|"))}
        unseen = [str(key) for key in given if form_of(str(key)) not in seen]
        if columns and unseen:
            ledger.note(f"data.values.{ours}: no row has {shown(unseen)}.")


def _from_one_hot(
    ours: str,
    table: "pd.DataFrame",
    given: Mapping[str, Any],
    values: Mapping[str, Mapping[str, str]],
    problems: list[str],
    ledger: Ledger,
) -> list[str]:
    """The names of the columns that hold a 1, joined by |."""
    names = [cell_of(str(name)) for name in given["one_hot"]]
    classes = _mapping(ours, values)
    found: list[list[str]] = [[] for _ in problems]
    said = [False] * len(problems)
    for name in names:
        label = classes.get(form_of(name), name)
        for place, cell in enumerate(table[name]):
            word = form_of(cell)
            if word in YES:
                found[place].append(label)
            elif word not in NO:
                problems[place] = f"the column {shown([name])} is neither 0 nor 1"
            said[place] = said[place] or bool(cell)
    none = [place for place, labels in enumerate(found) if said[place] and not labels and not problems[place]]
    other = str(given.get("otherwise", ""))
    for place in none:
        found[place] = [other] if other else []
    if none and not other:
        ledger.note(
            f"data.columns.{ours}.one_hot: {len(none)} rows have 0 in all of them, and no label; "
            f"data.columns.{ours}.otherwise can name their class."
        )
    return ["|".join(dict.fromkeys(labels)) for labels in found]


def _from_path(
    ours: str, table: "pd.DataFrame", pattern: str, values: Mapping[str, Mapping[str, str]], ledger: Ledger
) -> list[str]:
    """What the pattern's first group finds in each row's image path; "" where it finds nothing."""
    searched, meaning = pattern_of(pattern), _translation(ours, values)
    found, unknown = [], 0
    for cells in zip(*(table[name] for name in PATHS if name in table.columns), strict=True):
        path = next((cell for cell in cells if cell), "")
        match = searched.first_group(path)
        word = cell_of(match or "")
        mapped = meaning(word) if meaning and word else None
        found.append(word if mapped is None else mapped)
        unknown += bool(path) and match is None
    if unknown:
        ledger.note(f"data.columns.{ours}.pattern: {unknown} image paths do not match it, and say no {ours}.")
    return found


def _fill_pattern(table: "pd.DataFrame", source: Source) -> None:
    """data.image_pattern of a table whose images are named by its cells: image is `{image}.jpg`, or any columns'.

    With {eye} in it, and neither a column eye nor image, a row is a patient, and has an image of each eye.
    """
    pattern = source.image_pattern
    if not pattern or source.kind != "manifest":
        return
    fields = _fields(source)
    check_image_pattern(pattern, fields)
    both = "eye" in fields and "eye" not in table.columns
    for field in fields:
        if field not in table.columns and RAW + field not in table.columns and not (both and field == "eye"):
            names = shown([name for name in table.columns if name not in (LINE, PROBLEM) and not name.startswith(RAW)])
            raise ValueError(f"data.image_pattern: {{{field[:40]}}} is no column; the table has {names}.")
    written = {field: table.get(RAW + field, table.get(field)) for field in fields}
    rows = list(zip(*(cells for cells in written.values() if cells is not None), strict=True))
    known = [field for field, cells in written.items() if cells is not None]
    for eye, column in (("left", "image_left"), ("right", "image_right")) if both else ((None, "image"),):
        table[column] = [_filled(pattern, dict(zip(known, row, strict=True)), eye) for row in rows]


def _fields(source: Source) -> list[str]:
    """The columns that data.image_pattern of a table names."""
    pattern = source.image_pattern if source.kind == "manifest" else ""
    return list(dict.fromkeys(field.partition(":")[0] for field in FIELD.findall(pattern or "")))


def _filled(pattern: str, cells: dict[str, str], eye: str | None) -> str:
    """The path of a row; "" where one of its cells is empty."""
    if any(is_missing(cell) for cell in cells.values()):
        return ""
    if eye:
        cells = {**cells, "eye": eye}

    def value(found: re.Match[str]) -> str:
        name, _, form = found[1].partition(":")
        cell = _whole(cells[name])
        try:
            return format(int(cell) if form.endswith("d") else cell, form)
        except ValueError:
            raise ValueError(f"data.image_pattern: {{{found[1][:40]}}} does not fit the cells of its column.") from None

    return FIELD.sub(value, pattern)
