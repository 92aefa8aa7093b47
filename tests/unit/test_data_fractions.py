"""Training on subsets of the train patients: who is in one, which jobs there are, and what tells weights apart."""

import itertools
import json
from types import SimpleNamespace

import pandas as pd
import pytest
from documents import SPECIFICATION, trial_of
from running import REPOSITORY, merged

import audit_data
import plan_run
import plan_trial
from retclip.core.config import check_config, configured_defaults
from retclip.core.io import sha256_of
from retclip.data.splits import assign_splits, of_patients_within
from retclip.search.budget import plan, same_training
from retclip.search.forecast import belongs, forecast
from retclip.search.jobs import jobs_of
from retclip.training.checkpoint import state_key

FRACTIONS = (0.1, 0.25, 0.5, 0.9)


def table(patients, visits=1):
    """Samples of so many patients of ten classes, one for each visit."""
    rows = [{"sample_id": f"p{i}@{visit}", "patient_id": f"p{i}", "label": "abcdefghij"[i % 10]}
            for visit in range(visits) for i in range(patients)]  # fmt: skip
    return pd.DataFrame(rows).assign(label_left="", label_right="")


def with_fractions(*fractions, seeds=3):
    config = merged("demo")
    config["study"]["data_fractions"], config["final"]["seeds"] = list(fractions), seeds
    return check_config(config)


def test_subsets_are_nested_and_of_whole_patients():
    frame = table(3000, visits=2)
    kept = [of_patients_within(frame, fraction) for fraction in (*FRACTIONS, 1.0)]
    for smaller, larger in itertools.pairwise(kept):
        assert smaller.sum() < larger.sum()
        assert not (smaller & ~larger).any()
    for fraction, rows in zip(FRACTIONS, kept, strict=False):
        assert abs(rows.mean() - fraction) < 0.03
        assert frame.assign(kept=rows).groupby("patient_id")["kept"].nunique().eq(1).all()
    assert kept[-1].all()


def test_a_new_patient_moves_no_other():
    frame = table(400)
    more = pd.concat([table(7).assign(patient_id=[f"new {i}" for i in range(7)]), frame[::-1]], ignore_index=True)
    for fraction in FRACTIONS:
        before = set(frame["patient_id"][of_patients_within(frame, fraction)])
        assert before == set(more["patient_id"][of_patients_within(more, fraction)]) & set(frame["patient_id"])


def test_the_hash_that_splits_patients_has_no_say_in_it():
    """Else all train patients, whose numbers are above those of test and val, would lie in the upper part."""
    frame = table(3000)
    for seed in (0, 1):
        train = frame[assign_splits(frame, 0.2, 0.1, seed) == "train"]
        assert abs(of_patients_within(train, 0.25).mean() - 0.25) < 0.03


def test_each_fraction_is_trained_with_every_final_seed_and_all_the_data_never_again():
    jobs = jobs_of(with_fractions(0.25, 0.5, 1.0))
    found = {name: (jobs.final[name].fraction, jobs.final[name].seed) for name in jobs.of_kind("subset")}
    assert found == {f"subset_{percent}-s{seed}": (percent / 100, seed)
                     for percent in (25, 50) for seed in (2001, 2002, 2003)}  # fmt: skip
    whole, part = (jobs.specification("final", name) for name in ("pubmedbert-s2001", "subset_25-s2001"))
    assert "fraction" not in whole
    differ = {key for key in part if part[key] != whole.get(key)}
    assert differ == {"id", "kind", "fraction"}
    assert not jobs_of(with_fractions()).of_kind("subset")
    assert not jobs_of(with_fractions(1.0)).of_kind("subset")
    assert "subset_12_5-s2001" in jobs_of(with_fractions(0.125)).final


