"""Which column of a table is which of ours: data.columns declares it, and a name that is nearly one is asked about."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from retclip.core.csv_tables import cell_of, shown
from retclip.core.spelling import plain

# In data.columns: columns that a person has seen and wants neither read nor listed.
IGNORE = "ignore"
# Words that tables use for what we call otherwise; only ever suggested.
SYNONYMS = {
    "patient_id": ("id", "patient", "patientid", "subject", "subject_id", "pid", "mrn", "person_id", "case_id"),
    "image": ("image_id", "image_name", "img", "filename", "file", "file_name", "path", "image_path", "id_code",
              "fundus", "images", "imagename"),
    "eye": ("exam_eye", "laterality", "side", "eye_side", "eyeside", "lateral"),
    "label": ("diagnosis", "grade", "class", "level", "disease", "dr_icdr", "labels", "retinopathy_grade", "category",
              "adjudicated_dr_grade", "dr_grade", "target"),
    "text": ("report", "reports", "findings", "impression", "caption", "description", "conclusion", "texts", "prompt"),
    "split": ("set", "subset", "fold", "partition", "phase", "usage"),
    "visit": ("visit_id", "exam_date", "study", "study_id", "visit_date"),
    "age": ("patient_age", "age_years"),
    "sex": ("patient_sex", "gender"),
}  # fmt: skip
# Names of fewer letters are near too much else.
SHORTEST_NEAR = 4


def declared_columns(columns: Mapping[str, Any]) -> dict[str, list[str]]:
    """Our name -> the table's columns that data.columns gives for it: several of one_hot, none of a pattern."""
    found: dict[str, list[str]] = {}
    for ours, given in columns.items():
        if ours == IGNORE:
            continue
        if isinstance(given, Mapping):
            given = given.get("one_hot", [])
        found[ours] = [cell_of(str(name)) for name in ([given] if isinstance(given, str) else given)]
    return found


def check_columns(columns: Mapping[str, Any], names: list[str], reads: Iterable[str], where: str, key: str) -> set[str]:
    """Our names that a table has, given the names of its columns; reads: those that its form of data knows.

    where: what to call the table; key: of the declaration, such as data.columns. Raises ValueError in one sentence for
    a declaration that the table or the form of data does not know.
    """
    known = [*reads, IGNORE]
    for ours in columns:
        if ours not in known and not (ours.startswith("text_") and "text" in known):
            near = get_close_matches(ours, known, n=1, cutoff=0.4)
            advice = f"did you mean {near[0]}?" if near else f"the names are {shown(known)}."
            raise ValueError(f"{where}: this data.source reads no {key}.{ours[:40]}; {advice}")
    ignored = {cell_of(str(name)) for name in columns.get(IGNORE, [])}
    found = set(names) - ignored
    for ours, theirs in declared_columns(columns).items():
        form = f"{key}.{ours}.one_hot: {{0}}" if isinstance(columns[ours], Mapping) else f"{key}.{ours} is {{0}}"
        for name in theirs:
            if name not in names:
                raise ValueError(f"{where}: {form.format(name[:40])}, which is no column; {_advice(name, names)}")
            if name in ignored:
                raise ValueError(f"{where}: {key}.{IGNORE} names {name[:40]}, which {key}.{ours} reads; take it out.")
    moved = {name for theirs in declared_columns(columns).values() for name in theirs}
    return (found - moved) | set(declared_columns(columns))


def suggestion(names: Iterable[str], missing: Iterable[str]) -> str:
    """What data.columns might say of these columns, as `data.columns: {text: Report}`; "" where nothing comes to mind.

    missing: our names that the table lacks.
    """
    found: dict[str, str] = {}
    names = list(names)
    for ours in missing:
        words = {ours, *SYNONYMS.get(ours, ())}
        theirs = next((name for name in names if plain(name) in words or is_near(name, ours)), None)
        if theirs is not None and theirs not in found.values():
            found[ours] = theirs
    if not found:
        return ""
    return f"data.columns: {{{', '.join(f'{ours}: {shown([theirs])}' for ours, theirs in list(found.items())[:4])}}}"


def is_near(name: str, ours: str) -> bool:
    """Whether a column's name is one of ours but for its form, or for one letter (Splt, label_lefts, lable)."""
    seen = plain(name)
    return seen == ours or (len(ours) >= SHORTEST_NEAR and within_letters(seen, ours, 1))


def within_letters(one: str, other: str, most: int) -> bool:
    """Whether `most` letters put in, left out or replaced, or two neighbors swapped, make one word the other."""
    if abs(len(one) - len(other)) > most:
        return False
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, start=1):
        earlier, before, row = before, row, [i]
        for j, b in enumerate(other, start=1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                cost = min(cost, earlier[j - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return False
    return row[-1] <= most


def _advice(name: str, names: list[str]) -> str:
    plain_names = {plain(one): one for one in names}
    near = get_close_matches(plain(name), list(plain_names), n=1)
    return f"did you mean {shown([plain_names[near[0]]])}?" if near else f"the table has {shown(names)}."
