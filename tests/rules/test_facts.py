"""Kinds, candidates, brackets and rungs are recorded for every job, whatever the text encoders are called."""

import json

from running import REPOSITORY, planned_jobs, snakemake

OVERLAY = """
model:
  text_encoders:
    {biobert: null, bert_base: null, baseline_bert: {source: demo}, control_x: {source: demo},
     ablation_lr: {source: demo}}
ablation: true
controls: {shuffled_texts: true}
final: {learning_rate_factors: [0.5, 1.0]}
phase2: {strategy: tpe_halving}
"""


def test_run_json_says_what_every_training_is_for(tmp_path):
    (tmp_path / "own.yaml").write_text(OVERLAY)
    files = ["--configfile", REPOSITORY / "config/demo.yaml", tmp_path / "own.yaml"]
    snakemake(tmp_path, *files, "--config", "seed=7998", "--", "results/demo/run.json")
    record = json.loads((tmp_path / "results/demo/run.json").read_text())
    told = record["facts"]
    encoders = {"pubmedbert", "baseline_bert", "control_x", "ablation_lr"}
    assert {stage: told[stage].keys() for stage in told} == {
        stage: record["training_runs"][stage].keys() for stage in ("phase1", "phase2", "confirm", "encoders", "final")
    }
    kinds = {kind: {name for name, one in told["final"].items() if one["kind"] == kind}
             for kind in ("tuned", "baseline", "control", "ablation", "subset")}  # fmt: skip
    assert {told["final"][name]["text_encoder"] for name in kinds["tuned"]} == encoders
    assert {name.rsplit("-", 1)[0] for name in kinds["baseline"] | kinds["control"]} == {"baseline", "control"}
    assert {told["final"][name]["ablated"] for name in kinds["ablation"]} == {
        name.removeprefix("ablation_").rsplit("-", 1)[0] for name in kinds["ablation"]
    }
    assert {name.rsplit("-", 1)[0] for name in kinds["subset"]} == {"subset_25", "subset_50"}
    assert sum(map(len, kinds.values())) == len(told["final"])
    assert [name for name, one in told["phase1"].items() if one["kind"] == "baseline"] == ["baseline"]
    assert {name: f"b{one['bracket']}r{one['rung']}s{one['slot']:02d}" for name, one in told["phase2"].items()} == {
        name: name for name in told["phase2"]
    }
    assert {one["candidate"] for one in told["confirm"].values()} == {name.split("s")[0] for name in told["confirm"]}
    assert {one["text_encoder"] for one in told["encoders"].values()} == encoders
    assert record["initial"].startswith("initial-s")
    # the report shows the first one, whatever the digits of its seed
    assert list(told["final"]) == list(record["training_runs"]["final"])


def test_every_such_training_is_one_job(tmp_path):
    (tmp_path / "own.yaml").write_text(OVERLAY)
    jobs = planned_jobs(tmp_path, "--configfile", REPOSITORY / "config/demo.yaml", tmp_path / "own.yaml")
    assert len(jobs["train_final"]) == len(jobs["plan_final"]) == len(jobs["evaluate_final"])
    assert {name.rsplit("-s", 1)[0] for name in jobs["train_final"]} > {"baseline_bert", "control_x", "ablation_lr"}
    assert len(jobs["make_demo_encoder"]) == 4
