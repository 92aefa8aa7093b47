"""The process whose forks are the jobs of a run (fork_client.py says when, and what a job's command does)."""

import json
import os
import runpy
import selectors
import signal
import socket
import sys
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import NamedTuple

from retclip.core.fork_client import PASSED_ON, is_ours

# What a shell sets in each job, and what libraries read when they need it, not when they are imported; and Slurm's,
# which say in each step which one it is.
OF_ITS_OWN = {"_", "SHLVL", "PWD", "OLDPWD", "TMPDIR", "TMP", "TEMPDIR", "TEMP"}
OF_SLURM = ("SLURM", "SRUN_")


class Job(NamedTuple):
    """What a job's command asked for: a script and its arguments, its variables and its working folder."""

    command: list[str]
    environment: dict[str, str]
    folder: str


class _Fork(NamedTuple):
    """A fork at work, a descriptor that tells when it ends, and the link to the command that asked for it."""

    process: ForkProcess
    ended: int
    link: socket.socket


def serve(listening: socket.socket, parent: int, environment: dict[str, str]) -> None:
    """Forks for each job that asks, until the process `parent` is gone and all forks have ended.

    environment: the variables with which all was imported; a job with others gets no fork.
    """
    try:
        gone = os.pidfd_open(parent)
    except OSError:  # it had no more to do than to import takes, or the kernel is older than Linux 5.3
        listening.close()
        return
    waiting = selectors.DefaultSelector()
    for end in (listening, gone):
        waiting.register(end, selectors.EVENT_READ)
    while waiting.get_map():
        key, _ = waiting.select()[0]  # one at a time: what it closes is not looked at again
        fork = key.data
        if key.fileobj is listening:
            _start(listening, waiting, environment)
        elif key.fileobj is gone:
            waiting.unregister(gone)
            os.close(gone)
            waiting.unregister(listening)
            listening.close()
        elif key.fileobj is fork.link:  # the command was killed
            waiting.unregister(fork.link)
            fork.process.kill()
        else:
            _report(fork, waiting)


def _start(listening: socket.socket, waiting: selectors.BaseSelector, environment: dict[str, str]) -> None:
    """Forks for the command that asks next, and tells it the process."""
    link, _ = listening.accept()
    if not is_ours(link):
        link.close()
        return
    streams, job = _read(link)
    if job is None or not _same(job.environment, environment):
        with suppress(OSError):
            link.sendall(b"0\n")
        link.close()
    else:
        inherited = [link, *(entry.fileobj for entry in waiting.get_map().values())]
        process = get_context("fork").Process(target=_run, args=(job, streams, inherited, environment))
        process.start()
        assert process.pid is not None
        fork = _Fork(process, os.pidfd_open(process.pid), link)
        with suppress(OSError):
            link.sendall(f"{process.pid}\n".encode())
        for end in (link, fork.ended):
            waiting.register(end, selectors.EVENT_READ, fork)
    for stream in streams:
        os.close(stream)


def _report(fork: _Fork, waiting: selectors.BaseSelector) -> None:
    """Tells the command how its fork ended."""
    fork.process.join()
    with suppress(OSError):
        fork.link.sendall(f"{fork.process.exitcode}\n".encode())
    for end in (fork.link, fork.ended):
        with suppress(KeyError):
            waiting.unregister(end)
        _close(end)


def _run(job: Job, streams: list[int], inherited: list[object], environment: dict[str, str]) -> None:
    """Runs the job's script in this fork, as Python begins one. Its end takes no library down, which lasts a second."""
    for end in inherited:
        _close(end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    for name in environment.keys() - job.environment.keys():
        os.environ.pop(name, None)
    os.environ.update(job.environment)
    os.chdir(job.folder)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.argv = list(job.command)
    sys.path[0] = str(Path(job.command[0]).parent)
    with suppress(OSError):  # its name for top and ps
        Path("/proc/self/comm").write_text(Path(job.command[0]).stem[:15])
    runpy.run_path(job.command[0], run_name="__main__")


def _read(link: socket.socket) -> tuple[list[int], Job | None]:
    """The asking command's standard streams, and its words; no words where it was killed before it had said them."""
    _, streams, _, _ = socket.recv_fds(link, 1, 3)
    with link.makefile() as words, suppress(ValueError):
        return list(streams), Job(*json.loads(words.readline()))
    return list(streams), None


def _same(one: dict[str, str], other: dict[str, str]) -> bool:
    theirs, ours = (
        {name: at[name] for name in at.keys() - OF_ITS_OWN if not name.startswith(OF_SLURM)} for at in (one, other)
    )
    return theirs == ours


def _close(end: object) -> None:
    if isinstance(end, socket.socket):
        end.close()
    else:
        assert isinstance(end, int)
        os.close(end)
