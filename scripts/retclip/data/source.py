"""What the config says of a table and its images, in one value."""

from pathlib import Path
from typing import NamedTuple


class Source(NamedTuple):
    """What the config's `data` says of the table and its pictures; the keys bear the same names there.

    text_columns: further columns that hold texts, which model.text_encoders names.
    """

    kind: str
    table: Path
    image_root: Path
    test_table: Path | None = None
    patient_id: str = "patient_id"
    image_pattern: str = "{dataset_index}.*"
    class_map: Path | None = None
    eye_images: str = "all"
    text_columns: tuple[str, ...] = ()

    def name_of(self, table: Path) -> str:
        """What to call one of its tables where no path may be told."""
        return "the test table" if table == self.test_table else "the table"
