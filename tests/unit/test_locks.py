"""Locks between real processes, with flock and on a file system that has none."""

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from running import ENVIRONMENT, REPOSITORY, build_flags

from retclip.core.locks import try_hold

NUMBERS = ["ENOSYS", "ENOLCK", "EOPNOTSUPP", "EINVAL"]
# what `import site` runs first in every process that has this folder on its path: flock as such a file system has it
NO_FLOCK = """
import errno, fcntl, os

def flock(stream, operation):
    number = getattr(errno, os.environ["NO_FLOCK"])
    raise OSError(number, os.strerror(number))

fcntl.flock = flock
"""
# adds one to a number in a file, slowly: two at a time lose some
COUNT = """
import sys, time
from pathlib import Path
from retclip.core.locks import held

folder = Path(sys.argv[1])
for _ in range(15):
    with held(folder / "lock", "waiting for the other"):
        number = int((folder / "number").read_text())
        time.sleep(0.002)
        (folder / "number").write_text(str(number + 1))
"""
HOLD = """
import sys, time
from retclip.core.locks import held

with held(sys.argv[1], "waiting for the other"):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
print("released", flush=True)
"""


@pytest.fixture(params=[None, *NUMBERS], ids=["flock", *NUMBERS])
def environment(request, tmp_path) -> dict[str, str]:
    """Of a process that may import retclip; without flock, but for the first."""
    path = [str(REPOSITORY / "scripts")]
    if request.param:
        (tmp_path / "site").mkdir()
        (tmp_path / "site/sitecustomize.py").write_text(NO_FLOCK)
        path.append(str(tmp_path / "site"))
    return {**ENVIRONMENT, "PYTHONPATH": os.pathsep.join(path), "NO_FLOCK": request.param or ""}


def start(code: str, environment: dict[str, str], *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], env=environment, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    out, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    return out, said


@pytest.mark.slow
def test_a_build_works_where_there_is_no_flock(environment, tmp_path):
    """Once more while the first one is at work: the second waits for it."""

    def command(name: str, *arguments: object) -> list[str]:
        return [sys.executable, str(REPOSITORY / f"scripts/{name}.py"), *map(str, arguments)]

    table, images = tmp_path / "manifest.csv", tmp_path / "images"
    subprocess.run(command("make_demo_data", "--patients", 60, "--seed", 1, "--threads", 1, "--output-manifest", table,
                           "--output-images", images), env=environment, check=True)  # fmt: skip
    flags = build_flags(table, images, tmp_path / "data", tmp_path / "state", source="demo", image_size=32)
    build = command("build_lmdb", *flags)
    both = [subprocess.Popen(build, env=environment, text=True, stderr=subprocess.PIPE) for _ in range(2)]
    said = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sum("another process builds this data; waiting for it" in text for text in said) <= 1
    assert all(text.count("no file locks") == (environment["NO_FLOCK"] != "") for text in said), said
    assert not list((tmp_path / "data").glob(".*"))


def test_two_writers_are_kept_apart(environment, tmp_path):
    (tmp_path / "number").write_text("0")
    said = [ended(process)[1] for process in [start(COUNT, environment, tmp_path) for _ in range(4)]]
    assert (tmp_path / "number").read_text() == "60"
    assert all(text.count("no file locks") == (environment["NO_FLOCK"] != "") for text in said), said


def test_a_lock_of_a_killed_process_is_free_at_once(environment, tmp_path):
    lock = tmp_path / "lock"
    first = start(HOLD, environment, lock, 60)
    assert first.stdout.readline() == "held\n"
    second = start(HOLD, environment, lock, 0)
    time.sleep(1)
    assert second.poll() is None
    os.kill(first.pid, signal.SIGKILL)
    killed = time.monotonic()
    out, said = ended(second)  # though nobody has yet asked how the first one ended
    assert time.monotonic() - killed < 10
    first.communicate()
    assert out == "held\nreleased\n"
    assert "waiting for the other" in said


def test_a_lock_is_no_link(environment, tmp_path):
    """Whoever lays one there must not have a file of another made or changed."""
    (tmp_path / "lock").symlink_to(tmp_path / "of_another")
    process = start(HOLD, environment, tmp_path / "lock", 0)
    _, said = process.communicate(timeout=60)
    assert process.returncode
    assert "symbolic link" in said
    assert not (tmp_path / "of_another").exists()


@pytest.mark.parametrize("environment", [None], indirect=True)
@pytest.mark.parametrize("kind", ["folder", "pipe", "pipe of another user"])
def test_a_lock_is_a_plain_file(environment, tmp_path, kind):
    """To open a pipe for reading alone, as who may not write to it does, would wait for ever."""
    code, place = HOLD, tmp_path
    if kind == "folder":
        (place / "lock").mkdir()
    if kind == "pipe":
        os.mkfifo(place / "lock", 0o644)
    if kind.endswith("user"):
        if os.getuid() != 0:
            pytest.skip("only root can be another user, too")
        # pytest's own folders are closed to others
        open_to_all = tempfile.TemporaryDirectory(prefix="retclip-lock-")
        place = Path(open_to_all.name)
        place.chmod(0o755)
        os.mkfifo(place / "lock", 0o644)
        code = HOLD.replace("\nwith", "\nimport os\nos.seteuid(65534)\nwith")
    _, said = start(code, environment, place / "lock", 0).communicate(timeout=20)
    assert said.splitlines()[-1].endswith(f"{place}/lock: a lock must be a plain file; delete it, then run again.")


