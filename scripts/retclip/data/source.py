"""What the config says of a table and its images, in one value, and what each form of data declares of itself."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from retclip.core.source_facts import SourceFacts
from retclip.data.image_paths import ImageFolder
from retclip.data.reconciliation import Ledger
from retclip.data.samples import Problems, Row


class Source(NamedTuple):
    """What the config's `data` says of the table and its images; the keys bear the same names there.

    text_columns: further columns that hold texts, which model.text_encoders names. columns: our name -> the table's,
    {one_hot: names, otherwise: class} or {pattern: REGEX}; values: our name -> {cell: what it means}.
    """

    kind: str
    table: Path
    image_root: Path
    test_table: Path | None = None
    patient_id: str = "patient_id"
    image_pattern: str | None = None
    class_map: Path | None = None
    eye_images: str = "all"
    text_columns: tuple[str, ...] = ()
    columns: Mapping[str, Any] = MappingProxyType({})
    values: Mapping[str, Mapping[str, str]] = MappingProxyType({})
    follow_links: bool = False

    def folder_of(self, table: Path) -> ImageFolder:
        """The image root, as paths of one of its tables may lead into it."""
        return ImageFolder(self.image_root, table, self.follow_links)

    def name_of(self, table: Path) -> str:
        """What to call one of its tables where no path may be told."""
        return "the test table" if table == self.test_table else "the table"


@dataclass(frozen=True, kw_only=True)
class SourceForm(SourceFacts):
    """A form of data, as a module of data/sources declares it; the facts are those that core and the workflow read.

    read(source, table or folder, problems, ledger) yields a row for each of the table's, also for one that cannot be
    used, and says in the ledger what it found, by counts of its own; what is no row goes to problems. containers:
    for images inside of other files, scheme -> open(path of the file, what stands behind the ?) -> the image file's
    bytes; such a location is scheme://path?rest, its path below the image root. about_table, about_images: what
    config/README.md says of the table and of the images.
    """

    read: Callable[[Source, Path, Problems, Ledger], Iterator[Row]]
    containers: Mapping[str, Callable[[Path, str], bytes]] = field(default_factory=dict)
    about_table: str = ""
    about_images: str = ""
