"""A run in the small: what is not training in it, and the CPU time of starting.

Planning entries from start to end, and a training run up to the end of its first step.
"""

import json
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path

from conftest import SMALL
from figures import Figure, in_turn, slow_down
from running import ENVIRONMENT, REPOSITORY, snakemake

ROUNDS = 3
PLANNING = ("plan_phase1_trial", "propose_bracket", "plan_phase2_trial", "rank_phase1", "select_phase1", "plan_final",
            "recommend_encoder")  # fmt: skip
SHELL = "Shell command: "  # as a dry run prints it
# what no training run can do without
BARE = """
import torch, open_clip
from transformers import BertModel
layer = torch.nn.Linear(8, 8)
optimizer = torch.optim.AdamW(layer.parameters())
layer(torch.randn(2, 8)).sum().backward()
optimizer.step()
"""
# train_trial as it is, ended after its first step
FIRST_STEP = """
import os, sys
sys.path.insert(0, {scripts!r})
from retclip.training.trainer import Trainer
step = Trainer._step
def first(self, *arguments):
    step(self, *arguments)
    os._exit(0)
Trainer._step = first
import train_trial
train_trial.main({arguments!r})
os._exit(1)
"""


def measure(folder: Path) -> list[Figure]:
    """Of a small run, whose jobs are run once more by the commands that snakemake prints."""
    (folder / "small.yaml").write_text(SMALL)
    files = ["--configfile", REPOSITORY / "config/demo.yaml", folder / "small.yaml"]
    started = time.monotonic()
    # no forks of the tests' server, which is nobody's child here: its seconds would be counted by nobody
    snakemake(folder, *files, forks=False)
    wall = time.monotonic() - started
    metrics = [json.loads(path.read_text()) for path in folder.glob("results/small/*/*/metrics.json")]
    training = sum(document["wall_seconds"] for document in metrics)
    again = in_turn({"again": lambda: snakemake(folder, *files, forks=False)}, ROUNDS)["again"]
    planned = snakemake(folder, *files, "--forceall", "--dry-run", "--printshellcmds", forks=False)
    commands = _commands(planned.stdout)
    found = [
        Figure(f"small run on two cores, {len(metrics)} training runs: wall time over theirs", wall, "s", training,
               wall / training, spread=(wall / training, wall / training)),
        Figure("small run once more: nothing to do", statistics.median(again), "CPU s",
               spread=(min(again), max(again))),
    ]  # fmt: skip
    for rule in PLANNING:
        command = commands[rule]
        seconds = in_turn({rule: lambda command=command: _run(command, folder)}, ROUNDS)[rule]
        found.append(Figure(f"start: {rule}, to its end", statistics.median(seconds), "CPU s", goal="<= 1",
                            spread=(min(seconds), max(seconds))))  # fmt: skip
    arguments = shlex.split(commands["train_phase1_trial"].split("train_trial.py")[1].split(" > ")[0])
    state = arguments.index("--state-dir") + 1
    arguments[state] = str(folder / "fresh")
    code = FIRST_STEP.format(scripts=str(REPOSITORY / "scripts"), arguments=arguments)
    ways = {"ours": [sys.executable, "-c", code], "bare": [sys.executable, "-c", BARE]}
    seconds = in_turn({name: lambda way=way: _run(way, folder) for name, way in ways.items()}, ROUNDS)
    name = "start: train_trial to its first step, over torch, open_clip, BertModel and one AdamW step"
    return [*found, slow_down(name, seconds["ours"], seconds["bare"], "<= 1.3")]


def _run(command: str | list[str], folder: Path) -> None:
    shell = isinstance(command, str)
    subprocess.run(command, shell=shell, cwd=folder, env=ENVIRONMENT, check=True, capture_output=True)


def _commands(output: str) -> dict[str, str]:
    """The shell command of one job of each rule."""
    found, rule = {}, ""
    for line in output.splitlines():
        if line.startswith(("rule ", "localrule ")):
            rule = line.split()[1].rstrip(":")
        elif line.startswith(SHELL):
            found[rule] = line.removeprefix(SHELL).strip()
    return found
