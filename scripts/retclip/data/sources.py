"""Every form of data that people have, behind one interface."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from retclip.data import source_manifest, source_odir, source_prompts, source_retclip
from retclip.data.samples import Problems, collect

if TYPE_CHECKING:
    import pandas as pd

# A reader yields samples.Row for (source, table or folder, problems); rows it cannot read it adds to problems.
READERS = {
    "manifest": source_manifest.read,
    "demo": source_manifest.read,
    "prompts": source_prompts.read,
    "odir": source_odir.read,
    "retclip_tsv": source_retclip.read_tsv,
    "retclip_lmdb": source_retclip.read_lmdb,
}


class Source(NamedTuple):
    """What the config's `data` says of the table and its pictures; the keys bear the same names there."""

    kind: str
    table: Path
    image_root: Path
    test_table: Path | None = None
    patient_id: str = "patient_id"
    image_pattern: str = "{dataset_index}.*"
    class_map: Path | None = None
    eye_images: str = "all"


def read_source(source: Source) -> tuple["pd.DataFrame", Problems]:
    """The samples (see samples.collect) and the rows that cannot be used.

    split is "" where no table says it. Raises ValueError where a whole table cannot be used.
    """
    import pandas as pd

    problems: Problems = []
    frame = _read_one(source, source.table, problems)
    if source.test_table is not None:
        found: Problems = []
        tests = _read_one(source, source.test_table, found)
        frame = pd.concat([frame.assign(split="train"), tests.assign(split="test")], ignore_index=True).fillna("")
        problems += [{**problem, "reason": f"{source.test_table.name}: {problem['reason']}"} for problem in found]
        twice = frame.index[frame["sample_id"].duplicated()]
        if len(twice):
            raise ValueError(
                f"{source.test_table}: {len(twice)} samples are in {source.table.name} too (the first in line "
                f"{frame.loc[twice[0], 'row_left'] or frame.loc[twice[0], 'row_right']}); keep each in one table."
            )
    if not len(frame):
        first = f" Line {problems[0]['row']}: {problems[0]['reason']}." if problems else ""
        raise ValueError(f"{source.table}: no row can be used.{first}")
    return frame, problems


def _read_one(source: Source, table: Path, problems: Problems) -> "pd.DataFrame":
    rows = READERS[source.kind](source, table, problems)
    return collect(rows, source.image_root, source.eye_images, problems)
