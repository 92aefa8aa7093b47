"""A copy of a finished run that may leave the building: report, tables and models, searched for all that is private.

What is private is read off the run's own files: the ids, texts and image paths of all its data sets, and the places and
patterns of its config. Every file of the copy is searched for each of them.
"""

import html
import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from retclip.core.io import read_json, whole_folder
from retclip.report.privacy import HIDDEN, private_values

PARTS = ("report", "phase1/leaderboard.csv", "phase2/leaderboard.csv", "confirm/leaderboard.csv",
         "encoders/*/leaderboard.csv", "encoders/*/confirm.csv", "final/*/model")  # fmt: skip
IDS = ("patient_id", "sample_id")
PATHS = ("source_left", "source_right")
TOKEN = re.compile(r"[\w.@#~+/-]+")
WORD = re.compile(r"\w+")
# A number of so few digits cannot be told from any other number of a report.
SHORT = re.compile(r"\d{1,5}|.{1,2}")
WINDOW = 6  # words that begin a text
LONGEST_HEADER = 100_000_000


class Secrets(NamedTuple):
    """ids: whole words that no file may hold. texts: by their first words, in small letters. values: of the config.
    unsearched: ids that are short numbers."""

    ids: set[str]
    texts: dict[tuple[str, ...], list[str]]
    values: set[str]
    unsearched: int


def share_run(run_folder: Path, output: Path) -> str:
    """Makes `output`, and returns what was proved in one sentence.

    Raises ValueError, naming the file and what kind of thing it holds but not the thing, and leaves nothing behind.
    """
    record = read_json(run_folder / "run.json")
    secrets = secrets_of(run_folder, record["config"])
    with whole_folder(output) as made:
        count = _copy(run_folder, made)
        if not count:
            raise ValueError(f"{run_folder}: has no report yet, so there is nothing to share; finish the run first.")
        _search(made, secrets, lambda path: "model" in path.relative_to(made).parts)
    return f"{output}: {count} files, {_proved(secrets)}"


def prove(model: Path, run_folder: Path, places: set[str]) -> str:
    """Hides `places` of this machine in a copy of a model, and searches it for what is private in the run that it is
    from; returns what was proved. Raises ValueError, naming file and kind, where something is found."""
    if not (run_folder / "run.json").is_file():
        _search(model, Secrets(set(), {}, places, 0), lambda path: True)
        return "no run.json of its run is there, so nothing of its data could be searched for"
    secrets = secrets_of(run_folder, read_json(run_folder / "run.json")["config"])
    _search(model, secrets._replace(values=secrets.values | places), lambda path: True)
    return _proved(secrets)


def _search(made: Path, secrets: Secrets, hides: Callable[[Path], bool]) -> None:
    """hides: whether a file is one of a model's, in which places are hidden first."""
    for path in sorted(path for path in made.rglob("*") if path.is_file()):
        if hides(path):
            _hide(path, secrets.values)
        if kind := found_in(path, secrets):
            raise ValueError(f"{path.relative_to(made)} holds {kind} of the data; nothing was shared.")


def _proved(secrets: Secrets) -> str:
    told = f"; {secrets.unsearched} ids are short, which no search can tell from other words" * bool(secrets.unsearched)
    return (
        f"with none of {len(secrets.ids)} ids and image paths, "
        f"{sum(map(len, secrets.texts.values()))} texts and {len(secrets.values)} places and patterns in them{told}"
    )


def secrets_of(run_folder: Path, config: dict[str, Any]) -> Secrets:
    """All that the copy may not hold."""
    import pandas as pd

    ids: set[str] = set()
    texts: set[str] = set()
    for table in sorted([*run_folder.glob("data/samples.parquet"), *run_folder.glob("external/*/samples.parquet")]):
        frame = pd.read_parquet(table)
        for column in (*IDS, *PATHS):
            ids |= {str(value) for value in frame.get(column, ())}
        fingerprint = read_json(table.with_name("fingerprint.json"))
        if not fingerprint.get("texts_from_labels"):
            texts |= {str(value) for name in frame if name.startswith("text") for value in frame[name]}
    ids |= {Path(name).stem for name in ids if "/" in name or "." in name}
    ids.discard("")
    short = {name for name in ids if SHORT.fullmatch(name)}
    by_beginning: dict[tuple[str, ...], list[str]] = {}
    prompts = _prompts(run_folder)
    for text in texts:
        words = WORD.findall(text.lower())
        if len(words) >= WINDOW and " ".join(words) not in prompts:
            by_beginning.setdefault(tuple(words[:WINDOW]), []).append(" ".join(words))
    return Secrets(ids - short, by_beginning, private_values(config), len(short))


def found_in(path: Path, secrets: Secrets) -> str:
    """What a file holds that it may not, by kind; "" where nothing is found."""
    content = _text_of(path)
    for form in _forms(secrets.values):
        if form in content:
            return "a place or a pattern"
    if not secrets.ids.isdisjoint(_tokens(content)):
        return "an id or an image path"
    words = WORD.findall(html.unescape(content).lower())
    whole = ""
    for at in range(len(words) - WINDOW + 1):
        for text in secrets.texts.get(tuple(words[at : at + WINDOW]), ()):
            whole = whole or " ".join(words)
            if text in whole:
                return "a text"
    return ""


def _tokens(content: str) -> Iterator[str]:
    """Every word of a file, with and without what it is joined by."""
    for found in TOKEN.finditer(html.unescape(content)):
        token = found[0].rstrip(".")
        yield token
        if "/" in token:
            yield from token.split("/")


def _forms(values: Iterable[str]) -> Iterator[str]:
    """A value as HTML, JSON, YAML and addresses may have it."""
    for value in values:
        yield from {value, html.escape(value), json.dumps(value)[1:-1], quote(value), value.replace("'", "''")}


def _text_of(path: Path) -> str:
    """The text of a file; of weights, what names their tensors."""
    if path.suffix == ".safetensors":
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            return stream.read(min(length, LONGEST_HEADER)).decode("utf-8", "replace")
    if path.suffix == ".pt":
        import zipfile

        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith("data.pkl")]
            return "\n".join(archive.read(name).decode("latin-1") for name in names)
    return path.read_bytes().decode("utf-8", "replace")


def _copy(run_folder: Path, made: Path) -> int:
    for pattern in PARTS:
        for source in sorted(run_folder.glob(pattern)):
            target = made / source.relative_to(run_folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns(".*"))
            else:
                shutil.copyfile(source, target)
    return sum(path.is_file() for path in made.rglob("*")) if (made / "report").is_dir() else 0


def _hide(path: Path, values: set[str]) -> None:
    """Models name where their encoders came from."""
    if path.suffix in (".md", ".json") and path.stat().st_size < 1 << 20:
        content = path.read_text(encoding="utf-8")
        hidden = content
        for value in sorted(values, key=len, reverse=True):
            for form in {value, json.dumps(value)[1:-1], html.escape(value, quote=False)}:
                hidden = hidden.replace(form, HIDDEN)
        if hidden != content:
            path.write_text(hidden, encoding="utf-8")


def _prompts(run_folder: Path) -> set[str]:
    """The class prompts of its models, which are no patient's."""
    found = set()
    for path in run_folder.glob("final/*/model/class_prompts.json"):
        found |= {" ".join(WORD.findall(text.lower())) for texts in read_json(path).values() for text in texts}
    return found
