"""JSON documents as dataclasses: built from parsed JSON by their annotations, and plain JSON again, key by key.

A field bears the name of its key; what else there is to say of it stands in its metadata.
"""

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar, Union, get_args, get_origin, get_type_hints

from retclip.core.io import read_json
from retclip.core.schemas import check

Kind = TypeVar("Kind")
Convert = Callable[[Any], Any]


# Metadata of a field whose key may be absent: then it is None, and absent again in the file.
OPTIONAL = {"optional": True}
# Metadata of a field with all keys of the file that no other field has, at its place among them.
OTHERS = {"others": True}


class Document:
    """Of a dataclass that is a whole file: reading and writing it, checked against the schema SCHEMA."""

    SCHEMA: ClassVar[str]

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """The file. Raises ValueError in one sentence where it is missing, broken or of another version."""
        return cls.from_dict(read_json(path), str(path))

    @classmethod
    def from_dict(cls, document: Any, origin: str) -> Self:
        """The parsed file. Raises ValueError, naming `origin` and the key, where it breaks the schema."""
        cls._check(document, origin)
        return build(cls, document)

    def to_dict(self) -> dict[str, Any]:
        """The content of the file. Raises ValueError, naming the key, where it breaks the schema."""
        document: dict[str, Any] = plain(self)
        check(document, self.SCHEMA, f"{self.SCHEMA}.json")
        return document

    @classmethod
    def _check(cls, document: Any, origin: str) -> None:
        check(document, cls.SCHEMA, origin)


def key_of(one: "Field[Any]") -> str:
    """A field's name in the file."""
    key: str = one.metadata.get("key", one.name)
    return key


def build(kind: type[Kind], value: Mapping[str, Any]) -> Kind:
    """The dataclass `kind` of a document, which has been checked against its schema; lists become tuples."""
    known = {key_of(one) for one in fields(kind) if not one.metadata.get("others")}  # type: ignore[arg-type]
    given: dict[str, Any] = {}
    for one, convert in _converters(kind):  # type: ignore[arg-type]
        if one.metadata.get("others"):
            given[one.name] = {key: convert(entry) for key, entry in value.items() if key not in known}
            known |= value.keys()
        elif key_of(one) in value:
            given[one.name] = convert(value[key_of(one)])
        else:
            assert one.default is not MISSING, f"{kind.__name__} lacks {key_of(one)}"
    assert value.keys() <= known, f"{kind.__name__} knows no {', '.join(value.keys() - known)}"
    return kind(**given)


def plain(value: Any) -> Any:
    """The document again, as it stands in the file."""
    if is_dataclass(value):
        document: dict[str, Any] = {}
        for one in fields(value):
            entry = getattr(value, one.name)
            if one.metadata.get("others"):
                document |= plain(entry)
            elif entry is not None or not one.metadata.get("optional"):
                document[key_of(one)] = plain(entry)
        return document
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, list | tuple) else value


@cache
def _converters(kind: type) -> list[tuple["Field[Any]", Convert]]:
    hints = get_type_hints(kind)
    # of `others`, each value is converted by itself
    return [
        (one, _converter(get_args(hints[one.name])[1] if one.metadata.get("others") else hints[one.name]))
        for one in fields(kind)
    ]


def _converter(hint: Any) -> Convert:
    """From parsed JSON to what a field is annotated with: dataclasses, tuples and mappings of them, or as it is."""
    if is_dataclass(hint):
        return lambda value: build(hint, value)  # type: ignore[arg-type]
    if get_origin(hint) in (Union, types.UnionType):
        inner = next(_converter(one) for one in get_args(hint) if one is not type(None))
        return lambda value: None if value is None else inner(value)
    if get_origin(hint) is tuple:
        entry = _converter(get_args(hint)[0])
        return lambda value: tuple(entry(one) for one in value)
    if get_origin(hint) in (dict, Mapping):
        inner = _converter(get_args(hint)[1])
        return lambda value: {key: inner(one) for key, one in value.items()}
    return lambda value: value
