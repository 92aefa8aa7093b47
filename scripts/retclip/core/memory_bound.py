"""How much memory this process may take from here on, on Linux; other systems bound no process so."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STATUS = Path("/proc/self/status")


def bound_memory(most_bytes: int) -> None:
    """Makes whatever takes more than so much beyond what the process has fail, for the rest of its life."""
    if STATUS.is_file():
        words = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmData:")).split()
        most = (int(words[1]) << 10) + most_bytes
        _, highest = resource.getrlimit(resource.RLIMIT_DATA)
        if highest == resource.RLIM_INFINITY or most < highest:
            resource.setrlimit(resource.RLIMIT_DATA, (most, highest))


@contextmanager
def memory_bounded(most_bytes: int) -> Iterator[None]:
    """The same, meanwhile alone: GPUs are given more addresses than any memory has."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    bound_memory(most_bytes)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
