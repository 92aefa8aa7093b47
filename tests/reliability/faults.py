"""Entries as processes that start at once (forked.py), and what is done to them.

Whatever is patched is patched in the forked process alone; all else in it is the real entry.
"""

import importlib.util
import itertools
import json
import multiprocessing
import os
import re
import shlex
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forked
from running import ENVIRONMENT, REPOSITORY, snakemake

WAIT_SECONDS = 300
MOMENTS = int(os.environ.get("RETCLIP_FAULTS", "1"))
# what a clock or an accident, and no seed, decides
TIMES = {"wall_seconds", "device_seconds", "samples_per_second", "peak_memory_bytes", "attempts", "lost_seconds",
         "resumed_from", "commit"}  # fmt: skip
TRAINED = ("train_phase1_trial", "train_final")
Fault = tuple[Callable[..., None], tuple[Any, ...]]


class Entries:
    """Runs entries, forked, in a folder; their output is appended to `output` there."""

    def start(self, name: str, arguments: list[str], folder: Path, fault: Fault | None = None) -> Any:
        """The process, at work."""
        return forked.start(_work, name, arguments, str(folder), fault)

    def run(self, name: str, arguments: list[str], folder: Path, fault: Fault | None = None) -> tuple[int, str]:
        """Exit code (negative: the signal that ended it) and its log."""
        (folder / "output").write_text("")
        process = self.start(name, arguments, folder, fault)
        process.join(WAIT_SECONDS)
        assert process.exitcode is not None, "it hangs"
        return process.exitcode, (folder / "output").read_text()


def _work(name: str, arguments: list[str], folder: str, fault: Fault | None) -> None:
    os.environ.update(ENVIRONMENT)
    os.chdir(folder)
    multiprocessing.set_start_method("fork", force=True)  # as in an entry that a shell started
    os.setsid()  # its own children die with it, as a job's do
    forked.write_to("output", "output")
    if fault:
        fault[0](*fault[1])
    spec = importlib.util.spec_from_file_location(f"entry_{name}", REPOSITORY / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    from retclip.core.logs import run_entry

    run_entry(module.main, arguments)


def commands(run: Path, *flags: object) -> dict[str, tuple[str, list[str]]]:
    """rule -> entry and flags of one of its jobs, as snakemake would run it: always the one whose trial sorts last."""
    output = snakemake(run, "--dry-run", "--forceall", "--printshellcmds", *flags).stdout
    found, trials, rule, trial = {}, {}, "", ""
    for line in output.splitlines():
        if match := re.match(r"(?:local)?rule (\w+):", line):
            rule, trial = match.group(1), ""
        elif match := re.search(r"wildcards: .*trial=(\S+)", line):
            trial = match.group(1)
        elif line.startswith("Shell command: ") and str(REPOSITORY / "scripts") in line:
            words = shlex.split(
                re.split(r" > res|&1 \| tee ", line.removeprefix("Shell command: "))[0].removesuffix(" 2>")
            )
            if trial < trials.get(rule, ""):
                continue
            trials[rule] = trial
            # python stands before it, and where the entry has threads of its own, variables
            script = next(place for place, word in enumerate(words) if word.startswith(str(REPOSITORY / "scripts")))
            found[rule] = (Path(words[script]).stem, words[script + 1 :])
    return found


# --- what is done to a process, inside of it --------------------------------------------------------------------


def die_at_rename(count: int, after: bool) -> None:
    """kill -9 just before or after the count-th file gets its final name."""
    replace, seen = Path.replace, [0]

    def counting(self: Path, target: Path) -> Path:
        seen[0] += 1
        if seen[0] == count and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = replace(self, target)
        if seen[0] == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    Path.replace = counting


def break_loss(step: int, value: float) -> None:
    """The loss of one step is `value`, and so are its gradients."""
    from retclip.training import trainer

    whole, seen = trainer.tripartite_loss, [0]

    def broken(*arguments: Any, **named: Any) -> dict[str, Any]:
        seen[0] += 1
        losses = whole(*arguments, **named)
        return {**losses, "total": losses["total"] * value} if seen[0] == step else losses

    trainer.tripartite_loss = broken


def run_out_of_memory(step: int, of_gpu: bool) -> None:
    """What torch's allocators raise."""
    import torch

    from retclip.training import trainer

    whole, seen = trainer.tripartite_loss, [0]

    def broken(*arguments: Any, **named: Any) -> dict[str, Any]:
        seen[0] += 1
        if seen[0] == step:
            if of_gpu:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
            torch.empty(1 << 50)  # a petabyte: the CPU's allocator refuses it in its own words
        return whole(*arguments, **named)

    trainer.tripartite_loss = broken


def copy_of(run: Path, target: Path) -> Path:
    """The finished run once more, to be broken."""
    shutil.copytree(run, target, symlinks=True, ignore=shutil.ignore_patterns(".snakemake", ".cache"))
    return target


def content(path: Path) -> object:
    """A file as it has to be again: JSON without what clocks decide, everything else byte by byte."""
    if path.suffix != ".json":
        return path.read_bytes()
    document = json.loads(path.read_text())
    return (
        {key: value for key, value in document.items() if key not in TIMES} if isinstance(document, dict) else document
    )


def made_by(flags: list[str], folder: Path) -> list[Path]:
    """Every file under the paths that a command writes to, hidden ones included."""
    outputs = [folder / value for flag, value in itertools.pairwise(flags) if flag.startswith("--output")]
    return sorted(
        path for output in outputs
        for path in ([output] if output.is_file() else output.rglob("*") if output.is_dir() else ())
        if path.is_file() and path.name != ".snakemake_timestamp"
    )  # fmt: skip


def assert_same(flags: list[str], folder: Path, undisturbed: Path) -> None:
    found, expected = (
        {path.relative_to(root): content(path) for path in made_by(flags, root)} for root in (folder, undisturbed)
    )
    assert set(map(str, found)) == set(map(str, expected))
    different = [str(name) for name in found if found[name] != expected[name]]
    assert not different


def without_outputs(rule: str, flags: list[str], folder: Path) -> None:
    """What snakemake deletes before it starts a job; for a training run, its state as well, so that it trains."""
    for flag, value in itertools.pairwise(flags):
        path = folder / value
        if flag.startswith("--output") and flag != "--output-dir":
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if rule in TRAINED:
        shutil.rmtree(folder / "results/small/state")
