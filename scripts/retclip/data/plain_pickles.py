"""Pickles of strangers: a tuple of texts, numbers and bytes, and nothing that runs code or takes memory by its word."""

import io
import pickle
import pickletools
from typing import Any

# What such a tuple is written with.
OPCODES = frozenset(
    """PROTO FRAME MARK STOP NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG1 STRING BINSTRING SHORT_BINSTRING
    UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 TUPLE EMPTY_TUPLE TUPLE1 TUPLE2
    TUPLE3 PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET""".split()  # noqa: SIM905
)
IMPORTS = ("GLOBAL", "STACK_GLOBAL", "INST")


class PickleError(Exception):
    """What a pickle holds that is not read."""


def unpickle(value: bytes) -> Any:
    """A tuple of str, int and bytes. Raises ValueError for anything else, before any code of it could run."""
    try:
        _refuse_opcodes(value)
        found = _PlainUnpickler(io.BytesIO(value)).load()
    except PickleError as error:
        raise ValueError(str(error)) from None
    except Exception as error:  # a broken pickle raises nearly anything
        raise ValueError(f"the pickle cannot be read ({type(error).__name__})") from None
    if not isinstance(found, tuple) or not all(type(item) in (str, int, bytes) for item in found):
        raise ValueError("the pickle is not a tuple of texts, numbers and bytes")
    return found


def _refuse_opcodes(value: bytes) -> None:
    """Raises PickleError before a byte of memory is taken on the word of the pickle."""
    for opcode, argument, _ in pickletools.genops(value):
        if opcode.name in IMPORTS:
            return  # the unpickler refuses it by name, at this place
        if opcode.name not in OPCODES:
            raise PickleError(f"the pickle holds more than a tuple of texts, numbers and bytes ({opcode.name})")
        if isinstance(argument, int) and opcode.name.endswith("PUT") and argument > len(value):
            raise PickleError(f"the pickle numbers its parts up to {argument}, but has {len(value)} bytes")


class _PlainUnpickler(pickle.Unpickler):
    """Knows the constants and containers of the pickle format itself; anything to import is refused."""

    def find_class(self, module: str, name: str) -> Any:
        raise PickleError(f"the pickle wants to import {module}.{name}; only plain tuples are read")
