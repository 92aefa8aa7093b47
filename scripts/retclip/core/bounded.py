"""Files of strangers, read within bounds that are checked before memory is taken: text, lines, YAML."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TextIO

# Of class prompts, class maps and the JSON files of models; a tokenizer's vocabulary is the largest by far.
MOST_TEXT_BYTES = 64 << 20
MOST_YAML_BYTES = 4 << 20
# Entries of a YAML file once its aliases are written out: a kilobyte of them can stand for more than any memory holds.
MOST_ENTRIES = 100_000
TEXT = "tag:yaml.org,2002:str"
SIGNS = ("tag:yaml.org,2002:merge", "tag:yaml.org,2002:value")  # of YAML's that may stand for a key


def open_plain(path: str | os.PathLike[str]) -> BinaryIO | None:
    """The file, to be read; None where it is a pipe, for which nobody waits, a device or a folder. Raises OSError, or
    ValueError for what no path can be, as open does."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return open(handle, "rb")
    os.close(handle)
    return None


def read_text(path: str | Path, most_bytes: int = MOST_TEXT_BYTES) -> str:
    """The text of a file in UTF-8. Raises ValueError where it is no plain file (nobody waits for a pipe), too large, or
    not in UTF-8; FileNotFoundError where it is missing."""
    try:
        stream = open_plain(path)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error}).") from None
    if stream is None:
        raise ValueError(f"{path}: is a pipe, a device or a folder; give a file.")
    with stream:
        size = os.fstat(stream.fileno()).st_size
        if size > most_bytes:
            raise ValueError(f"{path}: has {size >> 20} MB; such a file has at most {most_bytes >> 20} MB.")
        content = stream.read()
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not in UTF-8 ({error.reason} at byte {error.start}).") from None


def read_yaml(path: str | Path, named: bool = False) -> Any:
    """The content of a YAML file. named: its first level has names for keys, as they are written: else YAML makes false
    of No, and a number of 0.

    Raises ValueError where it is missing, none, or a bomb of aliases, or where a key stands twice in a mapping: YAML's
    readers drop the first.
    """
    import yaml

    try:
        # the faster one in C ends the process where a file is nested too deeply
        loader = yaml.SafeLoader(read_text(path, MOST_YAML_BYTES))
        node = loader.get_single_node()
        for key, _ in node.value if named and isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and key.tag not in SIGNS:
                key.tag = TEXT
        _refuse_repeated(loader, node, path, set())
        content = loader.construct_document(node) if node else None
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ValueError(f"{path}: cannot be read as YAML ({line}{error.problem}).") from None
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: cannot be read as YAML ({str(error).splitlines()[0]}).") from None
    except RecursionError:
        raise ValueError(f"{path}: cannot be read as YAML (it is nested too deeply).") from None
    refuse_bomb(content, str(path))
    return content


def _refuse_repeated(loader: Any, node: Any, path: str | Path, seen: set[int]) -> None:
    """Raises ValueError where a mapping of parsed YAML has a key twice. seen: nodes that need no second look."""
    if node is None or isinstance(node.value, str) or id(node) in seen:
        return
    seen.add(id(node))
    lines: dict[Any, int] = {}
    for entry in node.value:
        key, value = entry if isinstance(entry, tuple) else (None, entry)
        if key is not None and isinstance(key.value, str):
            # 0, 0.0 and false are one key to Python; << and = are no values
            name = key.value if key.tag in SIGNS else loader.construct_object(key)
            line = key.start_mark.line + 1
            if name in lines:
                raise ValueError(
                    f"{path}: line {line}: the key {key.value[:40]} stands in line {lines[name]} already, and only one "
                    "of them would be read; write them as one."
                )
            lines[name] = line
        _refuse_repeated(loader, value, path, seen)


def refuse_bomb(content: Any, origin: str) -> None:
    """Raises ValueError where parsed YAML is larger than MOST_ENTRIES once its aliases are written out, or within
    itself."""
    if _entries(content, {}, ()) > MOST_ENTRIES:
        raise ValueError(f"{origin}: has more than {MOST_ENTRIES:,} entries once its aliases are written out.")


def _entries(value: Any, known: dict[int, int], within: tuple[int, ...]) -> int:
    """How many entries a value has, each alias counted as often as it stands there. known: of what was counted."""
    if not isinstance(value, dict | list | tuple | set):
        return 1
    if id(value) in within or len(within) > 50:
        return MOST_ENTRIES + 1
    if id(value) not in known:
        inner = [*value.keys(), *value.values()] if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_entries(entry, known, (*within, id(value))) for entry in inner)
    return known[id(value)]


def lines_of(stream: TextIO, path: Path, longest: int) -> Iterator[str]:
    """The lines of a text file, in their order. Raises ValueError where one is longer."""
    number = 0
    while line := stream.readline(longest + 1):
        number += 1
        if len(line) > longest:
            raise ValueError(
                f"{path}: line {number} has more than {longest:,} letters; is a quote or a line end missing?"
            )
        yield line
