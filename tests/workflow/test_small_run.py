"""The whole pipeline, small, in a folder far from the repository: its files, its report, and what reruns when."""

import json
import re
import shutil
import zipfile

import pandas as pd
import pytest
import yaml
from running import entry, planned_jobs, snakemake

from retclip.core import schemas
from retclip.core.code_hash import code_hash
from retclip.core.io import sha256_of, write_json
from retclip.core.trial import Trial
from retclip.metrics.evaluation_document import Evaluation
from retclip.metrics.metrics_document import Metrics

pytestmark = pytest.mark.slow
AFTER_PHASE1 = {"rank_phase1", "select_phase1", "propose_bracket", "plan_phase2_trial", "train_phase2_trial",
                "rank_phase2", "select_phase2", "estimate_importances", "plan_confirm_trial", "train_confirm_trial",
                "rank_confirm", "select_best", "plan_final", "train_final", "evaluate_final", "evaluate_initial",
                "score_prompts", "collect_examples", "recommend_encoder", "record_run", "build_report"}  # fmt: skip


@pytest.fixture
def results(small_run):
    return small_run / "results/small"


def with_rates(path, rates: list[float]) -> str:
    path.write_text(yaml.safe_dump({"phase1": {"space": {"learning_rate": rates}}}))
    return str(path)


def test_every_file_of_the_contract_is_there(results):
    for name in ("data/samples.parquet", "data/test.lmdb", "data/audit.json", "data/fingerprint.json",
                 "find_lr/curve.csv", "find_lr/suggestion.json", "phase1/leaderboard.csv", "phase1/best.json",
                 "phase1/baseline/metrics.json", "phase2/b0r0s00/trial.json", "phase2/leaderboard.csv", "best.json",
                 "final/pubmedbert-s2001/model/README.md", "final/baseline-s2001/evaluation.json",
                 "final/recommendation.json", "final/initial-s2001/evaluation.json",
                 "final/pubmedbert-s2001/qualitative_examples.npz",
                 "run.json", "report/index.html", "report/results.json",
                 "report/figures/answer.png", "report/trials.csv", "report/methods.md"):  # fmt: skip
        assert (results / name).is_file(), name
    assert [path.parent.name for path in (results / "report").rglob("trials.csv")] == ["report"]
    classes = json.loads((results / "data/fingerprint.json").read_text())["classes"]
    for path in results.glob("*/*/*predictions.parquet"):
        assert pd.read_parquet(path).attrs["classes"] == classes
    assert len(pd.read_csv(results / "phase1/leaderboard.csv")) == 3
    for path in results.glob("*/*/trial.json"):
        trial = json.loads(path.read_text())
        schemas.check(trial, "trial", str(path))
        assert trial["sha256"] == sha256_of({key: value for key, value in trial.items() if key != "sha256"})
    for path in results.glob("*/*/metrics.json"):
        schemas.check(json.loads(path.read_text()), "metrics", str(path))
    for path in results.glob("final/*/evaluation.json"):
        evaluation = json.loads(path.read_text())
        schemas.check(evaluation, "evaluation", str(path))
        assert evaluation["code"] == code_hash("evaluate_final")
        assert set(evaluation["data"]) == {"train", "val", "test"}
        if not path.parent.name.startswith("initial"):
            metrics = json.loads(path.with_name("metrics.json").read_text())
            same = ("trial_sha256", "device", "precision", "versions", "commit", "machine")
            assert [evaluation[key] for key in same] == [metrics[key] for key in same]
            assert evaluation["seed"] == metrics["trial"]["seed"]


@pytest.mark.parametrize(("kind", "name"), [(Trial, "trial.json"), (Metrics, "metrics.json"),
                                            (Evaluation, "evaluation.json")])  # fmt: skip
def test_documents_are_dataclasses_that_give_the_file_again(results, kind, name):
    """Byte for byte: whoever reads one and writes it changes nothing."""
    paths = list(results.glob(f"*/*/{name}"))
    assert len(paths) > 3
    for path in paths:
        write_json(path.with_suffix(".again"), kind.read(path).to_dict())
        assert path.with_suffix(".again").read_bytes() == path.read_bytes(), path
        path.with_suffix(".again").unlink()


def test_nothing_is_written_beside_the_results(small_run):
    assert {path.name for path in small_run.iterdir()} <= {"results", "resources", ".snakemake", ".cache"}


def test_a_second_run_is_idle(small_run, small_config):
    assert planned_jobs(small_run, *small_config) == {}


def test_another_figure_style_reruns_the_report_alone(small_run, small_config, tmp_path):
    """Settings of the report are no part of a training run. A private one has no images: examples are remade."""
    (tmp_path / "private.yaml").write_text("privacy: {private: true}\n")
    assert set(planned_jobs(small_run, *small_config, tmp_path / "private.yaml")) == {
        "record_run", "build_report", "collect_examples",
    }  # fmt: skip


def test_changing_a_value_of_the_grid_reruns_its_trials_and_what_follows(small_run, small_config, tmp_path):
    before = planned_jobs(tmp_path, *small_config)["train_phase1_trial"]
    overlay = with_rates(tmp_path / "grid.yaml", [1e-3, 5e-3])
    jobs = planned_jobs(small_run, *small_config, overlay)
    assert len(jobs["train_phase1_trial"]) == 1
    assert not jobs["train_phase1_trial"] & before
    assert set(jobs) == AFTER_PHASE1 | {"plan_phase1_trial", "train_phase1_trial"}


