"""A machine with GPUs, for tests without one: an nvidia-smi of our own on PATH, and processes that lease from it."""

import os
import select
import subprocess
import sys
import uuid
from pathlib import Path
from typing import IO

from running import ENVIRONMENT, REPOSITORY

# Prints what CUDA will see as soon as it has its lease, and keeps that until its input ends.
LEASING = """
import os, sys
from retclip.core.gpu_lease import lease
lease("auto", int(sys.argv[1]))
print(os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
sys.stdin.read()
"""


class Machine:
    """`names`: the UUIDs of its GPUs, new ones each time, so that no two tests want the same locks."""

    def __init__(self, folder: Path, gpus: int, model: str = "NVIDIA A100-SXM4-40GB") -> None:
        self.folder, self.model = folder, model
        self.names = [f"GPU-{uuid.uuid4()}" for _ in range(gpus)]
        self.used_mib = dict.fromkeys(self.names, 3)
        (folder / "bin").mkdir(parents=True)
        self.lines = [f"GPU {k}: {model} (UUID: {name})" for k, name in enumerate(self.names)]
        self.write()

    def write(self) -> None:
        """The program that answers as nvidia-smi does."""
        listing = "\n".join(self.lines)
        memory = "\n".join(f"{name}, {used}, 40960" for name, used in self.used_mib.items())
        path = self.folder / "bin/nvidia-smi"
        path.write_text(
            f"#!/bin/sh\ncase \"$*\" in\n-L) cat <<'END'\n{listing}\nEND\n;;\n"
            f"*memory.used*) cat <<'END'\n{memory}\nEND\n;;\n*) exit 2;;\nesac\n"
        )
        path.chmod(0o755)

    def environment(self, **variables: str) -> dict[str, str]:
        """That of a process on this machine; of Slurm and CUDA it knows what the test says."""
        kept = {name: value for name, value in ENVIRONMENT.items() if not name.startswith(("SLURM", "CUDA", "RETCLIP"))}
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        return {**kept, "PATH": path, "PYTHONPATH": f"{REPOSITORY}/scripts:{REPOSITORY}/tests", **variables}

    def start(self, count: int = 1, **variables: str) -> subprocess.Popen[bytes]:
        """A process that leases `count` GPUs and keeps them."""
        return subprocess.Popen(
            [sys.executable, "-c", LEASING, str(count)],
            env=self.environment(**variables),
            bufsize=0,  # select knows nothing of what Python has read ahead
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def lease(self, count: int = 1, **variables: str) -> tuple[str, str]:
        """What CUDA sees of a process that leased, and what the process said; it has ended."""
        output, said = self.start(count, **variables).communicate(timeout=60)
        return output.decode().strip(), said.decode()


def seen(process: subprocess.Popen[bytes]) -> list[str]:
    """The GPUs that CUDA sees of a process that leases; waits until it has them."""
    return line_of(process.stdout).split(",")


def waits(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has to wait, by its first word, and has no GPU yet."""
    return "waiting for" in line_of(process.stderr) and not has_line(process.stdout)


def line_of(stream: IO[bytes] | None) -> str:
    """The next line, within a minute."""
    assert has_line(stream, 60), "it says nothing"
    assert stream is not None
    return stream.readline().decode().strip()


def has_line(stream: IO[bytes] | None, seconds: float = 0) -> bool:
    """Whether something can be read now, or within so long."""
    return bool(select.select([stream], [], [], seconds)[0])