def test_the_plan_of_another_training_run_knows_nothing_of_it():
    """No trial that is there already is planned or trained again."""
    with_them, without = jobs_of(with_fractions(0.25)), jobs_of(with_fractions())
    for name in without.final:
        assert with_them.specification("final", name) == without.specification("final", name)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"study": {"data_fractions": [0.25, 2.0]}}, "study.data_fractions"),
        ({"study": {"data_fractions": [0.25, 0.25]}}, "study.data_fractions"),
        ({"study": {"data_fractions": [0]}}, "study.data_fractions"),
        ({"study": {"data_fractions": ["half"]}}, "study.data_fractions"),
        ({"final": {"train_samples": 100, "epochs": 1, "seeds": 1, "learning_rate_factors": [1.0]}},
         "study.data_fractions are of all train patients"),
        ({"model": {"text_encoders": {"subset_25": {"source": "demo"}}, "search_encoder": "subset_25"}},
         "give the text encoder another name"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_in_one_sentence(changed, said):
    config = merged("demo")
    config["study"]["data_fractions"] = [0.25]
    for section, values in changed.items():
        config[section] = {**config[section], **values}
    with pytest.raises(ValueError, match=said) as refused:
        check_config(config)
    assert len(str(refused.value)) <= 300


@pytest.fixture
def data(tmp_path):
    """fingerprint.json and the samples of train, as the build writes them."""
    frame = table(200, visits=2)
    frame.to_parquet(tmp_path / "samples_train.parquet")
    splits = {"train": {"samples": len(frame), "patients": 200}, "val": {"samples": 60, "patients": 60}}
    (tmp_path / "fingerprint.json").write_text(json.dumps({"classes": [], "splits": splits}))
    return SimpleNamespace(folder=tmp_path, frame=frame)


def planned(data, fraction):
    """trial.json of a subset, by the entry that plans all trials."""
    config = with_fractions(fraction)
    jobs = jobs_of(config)
    (name,) = jobs.of_kind("subset")[:1]
    specification = {**jobs.specification("final", name), "values": configured_defaults(config)}
    arguments = ["--specification", json.dumps(specification),
                 "--fingerprint", str(data.folder / "fingerprint.json"), "--prompts",
                 str(REPOSITORY / "config/prompts.yaml"), "--train-samples", str(data.folder / "samples_train.parquet"),
                 "--output", str(data.folder / "trial.json")]  # fmt: skip
    plan_trial.main(arguments)
    return json.loads((data.folder / "trial.json").read_text())


def test_a_subsets_budget_is_of_its_own_samples(data):
    trial = planned(data, 0.5)
    kept = of_patients_within(data.frame, 0.5)
    patients = data.frame["patient_id"][kept].nunique()
    assert trial["subset"] == {"fraction": 0.5, "patients": patients}
    assert trial["budget"]["train_samples"] == kept.sum()
    assert trial["kind"] == "subset"


def test_a_fraction_that_leaves_nobody_is_refused(data):
    with pytest.raises(ValueError, match=r"study.data_fractions: 0.001 of 200 train patients leaves 0; ") as refused:
        planned(data, 0.001)
    assert len(str(refused.value)) <= 300


IMPOSSIBLE = {
    (0.001,): "study.data_fractions: 0.001 of 200 train patients leaves 0; ",
    (0.25, 0.251): "study.data_fractions: 0.25 and 0.251 of 200 train patients are the same ",
    (0.5, 0.9999): "study.data_fractions: 0.9999 and 1 of 200 train patients are the same 200; ",
}


def audited(data, metric, *fractions):
    """By the entry that runs once the data are built, and before anything trains."""
    data.frame.assign(split="train").to_parquet(data.folder / "samples.parquet")
    audit_data.main(["--data-dir", str(data.folder), "--encoder", "a=b", "--context-length", "8", "--selection-metric",
                     metric, "--data-fractions", *map(str, fractions),
                     "--output", str(data.folder / "audit.json")])  # fmt: skip


@pytest.mark.parametrize("fractions", IMPOSSIBLE)
def test_impossible_fractions_are_refused_by_the_audit(data, fractions):
    with pytest.raises(ValueError, match=IMPOSSIBLE[fractions]) as refused:
        audited(data, "image_to_text_recall_at_10", *fractions)
    assert len(str(refused.value)) <= 300


def test_a_metric_that_the_labels_cannot_give_is_refused_by_the_audit(data):
    """Not by make plan alone, which nobody has to run."""
    with pytest.raises(ValueError, match=r"selection\.metric is zero_shot_accuracy, but the data has no labels"):
        audited(data, "zero_shot_accuracy")


@pytest.mark.parametrize("built", [False, True])
def test_impossible_fractions_are_refused_by_the_plan(data, built):
    """Once the data are built by its samples, before that by its table."""
    config = with_fractions(0.001)
    folder = data.folder / "results"
    if built:
        (folder / "data").mkdir(parents=True)
        for name in ("fingerprint.json", "samples_train.parquet"):
            (data.folder / name).rename(folder / "data" / name)
    else:
        rows = [f"p{i},{i}.png,left,{'ab'[i % 2]},{'train' if i < 200 else 'test'}" for i in range(220)]
        (data.folder / "table.csv").write_text("\n".join(["patient_id,image,eye,label,split", *rows]))
        for i in range(220):
            (data.folder / f"{i}.png").touch()
        config["data"] |= {"source": "manifest", "manifest": str(data.folder / "table.csv"), "val_fraction": 0.1}
    config["selection"]["metric"] = "image_to_text_recall_at_10"  # which the data of both can be chosen by
    with pytest.raises(ValueError, match=r"study.data_fractions: 0.001 of \d+ train patients leaves 0; "):
        plan_run.main(["--config", json.dumps(config), "--training-runs", "{}", "--results-dir", str(folder),
                       "--image-root", str(data.folder), "--code", "0"])  # fmt: skip


def test_weights_of_a_subset_are_no_others_and_those_of_whole_data_keep_their_key():
    origin = ({"train": "a", "val": "b"}, {}, "code")
    whole = trial_of()
    part, other = (trial_of(subset={"fraction": fraction, "patients": 9}) for fraction in (0.25, 0.5))
    assert len({state_key(one, *origin) for one in (whole, part, other)}) == 3
    assert len({same_training(one) for one in (whole, part, other)}) == 3
    # of version 0.2, before there were subsets
    known = {"format": 5, "hyperparameters": whole.hyperparameters, "seed": 1, "image_encoder": {}, "image_size": 32,
             "encoder": {}, "reading": whole.text_encoder_settings.reading, "text_layers": None, "class_prompts": None,
             "early_stopping_metric": None, "shuffled_texts": False, "samples": [16, 8], "total_steps": 2,
             "data": origin[0], "code": "code"}  # fmt: skip
    assert state_key(whole, *origin) == sha256_of(known)
    assert "subset" not in whole.to_dict()
    # a folder that was filled offline knows of no license
    assert len({state_key(whole, origin[0], {"revision": "r", "license": name}, "code") for name in ("mit", None)}) == 1


def test_the_forecast_counts_a_subsets_samples_alone():
    counts = {"train": 1000, "val": 0, "test": 100}
    runs = {"final": 4 * 3}
    without = forecast(with_fractions(), counts, runs)[-1]
    added = forecast(with_fractions(0.25, 0.5, 1.0), counts, {"final": 4 * 3 + 2 * 3})[-1]
    per_run = without.samples_shown / 12
    assert added.samples_shown == pytest.approx(per_run * (12 + 3 * 0.25 + 3 * 0.5))


def test_a_trained_subset_is_known_to_belong_to_the_plan():
    config, counts = with_fractions(0.25), {"train": 1000, "val": 60, "test": 100}
    stage = forecast(config, counts, {"final": 15})[-1]
    own = {**SPECIFICATION, "phase": "final", "id": "subset_25-s2001", "text_encoder": "pubmedbert", "seed": 2001,
           "selection_metric": "zero_shot_balanced_accuracy", "image_size": config["data"]["image_size"],
           "image_encoder": config["model"]["image_encoder"], "epochs": 6, "kind": "subset"}  # fmt: skip
    trial = plan({**own, "subset": {"fraction": 0.25, "patients": 240}, "train_samples": 243},
                 configured_defaults(config), counts)  # fmt: skip
    assert belongs(stage, trial, config)
    assert not belongs(stage, trial, with_fractions(0.5))
