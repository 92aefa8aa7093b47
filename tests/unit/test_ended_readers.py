"""Where an image ends the process that reads it, every other image is still read, once."""

import os
import signal
import time

import pytest

from retclip.data.working_store import IMAGES_PER_TASK, KILLED, _in_processes

COUNT, BAD = 10 * IMAGES_PER_TASK, IMAGES_PER_TASK + 3


def work(tasks):
    """As _prepare; what is bad ends the process, and comes with the second task."""
    if any(number == BAD for _, number in tasks):
        os.kill(os.getpid(), signal.SIGKILL)
    return [(name, b"", "", None, "read") for name, _ in tasks]


@pytest.mark.slow
def test_no_image_is_lost_or_read_twice_where_one_ends_its_process():
    """The pool breaks while somebody takes the first results, so that it is given more when it is broken."""
    found = []
    for results in _in_processes(work, ((f"image {number}", number) for number in range(COUNT)), threads=1):
        found += results
        if len(found) == IMAGES_PER_TASK:
            time.sleep(1)
    assert sorted(name for name, *_ in found) == sorted(f"image {number}" for number in range(COUNT))
    assert [name for name, *_, reason in found if reason == KILLED] == [f"image {BAD}"]
