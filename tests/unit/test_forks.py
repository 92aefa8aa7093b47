"""A job that runs as a fork behaves as one that Python ran: what it reads and writes, its signals, its end."""

import contextlib
import errno
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import forked
import pytest
from running import REPOSITORY

from retclip.core import fork_client
from retclip.core.fork_server import serve

VARIABLES = {**os.environ, **fork_client.ONE_THREAD}
JOB = """
import os, signal, sys, time
from pathlib import Path
def stopped(number, frame):
    print("stopped", flush=True)
    sys.exit(7)
signal.signal(signal.SIGTERM, stopped)
what, *words = sys.argv[1:]
if what == "say":
    print(os.getpid(), os.getcwd(), os.environ.get("WORD"), "torch" in sys.modules, *words, sys.stdin.read())
    print(Path(__file__).parent == Path(sys.path[0]), __name__, file=sys.stderr)
elif what == "wait":
    Path(words[0]).write_text(str(os.getpid()))
    time.sleep(60)
elif what == "fail":
    raise KeyError("a fault of ours")
elif what == "leave":
    sys.exit("one sentence")
elif what == "die":
    os.kill(os.getpid(), signal.SIGKILL)
"""


@contextlib.contextmanager
def serving(python: str = sys.executable, parent: subprocess.Popen | None = None):
    """Where to ask a server that this python has started, and the process whose end ends it."""
    parent = parent or subprocess.Popen(["sleep", "300"])
    address = fork_client.new_address()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "getpid", lambda: parent.pid)
        patch.setattr(os, "environ", VARIABLES)
        patch.setattr(sys, "executable", python)
        fork_client.start_server(address)
    yield address, parent
    parent.kill()
    parent.wait()


@pytest.fixture(scope="module", params=[pytest.param("python", marks=pytest.mark.slow), "fork"])
def server(request):
    """As python starts it; and at once, as a fork that has imported all of it."""
    with serving(sys.executable if request.param == "python" else forked.python()) as started:
        yield started


@pytest.fixture
def job(tmp_path):
    path = tmp_path / "job.py"
    path.write_text(JOB)
    return path


def ask(address: str, job: Path, *words: object, **settings: object) -> subprocess.Popen[str]:
    command = [*fork_client.python_of_jobs(address), str(job), *map(str, words)]
    """The command, at work; its words say which process the job is."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(command, text=True, **{"env": VARIABLES, **pipes, **settings})


def wait_for(true) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def at_work(address: str, job: Path, folder: Path) -> tuple[subprocess.Popen[str], int]:
    """A command that waits, once it hands on what signals it gets, and its job's process."""
    asked, told = ask(address, job, "wait", folder / "process"), folder / "process"
    wait_for(lambda: told.exists() and told.read_text() and catches(asked.pid, signal.SIGCONT))  # the last it asks for
    return asked, int(told.read_text())


def catches(process: int, number: int) -> bool:
    caught = re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{process}/status").read_text())
    return bool(caught and int(caught[1], 16) >> (number - 1) & 1)


def server_of(fork: int) -> int:
    """The process that it is a fork of."""
    return int(Path(f"/proc/{fork}/stat").read_text().rpartition(")")[2].split()[1])


