"""Processes that start at once: forks of one server for each pytest, which has imported what takes seconds to import.

What runs in them is the real thing, each in a process of its own; a script or a module begins as python begins it. So
do the jobs of a snakemake that is given `python()` for its interpreter: they ask a second server, over a socket. And so
do the processes of a pytest that has several: all of them are forks of one server, and have forks of it.
"""

import contextlib
import json
import multiprocessing
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDERS = [str(REPOSITORY / name) for name in ("scripts", "tests")]
# Stands in for python in the commands of jobs, and of pytests. What is neither goes to python itself.
PYTHON = """#!{real} -SE
import array, json, os, signal, socket, sys
if not sys.argv[1:] or not sys.argv[1].startswith({scripts!r}) and sys.argv[1:3] != ["-u", "-c"]:
    os.execv({real!r}, [{real!r}, *sys.argv[1:]])
link = socket.socket(socket.AF_UNIX)
link.connect({address!r})
link.sendmsg([b"0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
blocked = list(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, [])))
link.sendall(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd(), blocked]).encode())
link.shutdown(socket.SHUT_WR)
os.close(0)  # it is the fork's now, which may be the last to listen at a socket
answers = link.makefile()
worker = int(answers.readline())
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
    signal.signal(number, lambda number, frame: os.kill(worker, number))
code = int(answers.readline() or 1)
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""


def start(work: Callable[..., None], *arguments: Any) -> Any:
    """The process, at work."""
    process = _forks().Process(target=work, args=arguments)
    process.start()
    return process


def run(command: list[str], environment: dict[str, str], interpreter: str = "") -> subprocess.CompletedProcess[str]:
    """`python SCRIPT ARGUMENTS` or `python -m MODULE ARGUMENTS`, and what it wrote. interpreter: of what it starts."""
    with tempfile.TemporaryDirectory(prefix="forked-") as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        process = start(_python, command, environment, os.getcwd(), (str(out), str(err)), interpreter)
        process.join()
        said = [file.read_text(errors="replace") for file in (out, err)]
    return subprocess.CompletedProcess(command, process.exitcode, *said)


@cache
def python() -> str:
    """A program that starts scripts of ours at once, for as long as this pytest lives."""
    folder = tempfile.mkdtemp(prefix="python-", dir=_folder_of_sockets())
    program, address = Path(folder, "python"), f"{folder}/socket"
    values = {"real": sys.executable, "scripts": f"{REPOSITORY}/scripts/", "address": address}
    program.write_text(PYTHON.format(**values))
    program.chmod(0o755)
    start(_begin_to_serve, address, os.getpid()).join()
    while not Path(address).exists():
        time.sleep(0.05)
    return str(program)


def _folder_of_sockets() -> str:
    """Where temporary files lie, unless a socket's name, at most 107 bytes (unix(7)), would be too long there."""
    folder = tempfile.gettempdir()
    return folder if len(os.fsencode(folder)) <= 107 - len("/pymp-12345678/listener-12345678") else "/tmp"


@cache
def _forks() -> multiprocessing.context.ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    ours = forkserver._forkserver
    if ours._forkserver_address:  # this process is a fork: what it was forked from forks for it, too
        ours.ensure_running = lambda: None  # which says of itself that it does nothing then, and starts a second one
        return context
    context.set_forkserver_preload(["preloaded"])
    with pytest.MonkeyPatch.context() as patch:
        # libraries read these when they are imported
        for name, value in {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}.items():
            patch.setenv(name, value)
        patch.setenv("PYTHONPATH", os.pathsep.join(FOLDERS))
        patch.setattr(tempfile, "tempdir", _folder_of_sockets())
        forkserver.ensure_running()
    return context


def _python(
    command: list[str], environment: dict[str, str], folder: str, outputs: tuple[str, str] | None, interpreter: str
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    if outputs:
        write_to(*outputs)
    multiprocessing.set_start_method("fork", force=True)  # as in a process that a shell started
    if command[0] == "-m":
        # its workflow may be a copy of the repository: it reads that one's own modules
        for name in [name for name in sys.modules if name.partition(".")[0] == "retclip"]:
            del sys.modules[name]
        sys.path = [path for path in sys.path if path not in FOLDERS]
        sys.executable = interpreter or sys.executable
        sys.argv = command[1:]
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    elif command[:2] == ["-u", "-c"]:
        sys.stdin, sys.argv = os.fdopen(0), ["-c"]
        exec(command[2], sys.modules["__main__"].__dict__)
    else:
        sys.argv = list(command)
        runpy.run_path(command[0], run_name="__main__")


def write_to(out: str, err: str) -> None:
    """From here on this process writes into these files."""
    for number, path in ((1, out), (2, err)):
        stream = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(stream, number)
        os.close(stream)
    _open_outputs()


def _open_outputs() -> None:
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)


def _begin_to_serve(address: str, pytest_process: int) -> None:
    """In a child that is nobody's: a pytest that ends would wait for one of its own, which waits for that end."""
    gone = os.pidfd_open(pytest_process)
    if not os.fork():
        _serve(address, gone)
        os._exit(0)


def _serve(address: str, gone: int) -> None:
    """Forks for each that asks, until the pytest is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen(64)
    listening.settimeout(1)
    while not select.select([gone], [], [], 0)[0]:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        with contextlib.suppress(TimeoutError):
            link, _ = listening.accept()
            if not os.fork():
                listening.close()
                os.close(gone)
                _answer(link)
            link.close()
    shutil.rmtree(Path(address).parent)


def _answer(link: socket.socket) -> None:
    """Starts what is asked for, waits for it and says how it ended."""
    link.settimeout(None)
    _, streams, _, _ = socket.recv_fds(link, 1, 3)
    command, environment, folder, blocked = json.loads(link.makefile().read())
    worker = os.fork()
    if not worker:
        link.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        _open_outputs()
        _python(command, environment, folder, None, "")
        sys.exit()
    for stream in streams:
        os.close(stream)
    link.sendall(f"{worker}\n".encode())
    code = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
    with contextlib.suppress(BrokenPipeError):  # who asked was killed
        link.sendall(f"{code}\n".encode())
    os._exit(0)
