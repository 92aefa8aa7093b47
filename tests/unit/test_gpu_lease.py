"""Each job leases GPUs of its own: real processes, an nvidia-smi of ours, and every way to name a GPU."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from gpus import Machine, has_line, line_of, seen, waits
from running import REPOSITORY

from retclip.core import gpu_lease, gpus


@pytest.fixture
def machine(tmp_path):
    """Four GPUs."""
    made = Machine(tmp_path, 4)
    yield made
    for name in made.names:
        for path in gpu_lease.FOLDER.glob(f"*{name[4:-1]}*"):  # of its parts, too
            path.unlink()


@pytest.fixture
def started():
    """Processes of the test, none of which outlives it."""
    processes: list[subprocess.Popen] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def test_jobs_of_one_machine_get_a_gpu_each(machine, started):
    started += [machine.start() for _ in range(4)]
    assert sorted(seen(process)[0] for process in started) == sorted(machine.names)


def test_a_fifth_job_waits_says_so_and_gets_the_gpu_of_the_one_that_is_killed(machine, started):
    started += [machine.start() for _ in range(4)]
    had = [seen(process) for process in started]
    fifth = machine.start()
    started.append(fifth)
    assert waits(fifth)
    started[2].send_signal(signal.SIGKILL)
    assert seen(fifth) == had[2]


def test_a_job_does_not_wait_for_a_gpu_for_ever(machine, started, monkeypatch):
    """Any user of the machine may lock there: the wait ends in a sentence with who has the GPU and the file."""
    started.append(machine.start(CUDA_VISIBLE_DEVICES=machine.names[0]))
    (name,) = seen(started[0])
    monkeypatch.setattr(gpu_lease, "LONGEST_WAIT_SECONDS", 0)
    with pytest.raises(ValueError, match=rf"^{gpu_lease.FOLDER}/{name}.lock: .*process {started[0].pid}.* has held"):
        gpu_lease._wait_for([gpus.Gpu(name, "A100", 0, name, "0")], 1)


def test_jobs_of_two_gpus_take_both_or_none(machine, started):
    """Of three GPUs each of three jobs wants two: one after the other has them, and none waits for ever."""
    three = ",".join(machine.names[:3])
    started += [machine.start(2, CUDA_VISIBLE_DEVICES=three) for _ in range(3)]
    for _ in range(3):
        ready: list[subprocess.Popen] = []
        deadline = time.monotonic() + 60
        while not ready and time.monotonic() < deadline:
            ready = [one for one in started if has_line(one.stdout, 0.2)]
        assert len(ready) == 1, "two jobs share a GPU, or none has got any"
        assert len(set(seen(ready[0]))) == 2
        ready[0].kill()
        ready[0].communicate()
        started.remove(ready[0])


@pytest.mark.parametrize("gone", ["", "-1", "NoDevFiles"])
def test_who_hides_all_gpus_gets_none(machine, gone):
    assert machine.lease(CUDA_VISIBLE_DEVICES=gone)[0] == gone


def test_no_gpu_outside_of_what_was_given_is_chosen(machine, started):
    started += [machine.start(CUDA_VISIBLE_DEVICES="2,3") for _ in range(2)]
    assert sorted(seen(process)[0] for process in started) == ["2", "3"]
    third = machine.start(CUDA_VISIBLE_DEVICES="2,3")
    started.append(third)
    assert waits(third)
    # a number and a UUID are the same GPU
    started.append(machine.start(CUDA_VISIBLE_DEVICES=machine.names[2][:12]))
    assert waits(started[-1])
    started += [machine.start() for _ in range(2)]
    assert sorted(seen(process)[0] for process in started[-2:]) == sorted(machine.names[:2])


def test_what_cuda_does_not_read_is_not_given(machine):
    """CUDA reads its list up to the first word that names no GPU."""
    assert machine.lease(CUDA_VISIBLE_DEVICES="1,-1,2")[0] == "1"
    assert machine.lease(CUDA_VISIBLE_DEVICES="7,1")[0] == "7,1"
    with_two = machine.start(2, CUDA_VISIBLE_DEVICES="1,-1,2")
    assert "CUDA_VISIBLE_DEVICES=1,-1,2" in with_two.communicate()[1].decode()
    assert with_two.returncode


def test_a_gpu_in_parts_is_leased_in_parts(machine, started):
    parts = [f"MIG-{name.removeprefix('GPU-')[:-1]}{k}" for k, name in enumerate(machine.names[:1] * 2)]
    machine.lines[1:1] = [f"  MIG 3g.20gb     Device  {k}: (UUID: {part})" for k, part in enumerate(parts)]
    machine.write()
    started += [machine.start() for _ in range(5)]
    had = [seen(process)[0] for process in started]
    assert sorted(had) == sorted([*parts, *machine.names[1:]])
    for given in ("0", machine.names[0], ",".join(parts), parts[0]):
        started.append(machine.start(CUDA_VISIBLE_DEVICES=given))
        assert waits(started[-1])
    # the others that wait would take them, too
    holders = [one for name, one in zip(had, started, strict=False) if name in parts]
    for process in [*started[6:], *holders]:
        process.kill()
        process.wait()
    assert seen(started[5])[0] in parts


def test_too_few_gpus_are_one_sentence(machine):
    process = machine.start(2, CUDA_VISIBLE_DEVICES="3")
    said = process.communicate()[1].decode()
    assert process.returncode
    assert "training.gpus is 2, but 1 GPU can be used here (CUDA_VISIBLE_DEVICES=3)" in said


def test_a_gpu_that_somebody_else_fills_is_taken_last_and_named(machine, started):
    machine.used_mib[machine.names[0]] = 39_000
    machine.write()
    started += [machine.start() for _ in range(3)]
    assert machine.names[0] not in [seen(process)[0] for process in started]
    name, said = machine.lease()
    assert name == machine.names[0]
    assert "other processes hold 38.1 of its 40.0 GiB" in said


def test_slurms_own_allocation_is_used_as_it_is(machine, started):
    """Two jobs of Slurm's may both call theirs 0; and one that holds four GPUs may run four training runs."""
    for job in ("7", "8"):
        started.append(machine.start(SLURM_JOB_ID=job, SLURM_JOB_GPUS="0", CUDA_VISIBLE_DEVICES="0"))
        assert seen(started[-1]) == ["0"]
    four = {"SLURM_JOB_ID": "9", "SLURM_JOB_GPUS": "0,1,2,3", "CUDA_VISIBLE_DEVICES": "0,1,2,3"}
    started += [machine.start(**four) for _ in range(4)]
    assert sorted(seen(process)[0] for process in started[2:]) == ["0", "1", "2", "3"]


