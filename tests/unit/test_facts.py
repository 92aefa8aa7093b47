"""What a training is for is recorded, and read nowhere off its name: text encoders may be called almost anything."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from documents import SPECIFICATION, evaluation_of, metrics_of
from running import merged

from retclip.core.config import HYPERPARAMETERS, check_config, configured_defaults
from retclip.metrics.registry import METRICS
from retclip.report import formatting as wording
from retclip.report import stability
from retclip.report.run_folder import FinishedTrial, read_run
from retclip.report.sections import curves
from retclip.search import budget, candidates, selection
from retclip.search.jobs import jobs_of
from retclip.training.checkpoint import state_key

METRIC = "zero_shot_balanced_accuracy"
SCORE = {"value": 0.8, "low": None, "high": None, "standard_error": None}
ENCODERS = ("baseline_bert", "control_x", "ablation_lr", "s")
DEFAULTS = configured_defaults(merged())
OWN = {**SPECIFICATION, "phase": "final", "selection_metric": METRIC}


def facts(kind, **known):
    """What is recorded of a training run."""
    return {"kind": kind, **dict.fromkeys(("bracket", "rung", "slot", "candidate", "ablated")), **known}


def planned(identifier, encoder="s", seed=1, **known):
    specification = {
        **SPECIFICATION,
        "phase": "final",
        "selection_metric": METRIC,
        "id": identifier,
        "text_encoder": encoder,
        "seed": seed,
        **known,
    }
    return budget.plan(specification, DEFAULTS, {"train": 5000, "val": 60})


def document(identifier, encoder="s", seed=1, score=0.8, **known):
    """metrics.json of a finished training run."""
    trial = planned(identifier, encoder, seed, **known)
    levels = {"chance": dict.fromkeys(METRICS, 0.5), "majority": {}}
    return metrics_of(trial, {**dict.fromkeys(METRICS, score), "levels": levels})


def test_facts_stand_in_the_trial_and_change_neither_its_weights_nor_what_it_is_equal_to():
    plain, told = planned("t"), planned("t", **facts("tuned"))
    rung = planned("t", **facts("trial", bracket=1, rung=2, slot=3))
    assert (plain.kind, told.kind) == ("trial", "tuned")
    assert [getattr(rung, name) for name in ("bracket", "rung", "slot", "candidate", "ablated")] == [
        1,
        2,
        3,
        None,
        None,
    ]
    assert len({state_key(trial, {}, {}, "code") for trial in (plain, told, rung)}) == 1
    assert len({budget.same_training(trial) for trial in (plain, told, rung)}) == 1


@pytest.mark.parametrize("name", ["baseline", "control", "initial", "ablation_learning_rate"])
def test_a_text_encoder_may_not_have_the_name_of_one_of_the_runs_own_models(name):
    config = merged("demo")
    config["model"]["text_encoders"][name] = {"source": "demo"}
    with pytest.raises(
        ValueError, match=rf"model\.text_encoders\.{name}: .* give the text encoder another name"
    ) as said:
        check_config(config)
    assert len(str(said.value)) < 300


def test_other_names_of_text_encoders_are_taken():
    config = merged("demo")
    config["model"]["text_encoders"] |= {name: {"source": "demo"} for name in ENCODERS}
    check_config(config)


def finals() -> dict[str, dict]:
    """id -> (text encoder, facts) of the final training runs of a run with such encoders."""
    tuned = {f"{encoder}-s{seed}": (encoder, facts("tuned")) for encoder in ENCODERS for seed in (2001, 2002)}
    return {
        **tuned,
        "baseline-s2001": ("s", facts("baseline")),
        "control-s2001": ("s", facts("control")),
        "ablation_lr_scheduler-s2001": ("s", facts("ablation", ablated="lr_scheduler")),
    }


@pytest.fixture
def folder(tmp_path):
    """A run that goes on, whose final training runs have finished; as its stages write it."""
    known = finals()
    predictions = pd.DataFrame({"patient_id": ["p"], "target": [0], "score_0": [1.0]})
    for name, (encoder, told) in known.items():
        place = tmp_path / "final" / name
        place.mkdir(parents=True)
        (place / "metrics.json").write_text(json.dumps(document(name, encoder, int(name[-4:]), **told).to_dict()))
        (place / "evaluation.json").write_text(json.dumps(evaluation_of(zero_shot={METRIC: SCORE}).to_dict()))
        (place / "history.csv").write_text("epoch\n1\n")
        predictions.to_parquet(place / "predictions.parquet")
    (tmp_path / "final/initial-s2001").mkdir()
    (tmp_path / "final/initial-s2001/evaluation.json").write_text(json.dumps(evaluation_of(seed=7).to_dict()))
    config = merged()
    config["model"] |= {"text_encoders": {name: {"source": "x"} for name in ENCODERS}, "search_encoder": "s"}
    training_runs = {stage: {} for stage in ("phase1", "phase2", "confirm")}
    training_runs |= {"encoders": {f"{name}-x0": 1 for name in ENCODERS}, "final": dict.fromkeys(known, 1)}
    record = {
        "config": config,
        "training_runs": training_runs,
        "facts": {
            "encoders": {f"{name}-x0": {**facts("trial"), "text_encoder": name} for name in ENCODERS},
            "final": {name: {**told, "text_encoder": encoder} for name, (encoder, told) in known.items()},
        },
        "initial": "initial-s2001",
    }
    (tmp_path / "run.json").write_text(json.dumps(record))
    return tmp_path


def test_the_report_takes_no_text_encoder_for_the_baseline_the_control_or_an_ablation(folder):
    run = read_run(folder, interim=True)
    assert sorted(run.encoders) == sorted(ENCODERS)
    assert all([final.trial.seed for final in run.tuned(name)] == [2001, 2002] for name in ENCODERS)
    assert [final.id for final in run.baselines()] == ["baseline-s2001"]
    assert [final.id for final in run.controls()] == ["control-s2001"]
    assert {name: final.id for name, final in run.ablations().items()} == {
        "lr_scheduler": "ablation_lr_scheduler-s2001"
    }
    assert run.evaluated_on_test == {"tuned": 8, "baseline": 1, "control": 1, "ablation": 1, "initial": 1}
    assert "8 of the tuned configuration" in wording.test_set_evaluations(run.evaluated_on_test)
    assert run.initial == evaluation_of(seed=7)
    names = {curves.final_name(final) for final in run.finals if final.kind != "ablation"}
    # with the encoder that they were trained with, never as one of those that are compared
    assert names == {*(f"tuned, {name}" for name in ENCODERS), "baseline, s", "negative control, s"}


def test_an_interim_report_leaves_out_what_an_earlier_version_trained(folder):
    """It says nothing of what it was for; the same command trains or publishes it again."""
    path = folder / "final/control_x-s2001/metrics.json"
    old = json.loads(path.read_text())
    del old["trial"]["kind"]
    path.write_text(json.dumps(old))
    assert "control_x-s2001" not in {final.id for final in read_run(folder, interim=True).finals}
    record = json.loads((folder / "run.json").read_text())
    for missing in ("facts", "training_runs"):  # called trainings before
        (folder / "run.json").write_text(json.dumps({key: value for key, value in record.items() if key != missing}))
        with pytest.raises(ValueError, match=r"run\.json: is of an earlier version; run snakemake again"):
            read_run(folder, interim=True)


def candidate(name, score, status="completed", share=1.0, **known):
    """One training run that named so many of 60 patients rightly, after a share of its steps."""
    found = document(name, score=score, **known)
    found = replace(found, status=status, steps=int(found.steps * share))
    target = np.arange(60) % 2
    hit = np.where(np.arange(60) < 60 * score, target, 1 - target)
    table = pd.DataFrame({"patient_id": np.arange(60).astype(str), "target": target, "score_0": 1.0 - hit,
                          "score_1": 1.0 * hit})  # fmt: skip
    return candidates.Candidate(name, [candidates.Run(found, table)])


def test_a_leaderboard_records_what_may_be_chosen():
    ranked = selection.rank(
        [
            candidate("b0r0s00", 0.95, share=0.4, **facts("trial", bracket=0, rung=0, slot=0)),
            candidate("b0r1s00", 0.8, seed=2, **facts("trial", bracket=0, rung=1, slot=0)),
            candidate("again", 0.8, seed=2, **facts("baseline")),
        ],
        METRIC,
    )
    board = selection.leaderboard(ranked, METRIC).set_index("id")
    assert board["may_be_chosen"].to_dict() == {"b0r1s00": True, "b0r0s00": False, "again": False}
    assert board["kind"].to_dict() == {"b0r1s00": "trial", "b0r0s00": "trial", "again": "baseline"}
    assert board.loc["b0r1s00", ["bracket", "rung"]].tolist() == [0, 1]
    # a note is for people: whatever it begins with, it decides nothing
    told = board.reset_index().assign(note="equal to nobody")
    assert selection.select(told, METRIC, DEFAULTS, {})["id"] == "b0r1s00"


def searched(stage, *training_runs):
    """As much of a run as candidates and the random reference need."""
    run = SimpleNamespace(metric=METRIC, searched={stage: list(training_runs)}, decisions={stage: {}})
    run.config = {"phase2": {"strategy": "tpe"}}
    return run


def training(name, score=0.8, **known):
    return FinishedTrial(name, document(name, score=score, **known), None, None)


def test_a_finalists_trainings_are_those_that_say_so():
    known = (("c1s0", "c1"), ("c10s0", "c10"), ("x", "c1"))
    run = searched("confirm", *(training(name, **facts("trial", candidate=one)) for name, one in known))
    run.boards = {"confirm": pd.DataFrame({"id": ["c1", "c10"], "metric": [0.8, 0.8], "may_be_chosen": True})}
    found = stability.candidates_of(run, "confirm")
    assert {name: [one.id for one in members] for name, members in found.items()} == {
        "c1": ["c1s0", "x"],
        "c10": ["c10s0"],
    }


def test_the_first_round_is_known_by_its_bracket():
    run = searched("phase2", *(training(f"b0r0s{i}", score=0.5 + i / 10, **facts("trial", bracket=i // 2, rung=0))
                               for i in range(4)))  # fmt: skip
    assert stability.random_reference(run).label == "random trials, drawn from the first 2, 90 %"


def test_every_hyperparameter_has_a_reserved_ablation():
    for name in HYPERPARAMETERS:
        config = merged("demo")
        config["model"]["text_encoders"][f"ablation_{name}"] = {"source": "demo"}
        with pytest.raises(ValueError, match="another name"):
            check_config(config)


def test_the_negative_control_has_as_many_seeds_as_the_model_beside_it():
    """One shuffle may pair texts by luck; and a difference from one seed says nothing of configurations."""
    config = check_config(merged("demo"))
    config["final"]["seeds"], config["controls"]["shuffled_texts"] = 3, True
    jobs = jobs_of(config)
    seeds = {kind: [jobs.final[name].seed for name in jobs.of_kind(kind)] for kind in ("baseline", "control")}
    assert seeds["control"] == seeds["baseline"]
    assert len(seeds["control"]) == 3
