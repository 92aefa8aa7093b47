"""What snakemake needs to plan a run, beside the barest Snakefile of the same jobs and files."""

import subprocess
import sys
from pathlib import Path

from figures import Figure, in_turn, slow_down
from running import ENVIRONMENT, REPOSITORY

SIZES = (16, 200, 2000)
FIXED = 17 + 2  # Phase 1 of the demo, and its confirmations
PHASE2 = """
phase2: {strategy: random, trials: %d, space: {learning_rate: {times_best: null, low: 1.0e-5, high: 1.0e-2, log: true},
  batch_size: from_best, warmup_steps: [5, 20], weight_decay: [0.1, 0.2, 0.3], temperature: [0.07, 0.1, 0.2]}}
"""
# the jobs of a run without what our rules know of them: no params, logs, environments, resources
SKELETON = """
TRIALS = [f"t{i:04d}" for i in range(%d)]
FINALS = [f"f{i}" for i in range(10)]
SPLITS = ["train", "val"]

rule all:
    input: "report.html"

rule data:
    output: "data/fingerprint.json", expand("data/samples_{s}.parquet", s=SPLITS), expand("data/{s}.lmdb", s=SPLITS)
    shell: "x"

rule encoder:
    output: "encoder.json"
    shell: "x"

rule propose:
    input: "data/fingerprint.json"
    output: "bracket.json"
    shell: "x"

rule plan:
    input: "data/fingerprint.json", "bracket.json"
    output: "search/{trial}/trial.json"
    shell: "x"

rule train:
    input: "search/{trial}/trial.json", expand("data/samples_{s}.parquet", s=SPLITS),
        expand("data/{s}.lmdb", s=SPLITS), "data/fingerprint.json", "encoder.json"
    output: "search/{trial}/metrics.json", "search/{trial}/history.csv", "search/{trial}/predictions.parquet"
    shell: "x"

rule rank:
    input: expand("search/{t}/metrics.json", t=TRIALS), expand("search/{t}/predictions.parquet", t=TRIALS)
    output: "best.json"
    shell: "x"

rule plan_final:
    input: "data/fingerprint.json", "best.json"
    output: "final/{trial}/trial.json"
    shell: "x"

rule train_final:
    input: "final/{trial}/trial.json", expand("data/samples_{s}.parquet", s=SPLITS),
        expand("data/{s}.lmdb", s=SPLITS), "data/fingerprint.json", "encoder.json"
    output: "final/{trial}/metrics.json", "final/{trial}/history.csv", "final/{trial}/predictions.parquet"
    shell: "x"

rule evaluate:
    input: "final/{trial}/metrics.json"
    output: "final/{trial}/evaluation.json"
    shell: "x"

rule report:
    input: "best.json", expand("search/{t}/{f}", t=TRIALS, f=["metrics.json", "history.csv"]),
        expand("final/{t}/{f}", t=FINALS, f=["metrics.json", "history.csv", "evaluation.json"])
    output: "report.html"
    shell: "x"
"""


def measure(folder: Path) -> list[Figure]:
    """Dry runs at three sizes."""
    found = []
    for size in SIZES:
        ours, bare = folder / f"ours{size}", folder / f"bare{size}"
        for place in (ours, bare):
            place.mkdir()
        (ours / "own.yaml").write_text(PHASE2 % size)
        (bare / "Snakefile").write_text(SKELETON % (size + FIXED))
        flags = ["--snakefile", REPOSITORY / "Snakefile", "--configfile", REPOSITORY / "config/demo.yaml"]
        seconds = in_turn(
            {
                "ours": lambda where=ours, flags=flags: plan_of(where, *flags, where / "own.yaml"),
                "bare": lambda where=bare: plan_of(where, "--snakefile", where / "Snakefile"),
            },
            3 if size < 1000 else 2,
        )
        found.append(
            slow_down(
                f"dry run of {size} trials", seconds["ours"], seconds["bare"], "<= 1.5" if size == SIZES[-1] else None
            )
        )
    return found


def plan_of(where: Path, *flags: object) -> None:
    """A dry run there."""
    command = [sys.executable, "-m", "snakemake", "--directory", where, "--cores", 2, "--dry-run", "--quiet", *flags]
    subprocess.run([*map(str, command)], env=ENVIRONMENT, check=True, capture_output=True)