def test_slurm_without_nvidia_smi(tmp_path):
    bare = Machine(tmp_path, 0)
    bare.folder.joinpath("bin/nvidia-smi").unlink()
    given = {"SLURM_JOB_ID": "7", "SLURM_JOB_GPUS": "1", "CUDA_VISIBLE_DEVICES": "1"}
    assert bare.lease(**given)[0] == "1"
    assert bare.lease()[0] == "None"
    assert bare.lease(CUDA_VISIBLE_DEVICES="0")[0] == "0"


def test_a_lock_that_is_a_trap_is_refused(machine, tmp_path, monkeypatch):
    """A symbolic link laid in a folder that anyone can write into, or in its place, is never followed."""
    mine = tmp_path / "mine"
    mine.mkdir()
    folder = tmp_path / "locks"
    folder.symlink_to(mine)
    monkeypatch.setattr(gpu_lease, "FOLDER", folder)
    monkeypatch.setenv("PATH", machine.environment()["PATH"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", machine.names[0])
    with pytest.raises(ValueError, match="symbolic link"):
        gpu_lease.lease("auto")
    folder.unlink()
    folder.mkdir()
    (folder / f"{machine.names[0]}.lock").symlink_to(mine / "new")
    with pytest.raises(ValueError, match="symbolic link"):
        gpu_lease.lease("auto")
    assert not list(mine.iterdir())
    secret = mine / "secret"
    secret.write_text("mine alone")
    secret.chmod(0o600)
    (folder / f"{machine.names[0]}.lock").unlink()
    os.link(secret, folder / f"{machine.names[0]}.lock")
    gpu_lease._hold(folder / f"{machine.names[0]}.lock").release()
    assert secret.stat().st_mode & 0o777 == 0o600
    assert secret.read_text() == "mine alone"


def test_the_folder_is_open_to_all_users(machine):
    machine.lease()
    assert gpu_lease.FOLDER.stat().st_mode & 0o7777 == 0o1777
    lock = next(gpu_lease.FOLDER.glob(f"{machine.names[0]}*"))
    assert lock.stat().st_mode & 0o444 == 0o444


def test_a_folder_that_its_maker_did_not_open_is_opened(tmp_path, monkeypatch):
    """Killed between making and opening it, it would be closed to all other users for good."""
    monkeypatch.setattr(gpu_lease, "FOLDER", tmp_path / "locks")
    (tmp_path / "locks").mkdir(mode=0o755)
    gpu_lease._hold(tmp_path / "locks/GPU.lock").release()
    assert (tmp_path / "locks").stat().st_mode & 0o7777 == 0o1777


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user, too")
@pytest.mark.parametrize("mode", [0o755, 0o700])
def test_a_folder_that_is_closed_to_us_is_one_sentence(monkeypatch, mode):
    """Neither a wait for ever for GPUs that nobody has, nor a traceback."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "locks"
        monkeypatch.setattr(gpu_lease, "FOLDER", folder)
        folder.mkdir(mode=mode)
        Path(place).chmod(0o755)
        os.seteuid(65534)
        try:
            with pytest.raises(ValueError, match="locks: is another user's, and closed to you; have it"):
                gpu_lease._hold(folder / "GPU.lock")
        finally:
            os.seteuid(0)


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("flock"), reason="only root can be another user, too")
def test_users_of_one_machine_share_its_locks(machine, started):
    """The lock of one who lets others read nothing keeps another user off, too."""
    nobody = ["sh", "-c", LOCKING, "sh", *machine.names]
    previous = os.umask(0o077)
    try:
        started += [machine.start() for _ in range(2)]
        had = [seen(one)[0] for one in started]
    finally:
        os.umask(previous)
    done = subprocess.run(nobody, capture_output=True, text=True, user=65534, group=65534, extra_groups=[])
    assert done.stdout.split() == [name for name in machine.names if name not in had], done.stderr
    assert machine.lease()[0] not in had, "what the other user made and left can be locked"


# As another user, who may have no right to read this clone or its Python: the GPUs whose locks he gets.
LOCKING = f"""
cd {gpu_lease.FOLDER} || exit
for name; do [ -e $name.lock ] || : > $name.lock; flock --nonblock 9 9< $name.lock && echo $name; done
"""


def test_numbers_of_unlike_gpus_are_warned_about(machine):
    """CUDA counts them by speed, nvidia-smi by slot; a UUID is the same to both."""
    machine.lines[0] = machine.lines[0].replace(machine.model, "Quadro P400")
    machine.write()
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in machine.lease(CUDA_VISIBLE_DEVICES="1")[1]
    for quiet in ({"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, {}):
        assert "CUDA_DEVICE_ORDER" not in machine.lease(**quiet)[1]


def test_without_nvidia_smi_the_driver_is_asked(tmp_path, monkeypatch):
    """It describes all GPUs of the machine; a container has the devices of those that it may use."""
    for minor, slot in enumerate(("0000:81:00.0", "0000:01:00.0", "0000:41:00.0")):
        (tmp_path / "gpus" / slot).mkdir(parents=True)
        facts = f"Model: \t\t NVIDIA A30\nGPU UUID: \t GPU-{minor}\nBus Type: \t PCIe\nDevice Minor: \t {minor}\n"
        (tmp_path / "gpus" / slot / "information").write_text(facts)
    for minor in (0, 1):
        (tmp_path / f"nvidia{minor}").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(gpus, "DRIVER", tmp_path / "gpus")
    monkeypatch.setattr(gpus, "DEVICES", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [(gpu.number, gpu.uuid) for gpu in gpus.visible()] == [(0, "GPU-1"), (1, "GPU-0")]
    assert gpus.described(gpus.visible()) == "2 here (2 x NVIDIA A30)"


WORKER = """
import os, sys, time
from retclip.core.gpu_lease import lease
lease("auto")
# in one piece: two processes write into one pipe
os.write(1, f"{os.environ['RANK']} {os.environ['CUDA_VISIBLE_DEVICES']} {os.getpid()}\\n".encode())
time.sleep(600)
"""


@pytest.mark.slow
def test_torchruns_processes_share_one_lease(machine, started, tmp_path):
    """Two of four GPUs, chosen before any of its processes starts; an orphan keeps them until it ends, too."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    command = [sys.executable, str(REPOSITORY / "scripts/lease_gpus.py"), "--gpus", "2", "--", sys.executable, "-m",
               "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]  # fmt: skip
    process = subprocess.Popen(command, env=machine.environment(), bufsize=0, stdout=subprocess.PIPE)
    started.append(process)
    said = sorted(line_of(process.stdout).split() for _ in range(2))
    workers = [int(pid) for *_, pid in said]
    try:
        assert [rank for rank, *_ in said] == ["0", "1"]
        assert said[0][1] == said[1][1]
        held = said[0][1].split(",")
        assert len(set(held)) == 2
        others = sorted(set(machine.names) - set(held))
        started += [machine.start() for _ in range(2)]
        assert sorted(seen(one)[0] for one in started[1:]) == others
        process.kill()
        process.wait()
        assert all(os.path.exists(f"/proc/{pid}") for pid in workers), "there is no orphan"
        started.append(machine.start())
        assert waits(started[-1])
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
    assert seen(started[-1])[0] in held


def test_torchrun_without_a_lease_is_refused(machine):
    """Each of its processes would choose for itself."""
    said = machine.lease(LOCAL_RANK="0", LOCAL_WORLD_SIZE="2", RANK="0", WORLD_SIZE="2")[1]
    assert "scripts/lease_gpus.py --gpus 2 -- " in said


def test_a_cpu_needs_no_lease(machine):
    asked = "from retclip.core.gpu_lease import lease; import os; lease('cpu'); print(os.environ.keys())"
    done = subprocess.run([sys.executable, "-c", asked], env=machine.environment(), capture_output=True, text=True)
    assert "CUDA_VISIBLE_DEVICES" not in done.stdout


def test_an_nvidia_smi_that_finds_no_driver_lists_none(machine):
    path = machine.folder / "bin/nvidia-smi"
    path.write_text("#!/bin/sh\necho NVIDIA-SMI has failed because it could not communicate with the driver\nexit 9\n")
    assert machine.lease()[0] == "None"
