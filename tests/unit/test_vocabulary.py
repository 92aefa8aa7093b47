"""One word for one thing: what a person reads, and the names in the code, hold no word that the project has replaced.

Searched are comments, docstrings and messages, the report's templates, the configuration and the documentation. Not
searched are names that files are read by: keys of JSON and columns of CSV, flags, and paths.
"""

import ast
import fnmatch
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import REPOSITORY

# Word, as a regular expression -> what to say in its place. Case and line breaks do not count.
WORDS = {
    r"towers?": "image encoder, text encoder",
    r"pictures?": "image",
    r"experts?": "prompt ensemble",
    r"trainings": "trials or training runs",
    r"(?:a|each|one|every|another|final|this|no) training(?= ?[.,;:)]| (?:is|was|has|that|may|ends|of|with|on|in)\b)":
        "trial or training run",
    r"recipes?": "trial specification, or tuned configuration",
    r"winners?": "tuned configuration",
    r"default config": "baseline",
    r"(?:data )?from elsewhere": "external data set",
    r"cautions?": "limitations",
    r"cannot be said": "limitations: say what the data do not show",
    r"can be said": "say it",
    r"flatter(?:s|ed|ing)?": "optimistic bias",
    r"optimism gap": "optimistic bias",
    r"real differences?|for real|for sure": "statistically significant at 5 %, or not significant",
    r"(?:was|were|is|are) opened for|openings?": "test-set evaluations",
    r"what was asked": "experimental setup",
    r"texts of others": "negative control (shuffled reports)",
    r"go(?:es)? on": "resumes, or continues",
    r"95 % intervals?": "95 % CI",
    r"nought": "zero",
    r"anew": "again",
    r"whom no choice has seen": "leave it out",
    r"\w*colour\w*": "color",
    r"gr[e]y\w*": "gray",
    r"\w*(?:normal|optim|util|standard|regular|initial|token|serial|general|visual|minim|maxim|recogn)is"
    r"(?:e|es|ed|er|ers|ing|ation|ations)|summari[s]\w*": "the spelling with z",
    r"\w*labell(?:ed|ing|er)": "labeled, labeling",
    r"neighbour\w*|behaviour\w*|licences?|centred?|modelled|modelling": "American spelling",
}  # fmt: skip
# The same of names in code: parts of a name, and whole names.
PARTS = {"tower", "towers", "picture", "pictures", "winner", "winners", "recipe", "recipes", "looks", "elsewhere",
         "cautions", "colour", "colours", "grey", "optimiser", "utilisation", "normalise", "labelled",
         "unlabelled", "trainings"}  # fmt: skip
NAMES = {"told_to_stop", "read_ahead", "keep_less", "say", "asked", "class_features", "_move", "_recolour_", "turns"}
# (word, file) -> why the word is right there; the file is a pattern below the repository.
ALLOWED = {
    ("recipe", "CONTRIBUTING.md"): "how to add a thing to the house, step by step",
    ("recipe", "tests/README.md"): "the test that follows those steps",
    ("recipe", "CHANGELOG.md"): "CONTRIBUTING's",
    **{
        (word, f"scripts/retclip/demo/{name}.py"): "the demo's sentences are data: other words are other numbers"
        for word in ("colour", "grey", "centre", "neighbour")
        for name in ("reports", "text_encoders")
    },
    ("_build_vision_tower", "scripts/retclip/models/image_encoder.py"): "open_clip's name",
    ("modelling", "scripts/retclip/demo/text_encoders.py"): "masked-language modelling, as BERT's authors spell it",
}
# Room of the house -> its files.
ROOMS = {
    **{room: (f"scripts/retclip/{room}/**/*",) for room in (
        "core", "metrics", "data", "demo", "search", "report", "loading", "models", "evaluation", "training")},
    "entries": ("scripts/*.py", "scripts/*.sh"),
    "rules": ("Snakefile", "rules/**/*", "Makefile", "slurm/*", "local/*", "envs/*.sh"),
    "config": ("config/*.yaml", "config/schema/*.yaml"),
    "documentation": ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "config/README.md", "tests/README.md"),
}  # fmt: skip
# Sentences for the model, which are data: another word there is another number.
DATA = ("config/prompts.yaml", "config/odir_classes.yaml", "*/references.bib")


