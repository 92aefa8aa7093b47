"""phase2.search_encoders as the real Snakemake answers: a job a trial, equal numbers, and nothing where it is off."""

import pytest
from running import REPOSITORY, planned_jobs, snakemake

pytestmark = pytest.mark.slow
OTHERS = ("bert_base", "biobert")


def planned(folder, overlay):
    (folder / "own.yaml").write_text(overlay)
    return planned_jobs(folder, "--configfile", REPOSITORY / "config/demo.yaml", folder / "own.yaml")


def of(encoder, names):
    """The wildcards of one encoder's jobs, its name taken out."""
    return {name.removeprefix(f"{encoder}-") for name in names if name.startswith(f"{encoder}-")}


@pytest.fixture(scope="module")
def off(tmp_path_factory):
    return planned(tmp_path_factory.mktemp("off"), "run: demo\n")


def test_each_encoder_has_as_many_jobs_as_the_search_encoder(tmp_path, off):
    found = planned(tmp_path, "phase2: {search_encoders: all}\n")
    for verb in ("plan", "train"):
        theirs = found[f"{verb}_phase2_trial"] | found[f"{verb}_confirm_trial"]
        assert len(theirs) == 22
        assert {encoder: of(encoder, found[f"{verb}_encoder_trial"]) for encoder in OTHERS} == dict.fromkeys(
            OTHERS, theirs
        )
    assert found["propose_encoder_bracket"] == {"bert_base-0", "biobert-0"}
    for rule in ("rank_encoder", "select_encoder_finalists", "rank_encoder_confirm", "select_encoder"):
        assert found[rule] == set(OTHERS)
    own = {rule for rule in found if "encoder" in rule and rule not in off}
    assert {rule: names for rule, names in found.items() if rule not in own} == off
    assert len(own) == 7


def test_brackets_and_rungs_are_those_of_the_search_encoder(tmp_path):
    halving = "phase2: {search_encoders: all, strategy: tpe_halving, brackets: 2}\nconfirm: {top_k: 0}\n"
    found = planned(tmp_path, halving)
    for own, theirs in (("train_encoder_trial", "train_phase2_trial"), ("promote_encoder_rung", "promote_rung"),
                        ("propose_encoder_bracket", "propose_bracket")):  # fmt: skip
        assert {encoder: of(encoder, found[own]) for encoder in OTHERS} == dict.fromkeys(OTHERS, found[theirs])
    assert not {"select_encoder_finalists", "rank_encoder_confirm"} & set(found)


def inputs(folder, overlay, target):
    """What the job that makes a file reads, and all that the dry run says."""
    (folder / "own.yaml").write_text(overlay)
    files = ["--configfile", REPOSITORY / "config/demo.yaml", folder / "own.yaml"]
    output = snakemake(folder, "--dry-run", *files, "--", target).stdout
    lines = iter(output.splitlines())
    read = ""
    for line in lines:
        name, _, said = line.strip().partition(": ")
        read = said if name == "input" else read
        if name == "output" and target in said.split(", "):
            return read.split(", "), output
    raise AssertionError(output)


def test_a_round_waits_for_the_rounds_of_its_own_encoder(tmp_path):
    overlay = "phase2: {search_encoders: all, strategy: tpe}\n"
    read, output = inputs(tmp_path, overlay, "results/demo/encoders/biobert/bracket-1.json")
    trials = [f"results/demo/encoders/biobert-b0r0s0{slot}/metrics.json" for slot in range(4)]
    assert read == ["results/demo/phase1/best.json", *trials]
    # of the other encoders' rounds nothing is needed
    assert "bert_base-b0r0" not in output
    assert "phase2/b0r0" not in output


def test_frozen_encoders_are_read_from_their_features(tmp_path):
    overlay = "model: {freeze: text}\nphase2: {search_encoders: all}\n"
    read, _ = inputs(tmp_path, overlay, "results/demo/encoders/biobert-b0r0s00/metrics.json")
    assert "results/demo/features/text-biobert.safetensors" in read
    assert "results/demo/features/text-pubmedbert.safetensors" not in read


@pytest.mark.parametrize(
    ("final", "choice"),
    [("biobert", "encoders/biobert/best.json"), ("pubmedbert", "best.json"), ("control", "best.json")],
)
def test_each_encoders_finals_take_its_own_choice(tmp_path, final, choice):
    target = f"results/demo/final/{final}-s2001/trial.json"
    read, _ = inputs(tmp_path, "phase2: {search_encoders: all}\n", target)
    assert [path for path in read if path.endswith("best.json")] == [f"results/demo/{choice}"]
