"""How tests run the real thing: entries as processes, snakemake on a small demo, merged configs."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path

import forked
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "", "HF_HUB_OFFLINE": "1"}


def copy_repository(folder: Path) -> None:
    """All files that git knows here, or would, committed or not."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in (name for name in names if (REPOSITORY / name).is_file()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(REPOSITORY / name, folder / name)


def entry(name: str, *arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs scripts/{name}.py and returns it with its output; fails the test on a non-zero exit."""
    done = forked.run([str(REPOSITORY / "scripts" / f"{name}.py"), *map(str, arguments)], ENVIRONMENT)
    assert not check or done.returncode == 0, done.stderr
    return done


def snakemake(
    directory: Path,
    *arguments: object,
    check: bool = True,
    repository: Path = REPOSITORY,
    environment: dict[str, str] | None = None,
    forks: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Runs the Snakefile with `directory` as working directory, as a person would. environment: more variables. forks:
    whether it and its jobs are (see forked.py); where the environment says what Python imports, they are not."""
    variables = {**ENVIRONMENT, **(environment or {})}
    command = snakemake_command(directory, *arguments, repository=repository)
    if forks and "PYTHONPATH" not in variables:
        done = forked.run(command[1:], variables, forked.python())
    else:
        done = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done


def snakemake_command(directory: Path, *arguments: object, repository: Path = REPOSITORY) -> list[str]:
    """As a list of words."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(repository / "Snakefile")]
    command += ["--directory", str(directory), "--cores", "2", "--rerun-incomplete", "--show-failed-logs"]
    return [*command, *map(str, arguments)]


# what a test's build of a table is told, where it says nothing else
BUILD = {"source": "manifest", "image_encoding": "raw", "test_fraction": 0.2, "val_fraction": 0.2,
         "max_bad_fraction": 0, "seed": 1, "near_duplicates": "ignore"}  # fmt: skip


def build_flags(table: Path, images: Path, folder: Path, work: Path, **settings: object) -> list[str]:
    """The flags of build_lmdb for a table, whose stores it writes into `folder`. settings: keys of --settings, and
    `threads`; image_size must be given."""
    threads = settings.pop("threads", 1)
    paths = {"manifest": table, "image-root": images, "threads": threads, "work-dir": work, "output-dir": folder}
    words = [word for name, value in paths.items() for word in (f"--{name}", str(value))]
    return ["--settings", json.dumps({**BUILD, **settings}), *words]


def declared_defaults() -> dict:
    """Hyperparameter -> its default, where its declaration gives one: what the values of a test begin with."""
    from retclip.core.hyperparameters import GIVEN, HYPERPARAMETERS

    return {name: declared.default for name, declared in HYPERPARAMETERS.items() if declared.default is not GIVEN}


def made_once(temporary: Path, name: str, make: Callable[[Path], object]) -> Path:
    """The folder `name` that `make` fills once for all processes of pytest-xdist. temporary: getbasetemp()."""
    root = temporary.parent if "PYTEST_XDIST_WORKER" in os.environ else temporary
    folder, done = root / name, root / f"{name}.made"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            folder.mkdir(exist_ok=True)
            make(folder)
            done.touch()
    return folder


def planned_jobs(directory: Path, *arguments: object, repository: Path = REPOSITORY) -> dict[str, set[str]]:
    """What a dry run would do: rule -> the values of its wildcards but run ('' where there is none)."""
    output = snakemake(directory, "--dry-run", *arguments, repository=repository).stdout
    jobs: dict[str, set[str]] = {}
    rule = ""
    for line in output.splitlines():
        if line.startswith(("rule ", "localrule ")):
            rule = line.split()[1].rstrip(":")
            jobs.setdefault(rule, set()).add("")
        elif line.strip().startswith("wildcards:"):
            values = dict(pair.split("=", 1) for pair in line.split(":", 1)[1].strip().split(", "))
            values.pop("run", None)
            if values:
                jobs[rule].discard("")
                jobs[rule].add("-".join(values.values()))
    jobs.pop("all", None)
    return jobs


def merged(*names: str) -> dict:
    """config.yaml with the named overlays of config/ over it, as Snakemake merges them."""
    config: dict = {}
    for name in ("config", *names):
        merge(config, deepcopy(_parsed(name)))
    config["evaluation"]["prompts"] = str(REPOSITORY / config["evaluation"]["prompts"])
    return config


@cache
def _parsed(name: str) -> dict:
    return yaml.safe_load((REPOSITORY / f"config/{name}.yaml").read_text())


def merge(base: dict, overlay: dict) -> None:
    """Lays the overlay over the base, in place, as Snakemake does: mappings merge, all else replaces; null stays."""
    for key, value in overlay.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            merge(base[key], value)
        else:
            base[key] = value
