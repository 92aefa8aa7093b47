"""What of our code a rule depends on, as one hash: editing a comment reruns nothing, a real edit reruns
exactly the rules that use it."""

import ast
import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.util import cache_from_source
from pathlib import Path
from typing import NamedTuple

from retclip.core.io import atomic

SCRIPTS = Path(__file__).resolve().parents[2]
# A training run reads what is declared here, but not what it is called: the page, which shows that, has a hash of whole
# files beside that of its code (rules/report.smk).
DECLARATIONS = ("retclip/core/hyperparameters.py", "retclip/metrics/registry.py")
WORDS = ("label", "about", "unit")
# The modules of this folder declare forms of data, which config/README.md describes in these words of theirs.
SOURCES, SOURCE_WORDS = "retclip/data/sources", ("about_table", "about_images")


class Module(NamedTuple):
    """What is known of a file of ours: the hash of its syntax tree, and what of ours it names in its imports."""

    tree: str
    modules: list[str]
    named: list[str]


def code_hash(entry: str) -> str:
    """16 hex digits over the syntax trees of scripts/{entry}.py and every module of ours that it imports,
    directly or through another, wherever in the file the import stands. Docstrings and comments do not count, nor
    do WORDS in DECLARATIONS, nor what a SourceForm says about itself.
    """
    digest = hashlib.sha256()
    for path in modules_of(entry):
        digest.update(f"{path.relative_to(SCRIPTS)}\n{_module(path).tree}\n".encode())
    _remember()
    return digest.hexdigest()[:16]


@cache
def modules_of(entry: str) -> tuple[Path, ...]:
    """The files of ours that scripts/{entry}.py consists of, sorted, itself included."""
    seen: set[Path] = set()
    waiting = [SCRIPTS / f"{entry}.py"]
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            waiting.extend(_imports(path))
    return tuple(sorted(seen))


# Parsing all files takes as long as reading the whole workflow, and on a cluster every job begins with it: what was
# found is kept beside Python's own compiled files, and is good for a file of the very same bytes.


@cache
def _module(path: Path) -> Module:
    memory, name, content = _memory(), path.relative_to(SCRIPTS).as_posix(), path.read_bytes()
    digest = hashlib.sha256(_own_source() + content).hexdigest()
    if name not in memory or memory[name][0] != digest:
        tree = ast.parse(content, filename=str(path))
        imports = _names(tree)
        memory[name] = [digest, [hashlib.sha256(_normal(tree, name).encode()).hexdigest(), *imports]]
        _new.add(name)
    return Module(*memory[name][1])


_new: set[str] = set()


@cache
def _own_source() -> bytes:
    return Path(__file__).read_bytes()


def _memory_path() -> Path:
    return Path(cache_from_source(str(SCRIPTS / "code_hash.py"))).with_suffix(".json")


@cache
def _memory() -> dict[str, list]:
    """Name of a file -> the hash of its bytes, and what is known of it. Empty where there is none yet."""
    with suppress(OSError, ValueError):
        return json.loads(_memory_path().read_text(encoding="utf-8"))
    return {}


def _remember() -> None:
    """Where Python may keep its own compiled files."""
    if _new and not sys.dont_write_bytecode:
        with suppress(OSError, ValueError):
            _memory_path().parent.mkdir(exist_ok=True)
            with atomic(_memory_path()) as temporary:
                temporary.write_text(json.dumps(_memory()), encoding="utf-8")
    _new.clear()


def _normal(tree: ast.Module, name: str) -> str:
    """The code of the file scripts/{name} in one form, without what does not count."""
    if name in DECLARATIONS:
        _drop_keywords(tree, None, WORDS)
    elif name.rpartition("/")[0] == SOURCES:
        _drop_keywords(tree, "SourceForm", SOURCE_WORDS)
    for node in _statements(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:]
    return ast.unparse(tree)  # not ast.dump: its form changes between versions of Python


def _drop_keywords(tree: ast.Module, called: str | None, words: tuple[str, ...]) -> None:
    """Takes the keyword arguments `words` out of all calls of `called`; of every call where that is None."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (called is None or getattr(node.func, "id", "") == called):
            node.keywords = [keyword for keyword in node.keywords if keyword.arg not in words]


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """The node and every statement in it, at any depth; unlike ast.walk without the expressions, most of a tree."""
    yield node
    for block in ("body", "orelse", "handlers", "cases", "finalbody"):
        for statement in getattr(node, block, ()):
            yield from _statements(statement)


def _names(tree: ast.Module) -> tuple[list[str], list[str]]:
    """What of ours it imports from, and every name that it imports."""
    modules: list[str] = []
    named: list[str] = []
    for node in _statements(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("retclip"):
            modules.append(node.module)
            named.extend(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            named.extend(alias.name for alias in node.names if alias.name.startswith("retclip"))
    return modules, named


@cache
def _imports(path: Path) -> tuple[Path, ...]:
    """The files of ours that it names. Whoever imports a package as such, reads all of its modules."""
    _, modules, named = _module(path)
    places = [SCRIPTS.joinpath(*name.split(".")) for name in modules + named]
    files = [place.with_suffix(".py") for place in places]
    for package in places[len(modules) :]:
        files += sorted(package.glob("*.py"))
    return tuple(file for file in files if file.is_file() and file != path)
