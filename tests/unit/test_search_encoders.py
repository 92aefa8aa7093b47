"""phase2.search_encoders: all gives every text encoder a search of its own, with the budget of the search encoder's."""

import dataclasses
import json

import pandas as pd
import pytest
from documents import metrics_of, trial_of
from running import merge, merged
from small_runs import final, run_of

import record_run
from retclip.core.config import check_config
from retclip.report import answer, encoder_choices, first_screen, limitations
from retclip.report.run_folder import FinishedTrial
from retclip.report.sections import encoders
from retclip.search.forecast import forecast
from retclip.search.jobs import epochs_of, jobs_of

COUNTS = {"train": 11_690, "val": 1_299, "test": 3_253}
HALVING = {"strategy": "tpe_halving"}


def config_of(**sections):
    """The demo in which every text encoder is searched, with what else is given over it."""
    config = merged("demo")
    merge(config, {**sections, "phase2": {"search_encoders": "all", **sections.get("phase2", {})}})
    return check_config(config)


def own(jobs, encoder):
    """id -> specification of the training runs of an encoder's search, its name taken out."""
    told = {}
    for trial in jobs.of_encoder(encoder):
        specification = jobs.specification("encoders", trial)
        assert specification.pop("text_encoder") == encoder
        assert specification.pop("phase") == "encoders"
        specification["candidate"] = (specification["candidate"] or "").removeprefix(f"{encoder}-") or None
        told[specification.pop("id").removeprefix(f"{encoder}-")] = specification
    return told


@pytest.mark.parametrize("phase2", [{}, HALVING, {"strategy": "gp"}, {"epochs": 3, "train_samples": 500}])
@pytest.mark.parametrize("confirm", [{}, {"top_k": 0}, {"epochs": 20, "train_samples": 700}])
def test_every_encoder_gets_what_the_search_encoder_got(phase2, confirm):
    """The same slots, seeds, samples, epochs, and fresh seeds of as many finalists."""
    jobs = jobs_of(config_of(phase2=phase2, confirm=confirm))
    theirs = {
        trial: jobs.specification(stage, trial)
        for stage, trials in (("phase2", jobs.phase2), ("confirm", jobs.confirm))
        for trial in trials
    }
    for specification in theirs.values():
        for name in ("id", "phase", "text_encoder", "text_encoder_settings"):
            specification.pop(name)
    for encoder in ("bert_base", "biobert"):
        found = own(jobs, encoder)
        for specification in found.values():
            assert specification.pop("text_encoder_settings")["source"]
        assert found == theirs
    assert not jobs.of_encoder("pubmedbert")
    added = jobs.all_epochs_added()
    assert added["encoders"] == {
        f"{encoder}-{trial}": epochs
        for encoder in ("bert_base", "biobert")
        for trial, epochs in {**added["phase2"], **added["confirm"]}.items()
    }


def test_off_nothing_is_searched_but_the_search_encoder():
    config = check_config(merged("demo"))
    assert config["phase2"]["search_encoders"] == "one"
    jobs = jobs_of(config)
    assert jobs.encoders == {}
    both = jobs_of(config_of())
    for stage in ("phase1", "phase2", "confirm", "final"):
        for trial in getattr(jobs, stage):
            assert jobs.specification(stage, trial) == both.specification(stage, trial)


def test_one_more_encoder_changes_no_training_run_of_the_others():
    before = jobs_of(config_of())
    after = jobs_of(config_of(model={"text_encoders": {"mine": {"source": "demo"}}}))
    for stage, trials in before.training_runs.items():
        for trial in trials:
            assert after.specification(stage, trial) == before.specification(stage, trial)
    assert len(after.of_encoder("mine")) == len(before.of_encoder("biobert")) == 22


def test_a_round_learns_from_its_own_encoder_alone():
    """Else one encoder's scores would steer the search of another."""
    jobs = jobs_of(config_of(phase2={"strategy": "tpe"}))
    assert jobs.observed(0, "biobert") == []
    assert jobs.observed(2, "biobert") == [("encoders", f"biobert-b{b}r0s0{s}") for b in range(2) for s in range(4)]
    assert jobs.members(1, 0, "biobert") == [f"biobert-b1r0s0{s}" for s in range(4)]