@pytest.mark.parametrize("environment", ["ENOSYS"], indirect=True)
def test_a_lock_of_another_machine_is_free_when_its_heart_stops(environment, tmp_path):
    """No process list tells of it: as long as its file is touched it lives."""
    lock = tmp_path / "lock"
    ended(start(HOLD, environment, lock, 0))
    (lease,) = tmp_path.glob("lock.*")
    lease.write_text("another-machine-1-1\n")
    process = start(HOLD, environment, lock, 0)
    time.sleep(2)
    assert process.poll() is None
    old = time.time() - 3600
    os.utime(lease, (old, old))
    assert ended(process)[0] == "held\nreleased\n"
    assert not lease.exists()
    assert len(list(tmp_path.glob("lock.*"))) == 1


@pytest.mark.parametrize("environment", ["ENOSYS"], indirect=True)
def test_whoever_lost_its_lock_stops(environment, tmp_path):
    """It stood still until another machine took its lock over: it must not keep writing."""
    quick = HOLD.replace("from retclip.core.locks import held",
                         "from retclip.core import locks\nlocks.BEAT_SECONDS = 0.1\nheld = locks.held")  # fmt: skip
    process = start(quick, environment, tmp_path / "lock", 60)
    assert process.stdout.readline() == "held\n"
    (lease,) = tmp_path.glob("lock.*")
    before = lease.stat().st_mtime_ns
    time.sleep(1)
    assert lease.stat().st_mtime_ns > before
    lease.rename(tmp_path / "gone")
    out, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert out == ""
    assert "taken over" in said


# its modules are loaded before: another user may not be able to read them
OF_NOBODY = HOLD.replace(
    "\nwith", "\nimport os\nfrom retclip.core import locks\nlocks.this_process()\nos.setuid(65534)\nwith"
)
IMPATIENT = HOLD.replace(
    "import held", "import held\nfrom retclip.core import locks\nlocks.LONGEST_OF_OTHERS_SECONDS = 0.5"
)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user, too")
@pytest.mark.parametrize("environment", [None, "ENOSYS"], indirect=True)
def test_a_lock_of_another_user_cannot_block_for_ever(environment):
    """Whoever may open the file may lock it: the wait ends in a sentence with his name and the file's."""
    with tempfile.TemporaryDirectory(prefix="retclip-lock-") as folder:  # pytest's own are closed to others
        Path(folder).chmod(0o777)
        lock = Path(folder) / "lock"
        lock.touch()
        lock.chmod(0o666)
        theirs = start(OF_NOBODY, environment, lock, 60)
        try:
            assert theirs.stdout.readline() == "held\n"
            out, said = start(IMPATIENT, environment, lock, 0).communicate(timeout=30)
            assert out == ""
            last = said.splitlines()[-1]
            assert last.startswith(f"ValueError: {lock}: user nobody (process {theirs.pid}) has held this lock for")
            assert len(last) < 300
        finally:
            theirs.kill()
            theirs.communicate()


@pytest.mark.parametrize("environment", [None, "ENOSYS"], indirect=True)
def test_a_lock_of_ones_own_is_waited_for(environment, tmp_path):
    """However long: an orphaned training run may need days."""
    mine = start(HOLD, environment, tmp_path / "lock", 1.5)
    assert mine.stdout.readline() == "held\n"
    assert ended(start(IMPATIENT, environment, tmp_path / "lock", 0))[0] == "held\nreleased\n"
    ended(mine)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user, too")
@pytest.mark.parametrize("environment", ["ENOSYS"], indirect=True)
def test_a_lock_of_another_machine_cannot_block_for_ever(environment, tmp_path):
    """Another user's, on another machine, and touched again and again."""
    ended(start(HOLD, environment, tmp_path / "lock", 0))
    (lease,) = tmp_path.glob("lock.*")
    lease.write_text("another-machine-1-1\n")
    os.chown(lease, 65534, 65534)
    _, said = start(IMPATIENT, environment, tmp_path / "lock", 0).communicate(timeout=30)
    assert "has held this lock for" in said.splitlines()[-1]
    assert "on another machine" in said.splitlines()[-1]


@pytest.mark.parametrize("environment", [None], indirect=True)
def test_a_lock_that_is_tried_is_had_or_not(environment, tmp_path):
    from retclip.core.locks import try_hold

    lock = try_hold(tmp_path / "lock")
    assert lock is not None
    assert try_hold(tmp_path / "lock") is None
    lock.release()
    again = try_hold(tmp_path / "lock")
    assert again is not None
    again.release()


def test_a_lock_that_is_deleted_while_it_is_taken_is_taken_again(tmp_path, monkeypatch):
    """Whoever comes next makes another file: two would hold one lock."""
    path, flock, deleted = tmp_path / "lock", fcntl.flock, []

    def deleting(descriptor, operation):
        if not deleted:
            path.unlink()
            deleted.append(path)
        flock(descriptor, operation)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", deleting)
        lock = try_hold(path)
    assert deleted
    assert try_hold(path) is None
    lock.release()


def test_only_one_module_locks_files():
    """Another one would end with a traceback where there is no flock."""
    scripts = REPOSITORY / "scripts"
    assert [path.relative_to(scripts) for path in scripts.rglob("*.py") if "import fcntl" in path.read_text()] == [
        Path("retclip/core/locks.py")
    ]
