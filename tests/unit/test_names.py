"""What a config, a hub or a colleague's folder names stays where it belongs: no name leads out of its folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from running import ENVIRONMENT, REPOSITORY, merged, planned_jobs, snakemake

from retclip.core import hub, recorded
from retclip.core.config import check_config

HUB = [
    ("microsoft/BiomedNLP-PubMedBERT-base-uncased-abstract-fulltext", "main",
     "microsoft--BiomedNLP-PubMedBERT-base-uncased-abstract-fulltext@main"),
    ("google-bert/bert-base-uncased", "main", "google-bert--bert-base-uncased@main"),
    ("dmis-lab/biobert-base-cased-v1.1", "551ca18efd7f052c8dfa0b01c94c2a8e68bc5488",
     "dmis-lab--biobert-base-cased-v1.1@551ca18efd7f052c8dfa0b01c94c2a8e68bc5488"),
    ("someone/a.b_c", "v1.0", "someone--a.b_c@v1.0"),
    ("/data/models/bert", "main", "--data--models--bert@main"),
    ("models/deep/bert", "main", "models--deep--bert@main"),
]  # fmt: skip
HOSTILE = ["..", ".", "", "/", "../../victim", "a/..", "x/../../../victim", "a/b/../../../c", "/etc", "a\0b", "a\nb",
           "-rf", "a b", "a--b", "a/-b", "a-/b", "{encoder}", "a}b", "~/x", "~root", "$HOME", "a;b", "ä/ö", "a" * 300,
           "a/" * 200, ".hidden", "./bert", "a\\b", "a:b", "a*b", "a@b", "CON/x", "main\n"]  # fmt: skip


@pytest.mark.parametrize(("source", "revision", "name"), HUB)
def test_what_was_fetched_is_found_again(source, revision, name):
    """Under another name it would be fetched once more."""
    assert hub.hub_folder_name(source, revision) == name


def is_one_folder(name: str) -> bool:
    return (
        Path(name).name == name == os.path.normpath(name) and len(os.fsencode(name)) < 256 - 30
        and name[0] not in ".~" and not set(name) & set("\0\n\\{}*?$;: '\"")
    )  # fmt: skip


@pytest.mark.parametrize("hostile", HOSTILE, ids=repr)
def test_a_source_or_revision_is_one_folder(hostile):
    assert is_one_folder(hub.hub_folder_name(hostile, "main"))
    assert is_one_folder(hub.hub_folder_name("someone/bert", hostile))


def test_two_sources_are_two_folders():
    words = [*HOSTILE, *(source for source, _, _ in HUB), *(revision for _, revision, _ in HUB), "a/b", "a--b", "a b",
             "a/b~12345678", "x@y", "main"]  # fmt: skip
    pairs = {(source, revision) for source in words for revision in words}
    assert len({hub.hub_folder_name(*pair).casefold() for pair in pairs}) == len(pairs)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("run", "demo\n"),
        ("run", ".."),
        ("run", ".hidden"),
        ("run", "a/b"),
        ("run", "{trial}"),
        ("run", "a\0b"),
        ("run", "r" * 300),
        ("model.text_encoders", {"pubmedbert": {"source": "demo"}, "x\n": {"source": "demo"}}),
        ("model.text_encoders", {"pubmedbert": {"source": "demo"}, "../x": {"source": "demo"}}),
        ("model.text_encoders", {"pubmedbert": {"source": "demo"}, "x" * 300: {"source": "demo"}}),
        ("model.text_encoders", {"pubmedbert": {"source": "a\0b"}}),
        ("model.text_encoders", {"pubmedbert": {"source": ""}}),
        ("model.text_encoders", {"pubmedbert": {"source": "a/b", "revision": "main\n"}}),
        ("model.text_encoders", {"pubmedbert": {"source": "a/b", "revision": ""}}),
        ("model.text_encoders", {"baseline\n": {"source": "demo"}, "pubmedbert": {"source": "demo"}}),
        ("evaluation.external_tests", {"x\n": {"source": "manifest", "manifest": "m.csv"}}),
        ("evaluation.external_tests", {"../x": {"source": "manifest", "manifest": "m.csv"}}),
        ("evaluation.external_tests", {"x" * 300: {"source": "manifest", "manifest": "m.csv"}}),
        ("tracking.project", "a\nb"),
        ("evaluation.ordered_classes", ["a", "b\n"]),
    ],
    ids=repr,
)
def test_a_config_names_no_path(key, value):
    config = merged("demo")
    *parents, last = key.split(".")
    at = config
    for parent in parents:
        at = at[parent]
    at[last] = value
    with pytest.raises(ValueError, match=f"config: {parents[0] if parents else key}") as caught:
        check_config(config)
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()


@pytest.mark.slow
@pytest.mark.parametrize("revision", ["x/../../../../victim", "../../../victim", "x/y", "{wildcard}"])
def test_every_output_stays_below_the_working_directory(tmp_path, revision):
    overlay = tmp_path / "own.yaml"
    encoders = {"biobert": {"source": "someone/bert", "revision": revision}}
    overlay.write_text(yaml.safe_dump({"model": {"text_encoders": encoders}}))
    done = snakemake(tmp_path / "work", "--dry-run", "--configfile", REPOSITORY / "config/demo.yaml", overlay)
    outputs = [
        line.split(":", 1)[1] for line in done.stdout.splitlines() if line.startswith(("    output:", "    log:"))
    ]
    paths = [path.strip() for line in outputs for path in line.split(",")]
    assert paths
    for path in paths:
        assert path == os.path.normpath(path)
        assert path.startswith(("results/demo/", "resources/"))
    (fetched,) = [path for path in paths if "someone--bert" in path and "logs" not in path]
    assert len(Path(fetched).parts) == 3


def reproduce(tmp_path: Path, config: dict, output: Path) -> subprocess.CompletedProcess[str]:
    """What a colleague recorded, run again in tmp_path/work."""
    theirs, work = tmp_path / "theirs", tmp_path / "work"
    theirs.mkdir(exist_ok=True)
    work.mkdir(exist_ok=True)
    (theirs / "run.json").write_text(json.dumps({"config": config, "training_runs": {}}))
    command = [sys.executable, REPOSITORY / "scripts/reproduce_run.py", "--run-folder", theirs, "--output-dir", output]
    environment = {
        **ENVIRONMENT,
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HUB_OFFLINE": "",
        "HF_HOME": str(tmp_path / "hf"),
    }
    return subprocess.run([*command, "--cores", "1"], env=environment, capture_output=True, text=True, cwd=work)


@pytest.mark.slow
@pytest.mark.parametrize("revision", ["x/../../../../victim", "x/../../../victim"])
def test_a_foreign_record_writes_and_deletes_nothing_outside(tmp_path, revision):
    """Its fetch fails, whereupon Snakemake deletes what the job was to make."""
    config = check_config(merged("demo"))
    (tmp_path / "prompts.csv").write_text("dataset_index,prompt,label\n0,A healthy eye.,healthy\n")
    config["data"].update(source="prompts", manifest=str(tmp_path / "prompts.csv"), patient_id="none",
                          hub_dataset={"source": "someone/photographs", "revision": revision})  # fmt: skip
    for place in (tmp_path / "work", tmp_path / "work/out", tmp_path):
        (place / "victim").mkdir(parents=True, exist_ok=True)
        (place / "victim/thesis.tex").write_text("precious")
    output = tmp_path / "work/out/again"
    before = {path for path in tmp_path.rglob("*") if "again" not in path.parts}
    done = reproduce(tmp_path, config, output)
    assert done.returncode == 1, done.stderr
    for place in (tmp_path / "work", tmp_path / "work/out", tmp_path):
        assert (place / "victim/thesis.tex").read_text() == "precious"
    made = {path for path in tmp_path.rglob("*") if not {"again", "hf", "theirs"} & set(path.parts)}
    assert made == {path for path in before if not {"again", "hf", "theirs"} & set(path.parts)}


@pytest.mark.parametrize("run", ["../../victim", "..", "x\n", "/abs"])
def test_a_foreign_record_names_its_run(tmp_path, run):
    done = reproduce(tmp_path, {**check_config(merged("demo")), "run": run}, tmp_path / "again")
    assert done.returncode == 1
    assert "run.json" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("content", [[], "text", {}, {"config": []}, {"config": {"model": {"text_encoders": 3}}}])
def test_a_record_that_is_none_is_one_sentence(tmp_path, content):
    (tmp_path / "run.json").write_text(json.dumps(content))
    command = [sys.executable, REPOSITORY / "scripts/reproduce_run.py", "--run-folder", tmp_path]
    done = subprocess.run(
        [*command, "--output-dir", tmp_path / "again"], env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "run.json" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["config.json", "thesis.tex", "results/other/metrics.json"])
def test_a_reproduction_leaves_a_folder_of_the_user_alone(tmp_path, name):
    mine = tmp_path / "mine" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    done = reproduce(tmp_path, check_config(merged("demo")), tmp_path / "mine")
    assert done.returncode == 1
    assert "mine" in done.stderr.splitlines()[-1]
    assert [path for path in (tmp_path / "mine").rglob("*") if path.is_file()] == [mine]
    assert mine.read_text() == "mine"


@pytest.mark.slow
def test_a_reproduction_reads_what_was_fetched_and_writes_beside_it(tmp_path):
    """A fetch of its own that fails, or fetches something else, must not touch what others share."""
    shared, again = tmp_path / "resources", tmp_path / "again/resources"
    names = ["text_encoders/demo--pubmedbert", "text_encoders/demo--bert_base", "image_encoders"]
    for name in names:
        (shared / name).mkdir(parents=True)
        (shared / name / "file").write_text("shared")
    recorded.link_resources(shared, again)
    recorded.link_resources(shared, again)
    jobs = planned_jobs(tmp_path / "again", "--configfile", REPOSITORY / "config/demo.yaml")
    assert jobs["make_demo_encoder"] == {"biobert"}, "the others are there"
    assert not again.is_symlink()
    assert not (again / "text_encoders").is_symlink()
    assert (again / "text_encoders/demo--bert_base/file").read_text() == "shared"


@pytest.mark.parametrize("run", ["../../../victim", "..", "a/b", ".x", "a\nb", "x" * 300])
def test_a_sweep_names_no_path(tmp_path, run):
    """The id of a run comes from W&B, or from whoever set the variable."""
    setup = {"folder": str(tmp_path / "sweep"), "specification": {"values": {}}}
    (tmp_path / "setup.json").write_text(json.dumps(setup))
    command = [sys.executable, REPOSITORY / "scripts/wandb_trial.py", "--setup", tmp_path / "setup.json"]
    done = subprocess.run(command, env={**ENVIRONMENT, "WANDB_RUN_ID": run}, capture_output=True, text=True)
    assert done.returncode == 1
    assert "WANDB_RUN_ID" in done.stderr.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["setup.json"]


@pytest.mark.slow
def test_braces_in_a_config_are_no_wildcards(tmp_path):
    """A regular expression counts with them, and a pattern of file names names its columns in them."""
    overlay = tmp_path / "own.yaml"
    overlay.write_text('data: {patient_id: {pattern: "(P[0-9]{3})"}, image_pattern: "{patient_id}_{eye}.png"}')
    jobs = planned_jobs(tmp_path / "work", "--configfile", REPOSITORY / "config/demo.yaml", overlay)
    assert "record_run" in jobs