def searched(room: str) -> list[Path]:
    found = {path for pattern in ROOMS[room] for path in REPOSITORY.glob(pattern) if path.is_file()}
    names = {path: path.relative_to(REPOSITORY).as_posix() for path in found if "__pycache__" not in path.parts}
    return sorted(path for path, name in names.items() if not any(fnmatch.fnmatch(name, data) for data in DATA))


def _named(tree: ast.AST) -> set[int]:
    """Strings that name a key, a column or a flag, by the ids of their nodes: what is compared, looked up or has no
    blank where a key stands."""
    found: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript):
            found |= {id(part) for part in ast.walk(node.slice)}
        elif isinstance(node, ast.Dict):
            found |= {id(key) for key in node.keys}
        elif isinstance(node, ast.Compare):
            found |= {id(part) for side in (node.left, *node.comparators) for part in ast.walk(side)}
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("get", "pop", "add_argument"):
            found |= {id(argument) for argument in node.args}
    written = {id(node) for node in ast.walk(tree) if isinstance(node, ast.Constant) and " " in str(node.value)}
    return found - written


def _written(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of every string that a person may read."""
    keys = _named(tree)
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner | keys:
            yield node.lineno, node.value


def _tokens(text: str, kinds: set[int]) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in kinds:
            yield token.start[0], token.string


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of everything in a file that a person reads."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        yield from _written(ast.parse(text))
        yield from _tokens(text, {tokenize.COMMENT})
    elif path.suffix == ".smk" or path.name == "Snakefile":
        for line, found in _tokens(text, {tokenize.COMMENT, tokenize.STRING}):
            if " " in found:
                yield line, found
    else:
        if path.name == "CHANGELOG.md":  # what earlier versions said of themselves stays
            text = text.split("\n## ")[1]
        yield from enumerate(text.splitlines(), start=1)


def names(path: Path) -> Iterator[tuple[int, str]]:
    """Line and name of everything in a module that has one."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for field in ("id", "name", "arg", "attr", "asname"):
            name = getattr(node, field, None)
            if isinstance(name, str):
                yield getattr(node, "lineno", 0), name


def words_in(text: str) -> list[str]:
    """The replaced words in a text, but for what Jinja computes."""
    plain = " ".join(re.sub(r"\{\{.*?\}\}|\{%.*?%\}|`[^`]*`", " {} ", text, flags=re.DOTALL).split())
    # a word within a path, a flag or a dotted name is a name
    pattern = r"(?<![\w./-])(?:{})(?![\w/-]|\.\w)"
    return re.findall(pattern.format(f"(?:{'|'.join(WORDS)})"), plain, re.IGNORECASE)


def is_allowed(word: str, path: Path) -> bool:
    name = path.relative_to(REPOSITORY).as_posix()
    return any(allowed in word.lower() and fnmatch.fnmatch(name, where) for allowed, where in ALLOWED)


@pytest.mark.parametrize("room", ROOMS)
def test_no_replaced_word_is_read(room):
    assert searched(room)
    found = {
        f"{path.relative_to(REPOSITORY)}:{line}: {word}"
        for path in searched(room)
        for line, text in texts(path)
        for word in words_in(text)
        if not is_allowed(word, path)
    }
    assert sorted(found) == []


@pytest.mark.parametrize("room", [room for room in ROOMS if room not in ("rules", "config", "documentation")])
def test_no_name_is_a_replaced_word(room):
    found = {
        f"{path.relative_to(REPOSITORY)}:{line}: {name}"
        for path in searched(room)
        if path.suffix == ".py"
        for line, name in names(path)
        if name in NAMES or set(re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())) & PARTS
        if not is_allowed(name, path)
    }
    assert sorted(found) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The winner's pictures", ["winner", "pictures"]),
        ("a final\n    training ends", ["final training"]),
        ("training.gpus and a training run", []),
        ("the 95 % interval", ["95 % interval"]),
        ("{{ run.winners() }} `winner` training runs/ --training-runs", []),
        ("A data set\nfrom elsewhere, initialised anew", ["from elsewhere", "initialised", "anew"]),
    ],
)
def test_words_are_found_where_they_are_read(text, found):
    assert words_in(text) == found
