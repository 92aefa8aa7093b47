"""Jobs that start at once, as forks of one process (fork_server.py) that has imported what takes seconds to import.

A run on this machine without GPUs has one such process, for as long as it lasts; so have trials that share a job of a
cluster. A job's command asks it for a fork and stays in the fork's place: what it reads and writes is the fork's,
signals reach the fork, the fork's exit code is its own, and where it is killed, the fork is. Where nobody answers,
Python runs the job as ever.
"""

import array
import json
import os
import secrets
import signal
import socket
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2]
# snakemake's words for a job of one thread: numbers depend on it, so that libraries must read it before they are forked
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "GOTO_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
     "NUMEXPR_NUM_THREADS"), "1",
)  # fmt: skip
SHARED = "RETCLIP_FORKS"  # in a job of a cluster that several share: where they ask
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def new_address() -> str:
    """Where one run's jobs will ask: an abstract name (unix(7)), of which nothing is left when its process is gone."""
    return f"\0retclip-{secrets.token_hex(8)}"


def shared_address() -> str | None:
    """Where the jobs ask that share one of a cluster; None elsewhere."""
    return f"\0{os.environ[SHARED]}" if SHARED in os.environ else None


def can_fork() -> bool:
    """Whether this system has such names, and forks a process of many libraries safely."""
    return sys.platform == "linux"


def python_of_jobs(address: str) -> list[str]:
    """What stands for `python` in the commands of jobs; the interpreter itself, bare, starts in a moment."""
    return [sys.executable, "-SE", str(SCRIPTS / "ask_fork.py"), address[1:]]


def start_server(address: str) -> None:
    """Starts the process to fork from; it ends with this one, or when the last fork has. There is none where no socket
    can be made."""
    with suppress(OSError), socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen(128)  # from here on jobs may ask; they wait until all is imported
        # Slurm tells all processes of a job to stop: the forks do, and the server waits for them
        before = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
        try:
            subprocess.Popen(
                [sys.executable, str(SCRIPTS / "fork_jobs.py"), str(os.getpid())], stdin=listening.fileno(),
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                env={**os.environ, **ONE_THREAD},
            )  # fmt: skip
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def share_server(address: str) -> None:
    """The same, for jobs of other snakemakes: each step of a cluster's job has one, which knows the address from its
    environment."""
    os.environ[SHARED] = address[1:]
    start_server(address)


def is_ours(link: socket.socket) -> bool:
    """Whether the same user is at the other end of a connection: an abstract name is anybody's."""
    credentials = struct.Struct("3i")  # process, user, group
    found = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size)
    return bool(credentials.unpack(found)[1] == os.geteuid())


def run_as_fork(address: str, command: list[str]) -> int:
    """Runs `python COMMAND` as a fork and returns its exit code; what is no script, or no fork, replaces this process.

    Ends this process by the signal that ended the fork.
    """
    worker, link = _ask(address, command) if command[:1] and command[0].endswith(".py") else (0, None)
    if not worker or link is None:
        os.execv(sys.executable, [sys.executable, *command])
    for number in PASSED_ON:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, frame: _tell(number, worker))
    # a terminal that suspends this process suspends the fork, too
    signal.signal(signal.SIGTSTP, lambda number, frame: _tell(signal.SIGSTOP, worker, os.getpid()))
    signal.signal(signal.SIGCONT, lambda number, frame: _tell(signal.SIGCONT, worker))
    answer = link.makefile().readline()
    if not answer:  # the server was killed, and nobody will know how its fork ends
        _tell(signal.SIGKILL, worker)
        return 1
    code = int(answer)
    if code < 0:
        with suppress(OSError):  # SIGKILL has no handler
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def _ask(address: str, command: list[str]) -> tuple[int, socket.socket | None]:
    """The fork's process and the link to its server; 0 where there is none."""
    link = socket.socket(socket.AF_UNIX)
    with suppress(OSError):
        link.connect(address)
        if not is_ours(link):
            return 0, None
        link.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
        link.sendall(json.dumps([command, dict(os.environ), os.getcwd()]).encode() + b"\n")
        return int(_line(link) or 0), link
    return 0, None


def _line(link: socket.socket) -> bytes:
    """The first line that comes, and nothing of the second."""
    found = b""
    while not found.endswith(b"\n") and (more := link.recv(1)):
        found += more
    return found


def _tell(number: int, *processes: int) -> None:
    for process in processes:
        with suppress(ProcessLookupError):  # it has just ended
            os.kill(process, number)
