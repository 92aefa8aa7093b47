"""What of our code a rule depends on, as one hash: editing a comment reruns nothing, a real edit reruns
exactly the rules that use it."""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2]
# A training run reads what is declared here, but not what it is called: the page, which shows that, has a hash of whole
# files beside that of its code (rules/report.smk).
DECLARATIONS = ("retclip/core/hyperparameters.py", "retclip/metrics/registry.py")
WORDS = ("label", "about", "unit")
# The modules of this folder declare forms of data, which config/README.md describes in these words of theirs.
SOURCES, SOURCE_WORDS = "retclip/data/sources", ("about_table", "about_images")


def code_hash(entry: str) -> str:
    """16 hex digits over the syntax trees of scripts/{entry}.py and every module of ours that it imports,
    directly or through another, wherever in the file the import stands. Docstrings and comments do not count, nor
    do WORDS in DECLARATIONS, nor what a SourceForm says about itself.
    """
    digest = hashlib.sha256()
    for path in modules_of(entry):
        digest.update(f"{path.relative_to(SCRIPTS)}\n{_tree(path)}\n".encode())
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


@cache
def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@cache
def _tree(path: Path) -> str:
    tree = _parse(path)
    name = path.relative_to(SCRIPTS)
    if name.as_posix() in DECLARATIONS:
        _drop_keywords(tree, None, WORDS)
    elif name.parent.as_posix() == SOURCES:
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


@cache
def _imports(path: Path) -> tuple[Path, ...]:
    """The files of ours that it names. Whoever imports a package as such, reads all of its modules."""
    modules: list[str] = []
    named: list[str] = []
    for node in _statements(_parse(path)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("retclip"):
            modules.append(node.module)
            named.extend(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            named.extend(alias.name for alias in node.names if alias.name.startswith("retclip"))
    places = [SCRIPTS.joinpath(*name.split(".")) for name in modules + named]
    files = [place.with_suffix(".py") for place in places]
    for package in places[len(modules) :]:
        files += sorted(package.glob("*.py"))
    return tuple(file for file in files if file.is_file() and file != path)
