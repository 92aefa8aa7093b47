"""What the config's check and the workflow ask of a form of data: each module of data/sources declares it.

They may not import those modules, and read it here, out of the schema that is made of the declarations
(make reference).
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

from retclip.core import schemas


@dataclass(frozen=True, kw_only=True)
class SourceFacts:
    """What is true of a form of data.

    keys: groups of keys of `data`, of which exactly one must be given beside manifest. columns: groups of columns, of
    which the table needs one. reads: all columns that it knows, which data.columns may declare. labels: columns that
    hold labels, to count them for the plan. image_pattern: of the image files, where data.image_pattern gives none.
    has_patients: they stand in a column of its own, and data.patient_id says nothing. holds_images: the manifest is a
    folder of files that hold their images themselves. is_drawn: the images are drawn, so nothing of the user's is read.
    """

    keys: tuple[tuple[str, ...], ...] = ()
    columns: tuple[tuple[str, ...], ...] = ()
    reads: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    image_pattern: str | None = None
    has_patients: bool = False
    holds_images: bool = False
    is_drawn: bool = False

    def knows(self, key: str) -> bool:
        """Does this form of data read data.{key}?"""
        return any(key in group for group in self.keys)


@cache
def all_source_facts() -> dict[str, SourceFacts]:
    """data.source -> what is true of it."""
    declared = schemas.load("config")["properties"]["data"]["properties"]["source"]["x-facts"]
    return {name: SourceFacts(**{fact: _tuples(value) for fact, value in facts.items()})
            for name, facts in declared.items()}  # fmt: skip


def source_facts(source: str) -> SourceFacts:
    """What is true of a data.source that the schema knows."""
    return all_source_facts()[source]


def _tuples(value: Any) -> Any:
    """Lists of a YAML file as tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