def lives(process: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def listens(address: str) -> bool:
    """Whether somebody waits at this address for jobs that ask."""
    sockets = (line.split() for line in Path("/proc/net/unix").read_text().splitlines())
    # connections have its name, too, and not this flag
    return any(words[3] == "00010000" and words[-1] == f"@{address[1:]}" for words in sockets)


def test_it_reads_and_writes_where_its_command_would(server, job, tmp_path):
    asked = ask(server[0], job, "say", "ä b", "--x", cwd=tmp_path, env={**VARIABLES, "TMPDIR": str(tmp_path)})
    said, errors = asked.communicate("from the pipe")
    assert asked.returncode == 0
    process, *words = said.split()
    assert words == [str(tmp_path), "None", "True", "ä", "b", "--x", "from", "the", "pipe"]
    assert int(process) != asked.pid
    assert errors == "True __main__\n"


def test_its_end_says_nothing_of_its_libraries(server, job):
    """Which it would take down, though it never imported them itself."""
    said, errors = ask(server[0], job, "say").communicate()
    assert said.split()[3] == "True"
    assert errors == "True __main__\n"


def test_a_stop_request_for_all_processes_is_the_jobs_alone(server, job, tmp_path):
    """As Slurm sends it, to all that a job has started: the fork has its time to save, and the next one its server."""
    asked, fork = at_work(server[0], job, tmp_path)
    for process in (server_of(fork), asked.pid):
        os.kill(process, signal.SIGTERM)
    assert asked.communicate()[0] == "stopped\n"
    assert asked.returncode == 7
    assert ask(server[0], job, "say").communicate()[0].split()[3] == "True"


def test_it_ends_as_its_script_does(server, job):
    for what, code, words in (("fail", 1, "KeyError: 'a fault of ours'"), ("leave", 1, "one sentence\n")):
        asked = ask(server[0], job, what)
        assert words in asked.communicate()[1]
        assert asked.returncode == code
    assert ask(server[0], job, "die").wait() == -signal.SIGKILL


def test_a_signal_reaches_it(server, job, tmp_path):
    asked, _ = at_work(server[0], job, tmp_path)
    asked.terminate()
    assert asked.communicate()[0] == "stopped\n"
    assert asked.returncode == 7


def test_it_is_killed_with_its_command(server, job, tmp_path):
    asked, process = at_work(server[0], job, tmp_path)
    assert lives(process)
    asked.kill()
    wait_for(lambda: not lives(process))
    assert ask(server[0], job, "leave").wait() == 1  # the server is there for the next


def test_it_is_suspended_with_its_command(server, job, tmp_path):
    asked, process = at_work(server[0], job, tmp_path)
    fork = Path(f"/proc/{process}/stat")
    asked.send_signal(signal.SIGTSTP)
    wait_for(lambda: fork.read_text().rpartition(")")[2].split()[0] == "T")
    asked.send_signal(signal.SIGCONT)
    wait_for(lambda: fork.read_text().rpartition(")")[2].split()[0] == "S")
    asked.kill()


def test_the_variables_of_a_step_are_its_own(server, job):
    """Of Slurm's, and of whatever shell has asked: the job has those of its command, and no other."""
    job.write_text("import os; print(*sorted(name for name in os.environ if name.startswith(('SLURM', 'TMPDIR'))))")
    asked = ask(server[0], job, env={**VARIABLES, "SLURM_STEP_ID": "3", "TMPDIR": "/tmp"})
    assert asked.communicate()[0] == "SLURM_STEP_ID TMPDIR\n"
    without = {name: value for name, value in VARIABLES.items() if name != "TMPDIR"}
    assert ask(server[0], job, env=without).communicate()[0] == "\n"


@pytest.mark.parametrize("variables", [{"WORD": "new"}, {"OMP_NUM_THREADS": "2"}])
def test_other_variables_get_a_process_of_their_own(server, job, variables):
    """Libraries have read theirs."""
    asked = ask(server[0], job, "say", env={**VARIABLES, **variables})
    process, _, word, imported, *_ = asked.communicate()[0].split()
    assert int(process) == asked.pid
    assert (word, imported) == (variables.get("WORD", "None"), "False")


def test_where_nobody_answers_python_runs_it(job):
    asked = ask(fork_client.new_address(), job, "say")
    assert int(asked.communicate()[0].split()[0]) == asked.pid


def test_a_system_that_gives_no_socket_stops_nobody(monkeypatch):
    def refused(*arguments: object) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(socket, "socket", refused)
    fork_client.start_server(fork_client.new_address())


def test_a_killed_server_leaves_nothing(job, tmp_path):
    """As Slurm kills what is left of a job: no file tells that there was one."""
    before = set(Path(tempfile.gettempdir()).iterdir())
    with serving(forked.python()) as (address, _):
        asked, fork = at_work(address, job, tmp_path)
        os.kill(server_of(fork), signal.SIGKILL)
        assert asked.wait() == 1
        wait_for(lambda: not lives(fork))
    made = {path.name for path in set(Path(tempfile.gettempdir()).iterdir()) - before}
    assert not [name for name in made if name.startswith("retclip-")]
    wait_for(lambda: not listens(address))


def test_what_is_no_script_is_for_python(server):
    command = [*fork_client.python_of_jobs(server[0]), "-c", "import sys; print(sys.flags.no_site)"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "0\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may be another user")
def test_nobody_else_may_ask(server, job, monkeypatch):
    """The address stands in the commands of jobs, which all users of a machine may read."""
    monkeypatch.setattr(os, "environ", dict(VARIABLES))  # pytest writes into it
    monkeypatch.setattr(fork_client, "is_ours", lambda link: True)
    os.seteuid(1)
    try:
        assert fork_client._ask(server[0], [str(job), "leave"])[0] == 0
    finally:
        os.seteuid(0)


def test_nobody_else_is_asked(job, monkeypatch):
    """Who answers gets a job's variables, which may hold keys: whoever has taken the address is told nothing."""
    address = fork_client.new_address()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        monkeypatch.setattr(os, "geteuid", lambda: 1)
        worker, link = fork_client._ask(address, [str(job), "leave"])
        assert (worker, link) == (0, None)
        assert listening.accept()[0].recv(1) == b""


def test_a_snakemake_that_ended_first_leaves_nothing():
    parent = subprocess.Popen(["true"])
    parent.wait()
    with serving(forked.python(), parent) as (address, _):
        wait_for(lambda: not listens(address))


def test_it_ends_with_its_snakemake_and_leaves_nothing(server, job, tmp_path):
    """What is at work then goes on, as a job does whose snakemake was killed."""
    address, parent = server
    asked, _ = at_work(address, job, tmp_path)
    parent.kill()
    wait_for(lambda: not listens(address))
    assert asked.poll() is None
    asked.terminate()
    assert asked.wait() == 7


def test_a_kernel_that_tells_no_process_from_another_has_no_server(monkeypatch):
    """Before Linux 5.3: jobs are Python's, and nothing is left behind."""

    def missing(process: int) -> int:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", missing)
    address = fork_client.new_address()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        serve(listening, os.getpid(), {})
    assert not listens(address)


def test_the_processes_of_one_pytest_share_a_server(tmp_path):
    """Each of them would import for seconds what the others have, and start a server that does so again."""
    (tmp_path / "parent.py").write_text("import os; print(os.getppid())")
    command = [str(tmp_path / "parent.py")]
    process = f"""
import os, sys
print("torch" in sys.modules, flush=True)
import forked
print(forked.run({command}, dict(os.environ)).stdout.strip(), forked.python())
"""
    words = [forked.python(), "-u", "-c", process]
    said = subprocess.run(words, env=VARIABLES, capture_output=True, text=True, timeout=60)
    assert said.returncode == 0, said.stderr
    has_torch, server, program = said.stdout.split()
    assert has_torch == "True"
    assert server == forked.run(command, VARIABLES).stdout.strip()
    wait_for(lambda: not Path(program).parent.exists())  # nothing is left of what it had


@pytest.mark.slow
def test_what_is_forked_has_asked_for_no_gpu():
    """A process that has cannot be forked for another to use one: CUDA wakes up in the fork, or not at all."""
    asking = """
import importlib, sys, torch
sys.path.insert(0, "scripts")
from fork_jobs import LIBRARIES
asked = []
for name in ("_cuda_init", "_cuda_getDeviceCount"):
    assert hasattr(torch._C, name), name
    setattr(torch._C, name, lambda name=name: asked.append(name) or 0)
for library in LIBRARIES:
    importlib.import_module(library)
print(asked, torch.cuda.is_initialized())
"""
    done = subprocess.run([sys.executable, "-c", asking], cwd=REPOSITORY, capture_output=True, text=True, env=VARIABLES)
    assert done.stdout == "[] False\n", done.stderr[-2000:]


def test_entries_import_nothing_that_is_slow_before_they_are_forked():
    """The bare interpreter asks in a fraction of what the start of Python with its packages takes."""
    loaded = "import sys; sys.path.insert(0, 'scripts'); from retclip.core import fork_client; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-SE", "-c", loaded], cwd=REPOSITORY, capture_output=True, text=True)
    assert not {"numpy", "yaml", "pandas"} & set(done.stdout.split())
