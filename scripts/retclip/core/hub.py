"""One repository of the Hugging Face hub at one revision: fetched, checked, and named."""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from retclip.core.hub_client import COMMIT, SHA256, AnswerError, Watch, watched
from retclip.core.io import file_sha256

# Hub ids, and paths like them, which name their folder themselves: each / becomes --, which occurs in none of them.
_WORD = r"[A-Za-z0-9._]+(?:-[A-Za-z0-9._]+)*"
PLAIN_SOURCE = re.compile(rf"(?!\.)(?=.{{1,150}}\Z)/?{_WORD}(?:/{_WORD})*")
PLAIN_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Snapshot(NamedTuple):
    """Where it lies, the commit that the revision stands for, and the license that its card names."""

    folder: Path
    commit: str
    license: str | None


def fetch_snapshot(
    key: str,
    kind: str,
    source: str,
    revision: str,
    patterns: list[str],
    superseded: dict[str, str] | None = None,
    needed: tuple[tuple[str, ...], ...] = (),
) -> Snapshot:
    """Downloads the files that fit `patterns`; a broken download resumes where it stopped. With HF_HUB_OFFLINE, what
    the client's cache has of them.

    superseded: file -> the file in whose presence it is left out. needed: of each group one file must be in the cache.

    key: the config's key, for messages. kind: model or dataset. HF_ENDPOINT, HF_TOKEN, HF_HOME and the proxy
    variables are the client's. Raises ValueError with one sentence where it cannot be had, where a file has another
    hash than the hub says, or where the hub lists what is no file of a repository.
    """
    import huggingface_hub
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return _cached(key, kind, source, revision, patterns, superseded or {}, needed)
    advice = f"check the name{_endpoint()}, or run this where there is a network."
    with downloading(f"{key}: {source}", advice, version=f" at {revision}") as watch:
        if COMMIT.fullmatch(revision):
            watch.commit = revision
        info: Any = huggingface_hub.HfApi().repo_info(source, repo_type=kind, revision=revision, files_metadata=True)
        listed = info.siblings or []
        watch.files = {entry.rfilename for entry in listed}
        watch.large = {entry.rfilename for entry in listed if entry.lfs is not None}
        _refuse_others(watch, str(info.sha))
        watch.commit = str(info.sha)
        left_out = [old for old, new in (superseded or {}).items() if new in watch.files]
        folder = Path(
            huggingface_hub.snapshot_download(
                source,
                repo_type=kind,
                # by its own name, which the cache then knows without a network, too
                revision=revision if PLAIN_REVISION.fullmatch(revision) else info.sha,
                allow_patterns=patterns,
                ignore_patterns=left_out,
            )
        )
    for entry in listed:
        _compare(key, source, entry, folder)
    card = info.card_data
    return Snapshot(folder, str(info.sha), getattr(card, "license", None) if card else None)


@contextmanager
def downloading(what: str, advice: str, version: str = "") -> Iterator[Watch]:
    """Watches the hub's client while it downloads `what`, whose `version` a sentence names, too.

    Raises ValueError with one sentence and what to do (advice) where nothing came; see watched for what is refused.
    """
    try:
        with watched(what) as watch:
            yield watch
    except AnswerError:
        raise
    except Exception as error:  # each HTTP client has errors of its own; all mean that nothing came
        raise ValueError(f"{what}{version} cannot be downloaded ({_why_nothing_came(error)}); {advice}") from None


