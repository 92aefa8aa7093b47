"""Groups of patients by what else the table says of them: age, sex, site, camera."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

AGE_BANDS = {"under 40": (0, 40), "40 to 59": (40, 60), "60 to 79": (60, 80), "80 and older": (80, 130)}
VARIABLES = ("age", "sex", "site", "camera")
OTHERS = "all smaller groups"


def groups_of(frame: "pd.DataFrame", smallest: int) -> Iterator[tuple[str, str, list[str]]]:
    """(variable, group, its sample_ids) for each of VARIABLES that `frame` has values of.

    Ages are put into AGE_BANDS, and groups of fewer than `smallest` patients into one, last. A variable with one
    group tells nothing and is left out; samples without a value are in none of its groups.
    """
    for variable in VARIABLES:
        if variable not in frame.columns:
            continue
        values = _age_bands(frame[variable]) if variable == "age" else frame[variable].str.strip()
        patients = frame["patient_id"].groupby(values).nunique()
        patients = patients[patients.index != ""]
        if len(patients) < 2:
            continue
        large = list(patients.index[patients >= smallest])
        for group in [name for name in AGE_BANDS if name in large] if variable == "age" else large:
            yield variable, str(group), frame.loc[values == group, "sample_id"].tolist()
        small = frame.loc[values.ne("") & ~values.isin(large), "sample_id"].tolist()
        if small:
            yield variable, OTHERS, small


def _age_bands(ages: "pd.Series") -> "pd.Series":
    """The band of each age; "" where it is no number of years."""
    import pandas as pd

    years = pd.to_numeric(ages, errors="coerce")
    bands = pd.Series("", index=ages.index)
    for band, (low, high) in AGE_BANDS.items():
        bands[(years >= low) & (years < high)] = band
    return bands
