"""Data sets that are only evaluated: adding one later trains nothing, and its mistakes are said at once."""

import pytest
from running import REPOSITORY, planned_jobs, snakemake

DEMO = REPOSITORY / "config/demo.yaml"


@pytest.fixture
def overlay(tmp_path):
    """A config with an external data set of one image."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.jpg").write_bytes(b"")
    (tmp_path / "table.csv").write_text("patient_id,image,eye,label\nP1,a.jpg,left,Glaucoma\n")
    path = tmp_path / "own.yaml"
    path.write_text(
        "evaluation: {external_tests: {clinic: {source: manifest, "
        f"manifest: {tmp_path / 'table.csv'}, image_root: {tmp_path / 'images'}}}}}}}\n"
    )
    return path


def test_every_final_model_is_evaluated_on_it_and_nothing_else(tmp_path, overlay):
    jobs = planned_jobs(tmp_path, "--configfile", DEMO, overlay)
    assert jobs["build_external_lmdb"] == {"clinic"}
    assert jobs["find_overlap"] == {"clinic"}
    assert jobs["evaluate_external"] == {f"{name}-s2001-clinic" for name in ("pubmedbert", "bert_base", "biobert")}


def test_a_mistake_in_it_is_one_sentence(tmp_path, overlay):
    overlay.write_text(overlay.read_text().replace("image_root: ", "image_root: /no/such"))
    done = snakemake(tmp_path, "--dry-run", "--configfile", DEMO, overlay, check=False)
    assert "evaluation.external_tests.clinic.image_root is /no/such" in done.stderr
    assert "Traceback" not in done.stderr
