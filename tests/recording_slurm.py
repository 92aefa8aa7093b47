"""A stand-in for Slurm's commands: sbatch writes down the words that it was given and refuses the job.

With it a test sees the very line that a cluster would get, for every attempt, without a cluster.
"""

import json
import os
import re
import subprocess
from pathlib import Path

import yaml
from running import REPOSITORY, snakemake

# one word a line, and an empty line after the last; the command itself is snakemake's. Jobs are submitted by several
# threads at once, so that each waits until the words of another are written
SBATCH = """#!/bin/sh
{{
  flock 9
  for word in "$@"; do case $word in --wrap=*) ;; *) printf '%s\\n' "$word" ;; esac; done
  echo
}} 9>> '{record}' >&9
echo 'sbatch: error: recorded' >&2
exit 1
"""
OTHERS = ("squeue", "sacct", "sacctmgr", "sshare", "scancel", "scontrol", "sinfo")
# of every job, whatever the site wants: its name, log, folder and comment
NAMES = re.compile(r"(--parsable|--job-name \S+|--output \S+|--export=ALL|--comment \S+|-D \S+) ")
SAMPLES = 2000


class RecordingSlurm:
    """Commands in folder/bin, what sbatch was given in folder/sbatch.txt."""

    def __init__(self, folder: Path, without: tuple[str, ...] = ()) -> None:
        self.bin, self.record = folder / "bin", folder / "sbatch.txt"
        self.bin.mkdir(parents=True)
        commands = {"sbatch": SBATCH.format(record=self.record), **dict.fromkeys(OTHERS, "#!/bin/sh\n")}
        for name, text in commands.items():
            if name not in without:
                (self.bin / name).write_text(text)
                (self.bin / name).chmod(0o755)
        self.path = f"{self.bin}:{os.environ['PATH']}" if not without else self._path_without(folder / "path", without)

    def _path_without(self, folder: Path, without: tuple[str, ...]) -> str:
        """PATH with every command of this machine but those of Slurm's."""
        folder.mkdir()
        for place in reversed(os.environ["PATH"].split(":")):
            for command in Path(place).glob("*"):
                link = folder / command.name
                if command.name in ("sbatch", *OTHERS) or not os.access(command, os.X_OK) or command.is_dir():
                    continue
                link.unlink(missing_ok=True)
                link.symlink_to(command)
        assert not any((folder / name).exists() for name in without)
        return f"{self.bin}:{folder}"

    def submit(self, directory: Path, *arguments: object, attempts: int = 1) -> subprocess.CompletedProcess[str]:
        """Runs the workflow with these arguments; nothing is computed, since every submission is refused."""
        self.record.unlink(missing_ok=True)
        flags = ("--retries", attempts - 1, "--keep-going", "--nolock")
        return snakemake(directory, *flags, *arguments, check=False, environment={"PATH": self.path})

    def lines(self) -> list[tuple[str, str]]:
        """(rule or group, the words of sbatch that the site's settings and the job's needs make), in order."""
        found = []
        for block in self.record.read_text().split("\n\n") if self.record.is_file() else []:
            words = " ".join(block.split("\n")).strip() + " "
            if words.strip():
                comment = re.search(r"--comment rule_(\S+?)(?:_wildcards_\S*)? ", words)
                assert comment, words
                found.append((comment[1], NAMES.sub("", words).strip()))
        return found


def pretend_finished(directory: Path, *configfiles: object) -> None:
    """Empty files for all that a run makes, but those that requests are computed from: of 2,000 samples in train, at
    5 a second."""
    listed = snakemake(directory, "--dry-run", "--configfile", *configfiles).stdout
    for outputs in re.findall(r"^    output: (.*)$", listed, re.MULTILINE):
        for name in outputs.split(", "):
            path = directory / name
            if path.suffix:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(_content(path.name))
            else:
                path.mkdir(parents=True, exist_ok=True)


def _content(name: str) -> str:
    known = {
        "fingerprint.json": {"splits": {split: {"samples": SAMPLES} for split in ("train", "val", "test")}},
        "trial.json": {
            "budget": {"train_samples": SAMPLES, "stop_epoch": 1},
            "hyperparameters": {"batch_size": 32},
            "image_size": 64,
        },
        "suggestion.json": {"samples_per_second": 5.0, "device": "cuda"},
    }
    return json.dumps(known[name]) if name in known else ""


def profile_with(folder: Path, changes: dict[str, object], **top: object) -> Path:
    """A copy of slurm/ in which default-resources say this, too; None takes a line out. top: keys beside them."""
    profile = yaml.safe_load((REPOSITORY / "slurm/config.yaml").read_text())
    for name, value in changes.items():
        if value is None:
            profile["default-resources"].pop(name, None)
        else:
            profile["default-resources"][name] = value
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(
        yaml.safe_dump({**profile, **top, "slurm-init-seconds-before-status-checks": 1})
    )
    return folder
