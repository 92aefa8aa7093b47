"""Checkpoints on their way to the disk: a GPU computes on while a thread writes them."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from retclip.training.checkpoint_file import save_checkpoint


class Saver:
    """Writes the files of one save at a time, in their order."""

    def __init__(self, device: torch.device) -> None:
        # on a CPU a thread would only take the core that computes
        self._thread = ThreadPoolExecutor(1) if device.type == "cuda" else None
        self._at_work: Future[None] | None = None

    def save(self, files: dict[Path, dict[str, Any]], afterwards: Callable[[], None]) -> None:
        """Saves tensors and plain values under each path as they are now, then calls `afterwards`.

        Raises what the save before raised, e.g. OSError where the disk is full.
        """
        self.finish()
        if self._thread is None:
            _write(files, afterwards)
        else:
            copied = {path: _on_host(content) for path, content in files.items()}
            self._at_work = self._thread.submit(_write, copied, afterwards)

    def finish(self) -> None:
        """Returns when all is on the disk; raises what the last save raised."""
        if self._at_work is not None:
            at_work, self._at_work = self._at_work, None
            at_work.result()


def on_host(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A copy of weights in host memory, which training does not change."""
    copied: dict[str, torch.Tensor] = _on_host(state)
    return copied


def _on_host(content: Any) -> Any:
    match content:
        case torch.Tensor():
            return content.detach().to("cpu", copy=True)
        case dict():
            return {key: _on_host(value) for key, value in content.items()}
        case list():
            return [_on_host(value) for value in content]
    return content


def _write(files: dict[Path, dict[str, Any]], afterwards: Callable[[], None]) -> None:
    for path, content in files.items():
        save_checkpoint(path, content)
    afterwards()
