"""A machine with GPUs, for tests without one: an nvidia-smi of our own on PATH, and processes that lease from it."""

import os
import subprocess
import sys
import uuid
from pathlib import Path

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

    def start(self, count: int = 1, **variables: str) -> subprocess.Popen[str]:
        """A process that leases `count` GPUs and keeps them."""
        return subprocess.Popen(
            [sys.executable, "-c", LEASING, str(count)],
            env=self.environment(**variables),
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def lease(self, count: int = 1, **variables: str) -> tuple[str, str]:
        """What CUDA sees of a process that leased, and what the process said; it has ended."""
        output, said = self.start(count, **variables).communicate(timeout=60)
        return output.strip(), said


def seen(process: subprocess.Popen[str]) -> list[str]:
    """The GPUs that CUDA sees of a process that leases; waits until it has them."""
    assert process.stdout is not None
    return process.stdout.readline().strip().split(",")