def test_an_audit_that_runs_again_hides_no_other_change(small_run, small_config, tmp_path):
    """Snakemake looks at no trigger downstream of a job that runs: the audit must stand aside of the training runs."""
    overlay = tmp_path / "own.yaml"
    overlay.write_text("model: {text_encoders: {bert_base: null}}\nphase2: {strategy: qmc}\n")
    jobs = planned_jobs(small_run, *small_config, overlay)
    assert {"audit_data", "propose_bracket", "train_phase2_trial"} <= set(jobs)
    assert not {"find_lr", "train_phase1_trial"} & set(jobs)


def test_inserting_a_value_runs_the_new_trials_alone(small_run, small_config, tmp_path):
    """Phase 1's old trials stay; what follows is planned again, and trained again only where its plan changed."""
    copy = tmp_path / "run"
    shutil.copytree(small_run, copy, symlinks=True)
    overlay = with_rates(tmp_path / "grid.yaml", [1e-3, 1e-4, 3e-3])
    jobs = planned_jobs(copy, *small_config, overlay)
    assert len(jobs["train_phase1_trial"]) == 1
    stamps = {path: path.stat().st_mtime_ns for path in (copy / "results/small/state").glob("*/*/metrics.json")}
    snakemake(copy, *small_config, overlay)
    after = {path: path.stat().st_mtime_ns for path in (copy / "results/small/state").glob("*/*/metrics.json")}
    assert all(after[path] == stamp for path, stamp in stamps.items())
    # a poor learning rate changes no choice, so every later training is found complete
    assert len(after) == len(stamps) + 1
    board = pd.read_csv(copy / "results/small/phase1/leaderboard.csv")
    assert len(board) == 4


def test_snakemakes_own_report(small_run, results, small_config, tmp_path):
    """The same figures as on the page, each with a caption, under a category; nothing in it is fetched."""
    # a proxy that refuses: what would be asked of the network fails
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    snakemake(small_run, *small_config, "--report", tmp_path / "report.zip", environment=nowhere)
    with zipfile.ZipFile(tmp_path / "report.zip") as archive:
        page = archive.read("report/report.html").decode()
        names = set(archive.namelist())
    found, categories = (
        json.JSONDecoder().raw_decode(page, re.search(rf"var {name} = (?={{)", page).end())[0]
        for name in ("results", "categories")
    )
    assert set(categories) == {"Report", "Result", "Data", "Search", "Cost"}
    listed = {path for places in categories.values() for paths in places.values() for path in paths}
    figures = set(re.findall(r'<figure id="figure-(\w+)"', (results / "report/index.html").read_text()))
    assert {f"results/small/report/figures/{name}.svg" for name in figures} == {
        path for path in listed if path.endswith(".svg")
    }
    assert listed == set(found)
    for path, shown in found.items():
        assert len(shown["caption"]) > 50, path
        assert f"report/{shown['data_uri']}" in names, path
        assert path.endswith(("index.html", "trials.csv")) or len(shown["labels"]["figure"]) > 10, path
    assert not re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=.https?://", page)


def test_the_report_holds_no_patient_where_it_is_private(small_run, results, tmp_path):
    """Neither the page nor any file beside it, nor what any rule printed: no id, text, picture or path."""
    copy = tmp_path / "small"
    copy.mkdir()
    for path in results.iterdir():
        (copy / path.name).symlink_to(path)
    record = json.loads((results / "run.json").read_text())
    record["config"]["privacy"]["private"] = True
    record["config"]["data"].update(manifest="/secret/place/table.csv", image_root="/secret/place")
    (copy / "run.json").unlink()
    (copy / "run.json").write_text(json.dumps(record))
    done = entry("build_report", "--run-folder", copy, "--output-folder", tmp_path / "report")
    samples = pd.read_parquet(results / "data/samples.parquet")
    columns = ("sample_id", "patient_id", "text", "text_left", "text_right", "source_left", "source_right")
    patients = {value for column in columns for value in samples[column] if value}
    assert len(patients) > 3 * len(samples)
    # what jobs print is the same whether a run is private or not
    logs = [path for place in (results / "logs", small_run / ".snakemake/log") for path in place.rglob("*.log")]
    assert {"build_lmdb.log", "audit_data.log", "collect_examples.log", "build_report.log"} <= {
        path.name for path in logs
    }
    for path in logs:
        assert not [name for name in patients if name in path.read_text(errors="replace")], path
    files = [path for path in (tmp_path / "report").rglob("*") if path.is_file()]
    assert {"index.html", "methods.md", "results.json", "trials.csv"} <= {path.name for path in files}
    for content in (done.stdout + done.stderr, *(path.read_text(errors="replace") for path in files)):
        # the plotting script is not ours and knows no patient, but it has every short word
        content = re.sub(r'<script type="text/plain".*?</script>', "", content, flags=re.DOTALL)
        assert "secret" not in content
        assert "data:image" not in content
        assert not [name for name in patients if name in content]
