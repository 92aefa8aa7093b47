"""An attack: files or settings of a stranger's, what is done with them, and the bounds within which that has to end.

Each runs in a process of its own, forked from a server that has imported the heavy packages (forked.py): what it costs
is what the attack costs. Memory is the largest that the process, or one that it started, had beyond what it began with.
"""

import faulthandler
import importlib
import json
import multiprocessing
import os
import re
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import forked
from running import REPOSITORY

# More than any attack may take, so that one whose bound is gone fails instead of taking the machine.
MOST_MEGABYTES = 4096
ROOMS = ("image_attacks", "data_attacks", "model_attacks", "config_attacks", "hub_attacks")


class Attack(NamedTuple):
    """work(folder): lays the trap in an empty folder and walks into it. says: a regular expression of what has to be
    said. code: the exit code, 0 where the attack costs a row and nothing else."""

    work: Callable[[Path], None]
    says: str
    code: int = 1
    seconds: float = 60.0  # of a busy machine; the honest reading takes two
    megabytes: int = 400


class Outcome(NamedTuple):
    """How an attack ended. code: 70 for an exception that is no sentence; negative for a signal."""

    code: int
    said: str
    seconds: float
    megabytes: int


def run(room: str, name: str, folder: Path) -> Outcome:
    """Attack `name` of the module `security.{room}`, in an empty folder."""
    attack = importlib.import_module(f"security.{room}").ATTACKS[name]
    started = time.monotonic()
    code = exit_code(_walk_in, (room, name, str(folder)), 30 + attack.seconds)
    said = (folder / "said.txt").read_text(errors="replace") if (folder / "said.txt").is_file() else ""
    cost = folder / "cost.json"
    seconds, megabytes = json.loads(cost.read_text()) if cost.is_file() else (time.monotonic() - started, -1)
    return Outcome(code, said, seconds, megabytes)


def exit_code(work: Callable[..., None], arguments: tuple[object, ...], seconds: float) -> int:
    """Of `work` in a forked process, which is killed after so long."""
    process = forked.start(work, *arguments)
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
    return process.exitcode or 0


def check(room: str, name: str, folder: Path, record: Callable[[str, object], None]) -> None:
    """Fails the test where an attack ends otherwise than it has to."""
    attack = importlib.import_module(f"security.{room}").ATTACKS[name]
    found = run(room, name, folder)
    lines = [line for line in found.said.strip().splitlines() if line]
    last = lines[-1] if lines else ""
    record("attack", (room, name, attack.seconds, attack.megabytes, found.seconds, found.megabytes, last))
    assert "Traceback" not in found.said, found.said
    assert not (folder / "ran").exists(), "code of the attack has run"
    assert found.code == attack.code, (found.code, found.said)
    assert re.search(attack.says, found.said), found.said
    assert all(len(line) <= 320 for line in lines if line.startswith("error:")), found.said
    assert found.seconds <= attack.seconds, (found.seconds, found.said)
    assert 0 <= found.megabytes <= attack.megabytes, (found.megabytes, found.said)


def begin() -> None:
    """The trap is laid: from here on, time and memory count."""
    global _started, _before
    _before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest so far begins anew
    _started = time.monotonic()


_started = _before = 0.0


def _walk_in(room: str, name: str, folder: str) -> None:
    place = Path(folder)
    said = os.open(place / "said.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(said, stream)
    sys.path.insert(0, str(REPOSITORY / "scripts"))
    attack = importlib.import_module(f"security.{room}").ATTACKS[name]
    resource.setrlimit(resource.RLIMIT_DATA, ((_status("VmData") + MOST_MEGABYTES) << 20,) * 2)
    faulthandler.dump_traceback_later(attack.seconds + 10)  # where it hangs
    signal.alarm(int(attack.seconds) + 15)
    os.chdir(place)
    multiprocessing.set_start_method("fork", force=True)  # as where no test has started the process
    child, code = _size_of_a_child(), 0
    begin()
    try:
        attack.work(place)
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException:
        traceback.print_exc()
        code = 70
    seconds = time.monotonic() - _started
    sys.stdout.flush()
    sys.stderr.flush()
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    megabytes = max(_status("VmHWM") - _before, children - child)
    (place / "cost.json").write_text(json.dumps([round(seconds, 2), int(megabytes)]))
    os._exit(code)


def _size_of_a_child() -> int:
    """What a process that is forked from this one has before it does anything, in megabytes."""
    if not (pid := os.fork()):
        os._exit(0)
    return os.wait4(pid, 0)[2].ru_maxrss // 1024


def _status(name: str) -> int:
    """A line of this process's status, in megabytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) // 1024
