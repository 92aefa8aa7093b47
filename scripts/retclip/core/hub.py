"""One repository of the Hugging Face hub at one revision: fetched, checked, and named."""

from pathlib import Path
from typing import Any, NamedTuple

from retclip.core.files import file_sha256


class Snapshot(NamedTuple):
    """Where it lies, the commit that the revision stands for, and the licence that its card names."""

    folder: Path
    commit: str
    licence: str | None


def fetch_snapshot(
    key: str, kind: str, source: str, revision: str, patterns: list[str], superseded: dict[str, str] | None = None
) -> Snapshot:
    """Downloads the files that fit `patterns`; a broken download goes on where it stopped.

    superseded: file -> the file in whose presence it is left out.

    key: the config's key, for messages. kind: model or dataset. HF_ENDPOINT, HF_TOKEN, HF_HOME and the proxy
    variables are the client's. Raises ValueError with one sentence where it cannot be had, or where a file has
    another hash than the hub says.
    """
    import huggingface_hub

    try:
        info: Any = huggingface_hub.HfApi().repo_info(source, repo_type=kind, revision=revision, files_metadata=True)
        there = {entry.rfilename for entry in info.siblings or []}
        left_out = [old for old, new in (superseded or {}).items() if new in there]
        folder = Path(
            huggingface_hub.snapshot_download(
                source, repo_type=kind, revision=info.sha, allow_patterns=patterns, ignore_patterns=left_out
            )
        )
    except Exception as error:  # each HTTP client has errors of its own; all mean that nothing came
        raise ValueError(
            f"{key}: {source} at {revision} cannot be downloaded ({first_line(error)}); "
            "check the name, or run this where there is a network."
        ) from None
    for entry in info.siblings or []:
        path = folder / entry.rfilename
        if entry.lfs is not None and path.is_file() and file_sha256(path) != entry.lfs.sha256:
            broken = path.resolve()
            path.unlink()
            broken.unlink(missing_ok=True)
            raise ValueError(
                f"{key}: {entry.rfilename} of {source} is not what the hub says it is (SHA-256); it was deleted, "
                "run again to fetch it anew."
            )
    card = info.card_data
    return Snapshot(folder, str(info.sha), getattr(card, "license", None) if card else None)


def is_hub_id(source: str) -> bool:
    """owner/name; whatever starts otherwise, or is deeper or flatter, is meant as a folder."""
    return not source.startswith((".", "/", "~")) and source.count("/") == 1


def first_line(error: Exception) -> str:
    """What an error says, short enough for a sentence."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
