"""How often the demo says "learned": with its reports as they are, and with reports shuffled between the patients.

A study of one seed, by the entries that the workflow runs: Phase 1's four learning rates are planned, trained, ranked
and judged; one is chosen, or the defaults where best.json sees nothing learned. That is trained to the end with a fresh
seed, and judged on test, as the report's first sentence is. Left out, for their cost: Phase 1's other trials,
Phase 2 and its confirmation, the other text encoders, and the report's comparison with its negative control, which can
only take a "learned" back. All studies read one LMDB; a shuffle is that of its trial's seed, as the control's is.

A finished study is a line of results/statistics/demo_seeds.csv, and is not run again.
"""

import csv
import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from running import REPOSITORY, entry, merged, snakemake

from retclip.core.config import check_config, configured_defaults
from retclip.core.io import canonical_json, read_json
from retclip.metrics import nulls
from retclip.search.jobs import Jobs, final_seeds, jobs_of

FOLDER = Path("results/statistics")
WAYS = {"as they are": False, "shuffled": True}
KEPT = {"batch_size": 32, "warmup_steps": 30}  # of Phase 1's grid
CODE = "demo_seeds"


class Study(NamedTuple):
    """chosen: whether best.json says that anything was learned. tested: whether the test scores say so. p_value: of
    the best of the search; of the final model on test."""

    seed: int
    reports: str
    chosen: bool
    tested: bool
    search_p_value: float
    test_p_value: float


def studies(count: int, folder: Path = FOLDER) -> list[Study]:
    """Of the seeds 1 to `count`, both ways; those that the file has not are run."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "demo_seeds.csv"
    known = {(study.seed, study.reports): study for study in _read(path)}
    for seed in range(1, count + 1):
        for reports, is_shuffled in WAYS.items():
            if (seed, reports) in known:
                continue
            study = run_study((folder / "demo").resolve(), seed, reports, is_shuffled)
            known[seed, reports] = study
            if not path.exists():
                path.write_text(",".join(Study._fields) + "\n")
            with path.open("a") as stream:
                stream.write(",".join(map(str, study)) + "\n")
    return list(known.values())


def _read(path: Path) -> list[Study]:
    if not path.exists():
        return []
    with path.open(newline="") as stream:
        return [
            Study(int(row["seed"]), row["reports"], row["chosen"] == "True", row["tested"] == "True",
                  float(row["search_p_value"]), float(row["test_p_value"]))
            for row in csv.DictReader(stream)
        ]  # fmt: skip


def run_study(folder: Path, seed: int, reports: str, is_shuffled: bool) -> Study:
    """folder: of the demo's data, which is made where it is not there."""
    results = folder / "results/demo"
    if not (results / "phase1/baseline/metrics.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        snakemake(
            folder, "--configfile", REPOSITORY / "config/demo.yaml", "--", "results/demo/phase1/baseline/metrics.json"
        )
    config = check_config({**merged("demo"), "seed": seed})
    jobs, metric = jobs_of(config), config["selection"]["metric"]
    work = folder / f"{seed}-{WAYS[reports]:d}"
    trials = [name for name, values in jobs.phase1.items() if KEPT.items() <= values.items()]
    for trial in trials:
        _train(work, results, {**jobs.specification("phase1", trial), "shuffled_texts": is_shuffled})
    entry("rank_trials", "--stage-dir", work, "--candidates", *trials, "--metric", metric,
          "--output", work / "leaderboard.csv")  # fmt: skip
    entry("select_trial", "--leaderboard", work / "leaderboard.csv", "--stage", "phase1", "--metric", metric,
          "--defaults", canonical_json(configured_defaults(config)), "--output", work / "best.json")  # fmt: skip
    board, best = pd.read_csv(work / "leaderboard.csv"), read_json(work / "best.json")
    final = next(
        name for name in jobs.final if name == f"{config['model']['search_encoder']}-s{final_seeds(config)[0]}"
    )
    judged = _judged_on_test(work, results, jobs, final, is_shuffled, metric)
    shutil.rmtree(work)
    assert judged.p_value is not None
    return Study(seed, reports, best["id"] != "defaults", bool(judged.is_learned),
                 float(board.loc[board["metric"].idxmax(), "p_value"]), judged.p_value)  # fmt: skip


def _judged_on_test(
    work: Path, results: Path, jobs: Jobs, final: str, is_shuffled: bool, metric: str
) -> nulls.Judgement:
    """Of the chosen configuration, trained to the end with a fresh seed, as report.comparisons judges it."""
    specification = {**jobs.specification("final", final), "shuffled_texts": is_shuffled}
    trial = _train(work, results, specification, "--export", best=work / "best.json")
    entry("evaluate_final", "--trial", trial, "--model-dir", work / final / "model", "--data-dir", results / "data",
          "--code", CODE, "--device", "cpu", "--output-evaluation", work / "evaluation.json",
          "--output-predictions", work / "predictions.parquet")  # fmt: skip
    chance = read_json(work / "evaluation.json")["levels"]["chance"][metric]
    return nulls.judge(metric, [[pd.read_parquet(work / "predictions.parquet")]], [chance])[0]


def _train(work: Path, results: Path, specification: dict[str, Any], *flags: str, best: Path | None = None) -> Path:
    """Plans and trains one trial into work/ID; returns its trial.json."""
    folder = work / specification["id"]
    chosen = ("--candidates", best) if best else ()
    fingerprint = results / "data/fingerprint.json"
    entry("plan_trial", "--specification", json.dumps(specification), "--fingerprint", fingerprint,
          "--prompts", REPOSITORY / "config/prompts.yaml", *chosen, "--output", folder / "trial.json")  # fmt: skip
    encoder = results.parents[1] / f"resources/text_encoders/demo--{specification['text_encoder']}"
    entry("train_trial", "--trial", folder / "trial.json", "--data-dir", results / "data", "--encoder-dir", encoder,
          "--state-dir", work / "state", "--code", CODE, "--device", "cpu", "--output-dir", folder, *flags)  # fmt: skip
    return folder / "trial.json"
