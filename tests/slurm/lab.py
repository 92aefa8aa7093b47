"""A real Slurm of one machine with two make-believe GPUs: controller, node daemon, munge. Needs root."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TOOLS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "srun")
SYSTEM = Path("/etc/slurm")
FILES = ("slurm.conf", "gres.conf")
SNAKEMAKE = [sys.executable, str(Path(__file__).with_name("quick_snakemake.py"))]


def why_not() -> str | None:
    """The sentence that says why this machine cannot run the lab; None if it can."""
    if os.geteuid() != 0:
        return "the Slurm lab needs root"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (Debian: slurmctld slurmd slurm-client munge)"
    if any((SYSTEM / name).exists() and not (SYSTEM / name).is_symlink() for name in FILES):
        return f"{SYSTEM} belongs to a real cluster"
    return None


class Lab:
    """Starts the daemons in `folder`, which holds their state, and stops them by the ids that they wrote."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self) -> None:
        for name in ("controller", "node"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        host = socket.gethostname().split(".")[0]
        devices = [self.folder / f"gpu{index}" for index in range(2)]
        for device in devices:  # slurmd wants character devices: clones of /dev/null
            os.mknod(device, 0o20666, os.makedev(1, 3))
        text = Path(__file__).with_name("slurm.conf.in").read_text()
        (self.folder / "slurm.conf").write_text(text.replace("@DIR@", str(self.folder)).replace("@HOST@", host))
        (self.folder / "gres.conf").write_text(f"NodeName={host} Name=gpu Type=fake File={self.folder}/gpu[0-1]\n")
        for event, name in (("start", "prolog"), ("end", "epilog")):
            line = f"{event} $(date +%s.%N) $SLURM_JOB_ID $SLURM_JOB_PARTITION ${{SLURM_JOB_GPUS:-none}}"
            script = self.folder / name
            script.write_text(f'#!/bin/sh\necho "{line}" >> {self.folder}/events.txt\n')
            script.chmod(0o755)
        SYSTEM.mkdir(exist_ok=True)
        for name in FILES:  # job steps lose SLURM_CONF, so the files must lie at the default place, too
            (SYSTEM / name).unlink(missing_ok=True)
            (SYSTEM / name).symlink_to(self.folder / name)
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        subprocess.run(
            ["munged", "--force", f"--key-file={key}", f"--socket={self.folder}/munge.socket",
             f"--pid-file={self.folder}/munged.pid", f"--log-file={self.folder}/munged.log",
             f"--seed-file={self.folder}/munge.seed"], check=True, capture_output=True,
        )  # fmt: skip
        for daemon in ("slurmctld", "slurmd"):
            subprocess.run([daemon, "-f", str(self.folder / "slurm.conf")], check=True, capture_output=True)
        for _ in range(100):
            done = subprocess.run(["sinfo", "-h", "-p", "gpu", "-o", "%T"], capture_output=True, text=True)
            if "idle" in done.stdout:
                return
            time.sleep(0.2)
        raise AssertionError((self.folder / "slurmctld.log").read_text()[-2000:])

    def restart_controller(self) -> None:
        """slurmctld goes away with its memory and comes back from its state on disk."""
        _end(self.folder / "slurmctld.pid")
        subprocess.run(["slurmctld", "-f", str(self.folder / "slurm.conf")], check=True, capture_output=True)

    @contextmanager
    def drained(self) -> Iterator[None]:
        """The node finishes what runs and starts nothing new, as for its maintenance; then it is as before."""
        update = ["scontrol", "update", f"NodeName={socket.gethostname().split('.')[0]}"]
        subprocess.run([*update, "State=drain", "Reason=test"], check=True)
        try:
            yield
        finally:
            subprocess.run([*update, "State=resume"], check=True)

    def queue(self, state: str) -> list[str]:
        """Ids of the jobs in this state (PENDING, RUNNING, ...)."""
        command = ["squeue", "--noheader", f"--states={state}", "--format=%i"]
        return subprocess.run(command, capture_output=True, text=True).stdout.split()

    def stop(self) -> None:
        for daemon in ("slurmd", "slurmctld", "munged"):
            _end(self.folder / f"{daemon}.pid")
        for name in FILES:
            if (SYSTEM / name).is_symlink():
                (SYSTEM / name).unlink()

    def jobs(self) -> list[dict[str, str]]:
        """Slurm's own record of every finished job."""
        path = self.folder / "finished_jobs.txt"
        lines = path.read_text().splitlines() if path.is_file() else []
        return [dict(field.split("=", 1) for field in line.split() if "=" in field) for line in lines]

    def events(self) -> list[tuple[str, float, str, str, list[str]]]:
        """The node's own record: (start or end, time, job id, partition, ids of the job's GPUs), in order."""
        path = self.folder / "events.txt"
        rows = [line.split() for line in (path.read_text().splitlines() if path.is_file() else [])]
        found = [
            (event, float(when), job, partition, [] if gpus == "none" else gpus.split(","))
            for event, when, job, partition, gpus in rows
        ]
        return sorted(found, key=lambda row: row[1])


def _end(pid_file: Path) -> None:
    if not pid_file.is_file() or not pid_file.read_text().strip():
        return
    pid = int(pid_file.read_text())
    try:
        os.kill(pid, signal.SIGTERM)
        for _ in range(100):
            os.kill(pid, 0)
            time.sleep(0.1)
    except ProcessLookupError:
        pass