def _cached(
    key: str,
    kind: str,
    source: str,
    revision: str,
    patterns: list[str],
    superseded: dict[str, str],
    needed: tuple[tuple[str, ...], ...],
) -> Snapshot:
    """What an earlier download, here or in a cache that was copied here, has left. Raises ValueError naming what it
    lacks."""
    import huggingface_hub
    from huggingface_hub import constants

    cache = constants.HF_HUB_CACHE
    offline = f"{key}: HF_HUB_OFFLINE is set, and the hub's cache {cache}"
    advice = "fetch it where there is a network (make fetch TO=folder), or unset HF_HUB_OFFLINE."
    cached = partial(
        huggingface_hub.snapshot_download, source, repo_type=kind, revision=revision, local_files_only=True
    )
    try:
        folder = Path(cached(ignore_patterns="*"))
    except Exception:  # of the client, in all forms of "it is not there"
        raise ValueError(f"{offline} has no {source} at {revision}; {advice}") from None
    for group in needed:
        if not any((folder / name).is_file() for name in group):
            raise ValueError(f"{offline} lacks {' or '.join(group)} of {source} at {revision}; {advice}")
    left_out = [old for old, new in superseded.items() if (folder / new).is_file()]
    try:  # the client remembers what the hub listed
        cached(allow_patterns=patterns, ignore_patterns=left_out)
    except Exception as error:
        named = re.search(r"missing \((.{1,150})", str(error))
        what = named[1].partition(")")[0] if named else first_line(error)
        raise ValueError(f"{offline} lacks {what} of {source} at {revision}; {advice}") from None
    for path in (path for path in folder.rglob("*") if path.is_symlink()):
        # the client calls a large file by its hash
        blob = path.resolve()
        if SHA256.fullmatch(blob.name) and file_sha256(blob) != blob.name:
            raise ValueError(f"{offline} has a damaged {path.name} of {source}; delete {blob}, and {advice}")
    return Snapshot(folder, folder.name, None)


def _endpoint() -> str:
    """Where downloads come from, if that is not the hub itself."""
    own = os.environ.get("HF_ENDPOINT")
    return f" and HF_ENDPOINT={own[:60]}" if own else ""


def hub_folder_name(source: str, revision: str) -> str:
    """The name of the folder for a source at a revision: one name each, and never a path or a wildcard.

    Whatever is no ordinary hub id, path or revision bears a hash, since two of them may look alike.
    """
    slug = source.replace("/", "--") if PLAIN_SOURCE.fullmatch(source) else _hashed(source)
    return f"{slug}@{revision if PLAIN_REVISION.fullmatch(revision) else _hashed(revision)}"


def _hashed(text: str) -> str:
    readable = re.sub("[^A-Za-z0-9._-]+", "--", text).lstrip(".")[:60] or "other"
    return f"{readable}~{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:12]}"


def _refuse_others(watch: Watch, commit: str) -> None:
    """Raises AnswerError for another commit than was asked for, and for a file outside of the repository."""
    if not COMMIT.fullmatch(commit):
        raise AnswerError(f"{watch.what}: the hub calls its commit {commit[:60]!r}, which is none; check HF_ENDPOINT.")
    if watch.commit not in (None, commit):
        raise AnswerError(f"{watch.what}: commit {watch.commit} was asked for, and the hub gives {commit}.")
    for name in sorted(watch.files or ()):
        if os.path.isabs(name) or ".." in Path(name).parts or "\0" in name:
            raise AnswerError(f"{watch.what} lists a file outside of itself ({name[:60]!r}); do not trust this source.")


def _compare(key: str, source: str, entry: Any, folder: Path) -> None:
    """Raises ValueError, and deletes the file, where it is not what the listing says."""
    path = folder / entry.rfilename
    if not path.is_file():
        return
    if entry.lfs is not None:
        kind, is_it = "SHA-256", file_sha256(path) == entry.lfs.sha256
    else:  # a mirror may not tell
        kind, is_it = "SHA-1 of git", entry.blob_id is None or _git_sha1(path) == entry.blob_id
    if not is_it:
        broken = path.resolve()
        path.unlink()
        if broken.is_relative_to(folder.resolve().parents[1]):  # the client's cache of this repository
            broken.unlink(missing_ok=True)
        raise ValueError(
            f"{key}: {entry.rfilename[:60]} of {source} is not what the hub says it is ({kind}); it was deleted, "
            "run again to fetch it."
        )


def _git_sha1(path: Path) -> str:
    """Of git's blob: what names a file that it keeps."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def is_hub_id(source: str) -> bool:
    """owner/name; whatever starts otherwise, or is of another depth, is meant as a folder."""
    return not source.startswith((".", "/", "~")) and source.count("/") == 1


def _why_nothing_came(error: Exception) -> str:
    """Short enough for a sentence."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return f"HF_HUB_OFFLINE is set, and the hub's cache {constants.HF_HUB_CACHE} lacks them"
    return first_line(error)


def first_line(error: Exception) -> str:
    """What an error says, short enough for a sentence."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
