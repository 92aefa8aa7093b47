"""A checkpoint as a file: tensors and plain values, whole or not at all, of one training run alone."""

import hashlib
from pathlib import Path
from typing import IO, Any, cast

from retclip.core.io import atomic
from retclip.core.logs import log

DIGEST_BYTES = 32
READ_BYTES = 2**20


class _Hashed:
    """A file that is written from its begin to its end, and the SHA-256 of what was."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream, self.sha256 = stream, hashlib.sha256()

    def write(self, content: bytes) -> int:
        """Appends; returns the number of bytes."""
        self.sha256.update(content)
        return self.stream.write(content)

    def flush(self) -> None:
        """As torch.save asks for at the end."""
        self.stream.flush()


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Writes tensors and plain Python values, whole or not at all, with the key of the training they belong to, and
    the SHA-256 of all that as the file's end: torch.load takes a wrong byte among the weights for a weight."""
    import torch

    with atomic(path) as temporary, temporary.open("wb") as stream:
        hashed = _Hashed(stream)
        torch.save({**content, "key": path.parent.name}, cast("IO[bytes]", hashed))
        stream.write(hashed.sha256.digest())


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """The saved content on the CPU; None, with a line in the log, if it is damaged or of another training run.

    Its tensors are read from the file as they are used, so that host memory holds them once.
    """
    import torch

    if not path.is_file():
        return None
    if not _is_whole(path):
        log(f"the saved {path.name} is damaged; doing without it")
        return None
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if content["key"] != path.parent.name:
        log(f"the saved {path.name} belongs to another training run; doing without it")
        return None
    return content


def _is_whole(path: Path) -> bool:
    """Whether the file ends with the digest of all before it."""
    length = path.stat().st_size - DIGEST_BYTES
    sha256 = hashlib.sha256()
    with path.open("rb") as stream:
        while length > 0 and (part := stream.read(min(length, READ_BYTES))):
            sha256.update(part)
            length -= len(part)
        return stream.read() == sha256.digest()