def test_what_is_recorded_of_each_is_told_without_a_long_command(tmp_path):
    """The facts of thousands of trials would not fit into a command: they follow from the config."""
    config = config_of(phase2=HALVING)
    jobs = jobs_of(config)
    told = jobs.facts_to_tell()
    assert "encoders" not in told
    training_runs = jobs.all_epochs_added()
    record_run.main(["--config", json.dumps(config), "--training-runs", json.dumps(training_runs), "--facts",
                     json.dumps(told), "--initial", "i", "--output", str(tmp_path / "run.json")])  # fmt: skip
    recorded = json.loads((tmp_path / "run.json").read_text())["facts"]["encoders"]
    assert recorded == {
        trial: {**jobs.facts("encoders", trial), "text_encoder": jobs.encoder("encoders", trial)}
        for trial in jobs.encoders
    }
    assert list(recorded) == list(training_runs["encoders"])
    assert recorded["biobert-b1r2s00"] == {
        "kind": "trial", "bracket": 1, "rung": 2, "slot": 0, "candidate": None, "ablated": None,
        "text_encoder": "biobert",
    }  # fmt: skip
    assert recorded["biobert-c1s0"]["candidate"] == "biobert-c1"


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"final": {"learning_rate_factors": [0.5, 1.0]}},
         r"phase2\.search_encoders.*final\.learning_rate_factors.*\[1\.0\]"),
        ({"phase2": {"trials": 1500, "space": {"weight_decay": {"low": 0.01, "high": 0.3}}}},
         r"phase2\.search_encoders.*3,004.*2,000"),
        ({"phase2": {"search_encoders": "every"}}, r"phase2\.search_encoders"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_one_sentence(sections, said):
    with pytest.raises(ValueError, match=said) as error:
        jobs_of(config_of(**sections))
    assert len(str(error.value)) <= 300
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("phase2", [{}, HALVING])
def test_the_plan_counts_them(phase2):
    """Two encoders more: twice the samples of Phase 2 and of the confirmation, whose budgets differ."""
    config = config_of(phase2=phase2, confirm={"epochs": 20, "train_samples": 700})
    numbers = {stage: len(trials) for stage, trials in jobs_of(config).training_runs.items()}
    stages = {stage.name: stage for stage in forecast(config, COUNTS, numbers)}
    theirs = stages["phase2"], stages["confirm"]
    found = stages["encoders"]
    assert found.training_runs == 2 * sum(stage.training_runs for stage in theirs)
    assert found.samples_shown == pytest.approx(2 * sum(stage.samples_shown for stage in theirs))
    assert found.budgets == theirs[0].budgets | theirs[1].budgets
    assert found.steps == (min(s.steps[0] for s in theirs), max(s.steps[1] for s in theirs))
    assert epochs_of(config, "encoders") == epochs_of(config, "phase2")


@pytest.mark.parametrize(
    ("phase2", "confirm", "waits"),
    [
        ({}, {"top_k": 0}, False),
        ({}, {}, True),
        (HALVING, {"top_k": 0}, True),
        ({"strategy": "gp"}, {"top_k": 0}, True),
    ],
)
def test_jobs_that_wait_for_each_other_are_in_no_group(phase2, confirm, waits):
    """A finalist waits for the trials of its search: in one job of Slurm's, none could begin."""
    jobs = jobs_of(config_of(phase2=phase2, confirm=confirm))
    assert jobs.is_sequential("encoders") is waits
    assert not jobs_of(check_config(merged("demo"))).is_sequential("encoders")
    assert not jobs.is_sequential("phase1")


def finished(trial, encoder, score, **known):
    specification = trial_of(kind="trial", text_encoder=encoder, seed=1, **known)
    return FinishedTrial(trial, metrics_of(specification, {"zero_shot_balanced_accuracy": score}), None, None)


def board(*scores, p_value):
    return pd.DataFrame({"id": [f"t{n}" for n in range(len(scores))], "metric": scores, "may_be_chosen": True,
                         "p_value": [p_value, *[1.0] * (len(scores) - 1)]})  # fmt: skip


def searched_run():
    """Two text encoders, each with a search of its own."""
    tuned, other = final("tuned", 0.9), final("tuned", 0.8)
    other.metrics = dataclasses.replace(other.metrics, trial=trial_of(kind="tuned", text_encoder="biobert", seed=1))
    run = run_of(tuned, other, final("baseline", 0.5))
    run.config["phase2"]["search_encoders"] = "all"
    run.config["model"]["text_encoders"]["biobert"] = {"source": "demo"}
    run.recommendation = {"encoder": "biobert", "val_scores": {}, "seeds": {}}
    run.searched = {"encoders": [finished(f"biobert-b0r0s0{n}", "biobert", 0.5, bracket=0, rung=0, slot=n)
                                 for n in range(2)]}  # fmt: skip
    run.boards = {"phase2": board(0.7, 0.6, p_value=0.01)}
    run.encoder_boards = {"biobert": board(0.6, 0.5, 0.4, p_value=0.04)}
    values = tuned.trial.configured
    run.decisions = {
        "best": {"id": "c0", "configured": values, "reason": "the best score", "warnings": []},
        "encoders/biobert": {"id": "defaults", "configured": values, "reason": "undecided: x",
                             "warnings": ["undecided: x"]},
    }  # fmt: skip
    return run


def test_the_table_calls_each_tuned():
    table = encoders.encoders_table(searched_run())
    place = table.heads.index("configuration")
    assert {row[0]: row[place] for row in table.rows} == {"pubmedbert": "tuned with it", "biobert": "tuned with it"}


def test_learned_is_judged_by_the_number_of_searches():
    """By Holm's rule: the smallest p-value times two, the other as it is, but never below the smaller."""
    table = encoders.searches_table(searched_run())
    rows = {row[0]: dict(zip(table.heads, row, strict=True)) for row in table.rows}
    assert rows["pubmedbert"]["trials"] == "2"
    assert rows["biobert"]["trials"] == "3"
    assert rows["pubmedbert"]["p (Holm)"] == "0.02"
    assert rows["biobert"]["p (Holm)"] == "0.04"
    assert rows["biobert"]["chosen"] == "the baseline: undecided: x"


def test_a_choice_that_only_one_of_several_searches_would_justify_is_warned_of():
    """Each search was judged by itself before its choice; with two looked at, p = .03 and .04 are .06 both."""
    run = searched_run()
    run.decisions["encoders/biobert"]["id"] = "biobert-c0"
    assert not any("Holm" in line for line in limitations.warnings(run))
    run.boards["phase2"] = board(0.7, 0.6, p_value=0.03)
    said = [line for line in limitations.warnings(run) if "Holm" in line]
    assert [line.split(":")[0] for line in said] == ["Text encoder pubmedbert", "Text encoder biobert"]
    assert all("2 searches" in line and "p = 0.06" in line for line in said)


def test_the_limitations_say_what_was_not_equal():
    said = limitations.of_encoders(searched_run())
    assert "Phase 1" in said
    assert "pubmedbert" in said
    assert "may score higher when tuned themselves" not in said
    assert any("biobert: undecided: x" in line for line in limitations.warnings(searched_run()))


def test_who_took_phase_1s_best_after_a_flat_phase_1_was_not_tuned():
    """With phase2.stop_when_flat, every slot of every search is that one configuration."""
    run = searched_run()
    run.config["phase2"]["stop_when_flat"] = True
    tried = run.encoder_boards["biobert"]
    run.encoder_boards["biobert"] = tried.assign(learning_rate=[1e-3, 2e-3, 3e-3])
    assert encoder_choices.how_tuned(run, "biobert") == "tuned with it"
    run.encoder_boards["biobert"] = tried.assign(learning_rate=1e-3, batch_size=32)
    assert encoder_choices.how_tuned(run, "biobert") == "inherited"
    assert "applied to the other text encoders" in limitations.of_encoders(run)
    assert list(encoders._tables(run)) == ["encoders"]
    assert any("biobert: undecided: x" in line for line in limitations.warnings(run))


def test_the_first_screen_speaks_of_the_configuration_of_the_encoder_that_it_recommends():
    """Not of the search encoder's, which was chosen with another text encoder."""
    run = searched_run()
    assert run.answer_encoder == "biobert"
    assert first_screen.headline(run).startswith("Keep the baseline with biobert")
    run.decisions["encoders/biobert"]["id"] = "biobert-c0"
    assert "biobert" in first_screen.headline(run)
    assert not first_screen.headline(run).startswith("Keep")
    assert encoder_choices.decision_of(run, "biobert")["id"] == "biobert-c0"
    assert encoder_choices.decision_of(run, "pubmedbert")["id"] == "c0"
    assert "With biobert, the configuration tuned with it is" in answer._over_baseline(run, "biobert")
