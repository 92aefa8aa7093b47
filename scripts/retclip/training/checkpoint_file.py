"""A checkpoint as a file: tensors and plain values, whole or not at all, of one training run alone."""

import hashlib
import io
import os
from pathlib import Path
from typing import Any

from retclip.core.io import atomic
from retclip.core.logs import log

DIGEST_BYTES = 32


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Writes tensors and plain Python values, whole or not at all, with the key of the training they belong to, and
    the SHA-256 of all that as the file's end: torch.load takes a wrong byte among the weights for a weight."""
    import torch

    with atomic(path) as temporary:
        torch.save({**content, "key": path.parent.name}, temporary)
        with temporary.open("r+b") as stream:
            digest = hashlib.file_digest(stream, "sha256").digest()
            stream.seek(0, os.SEEK_END)
            stream.write(digest)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """The saved content on the CPU; None, with a line in the log, if it is damaged or of another training run."""
    import torch

    if not path.is_file():
        return None
    whole = path.read_bytes()
    body, digest = memoryview(whole)[:-DIGEST_BYTES], whole[-DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        log(f"the saved {path.name} is damaged; doing without it")
        return None
    content: dict[str, Any] = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    if content["key"] != path.parent.name:
        log(f"the saved {path.name} belongs to another training run; doing without it")
        return None
    return content
