"""Who may read what on a machine of several users: patient data their owner, weights whoever the umask lets."""

import os
import subprocess
import sys

import pandas as pd
import pytest
from running import REPOSITORY
from small_tables import build, forty_patients

from retclip.core.io import atomic, whole_folder, write_csv, write_json, write_parquet
from retclip.core.modes import private_folder, private_mode


def mode(path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture(params=[0o022, 0o077, 0o002], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_patient_data_are_their_owners(tmp_path, umask):
    expected = 0o660 if umask == 0o002 else 0o600
    write_parquet(tmp_path / "predictions.parquet", pd.DataFrame({"patient_id": ["a"]}))
    write_csv(tmp_path / "scored.csv", pd.DataFrame({"name": ["a"]}), private=True)
    with atomic(tmp_path / "train.lmdb", private=True) as path:
        path.write_bytes(b"x")
    for name in ("predictions.parquet", "scored.csv", "train.lmdb"):
        assert mode(tmp_path / name) == expected, name
    private_folder(tmp_path / "data")
    assert mode(tmp_path / "data") == (0o770 if umask == 0o002 else 0o700)


def test_a_group_that_shares_may_read(tmp_path, monkeypatch):
    monkeypatch.setenv("RETCLIP_SHARED", "group")
    write_parquet(tmp_path / "predictions.parquet", pd.DataFrame({"patient_id": ["a"]}))
    assert mode(tmp_path / "predictions.parquet") == 0o640
    private_folder(tmp_path / "data")
    assert mode(tmp_path / "data") == 0o750


def test_a_folder_that_is_there_keeps_its_mode(tmp_path):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o775)
    private_folder(tmp_path / "shared")
    assert mode(tmp_path / "shared") == 0o775


def test_weights_follow_the_umask(tmp_path, umask):
    import torch
    from safetensors.torch import save_file

    with atomic(tmp_path / "vision.safetensors") as path:
        save_file({"x": torch.zeros(2)}, path)
    with whole_folder(tmp_path / "model") as folder:
        (folder / "text").mkdir()
        save_file({"x": torch.zeros(2)}, folder / "text/model.safetensors")
    write_json(tmp_path / "model.json", {})
    for name in ("vision.safetensors", "model/text/model.safetensors", "model.json"):
        assert mode(tmp_path / name) == 0o666 & ~umask, name


def test_a_build_is_closed_to_others(tmp_path, capsys):
    before = os.umask(0o022)
    try:
        code, said = build(forty_patients(tmp_path), capsys)
    finally:
        os.umask(before)
    assert code == 0, said
    for folder in ("out", "state"):
        assert mode(tmp_path / folder) == 0o700
    # of what was refused, fingerprint.json names the rows
    for name in ("train.lmdb", "samples.parquet", "samples_train.parquet", "pictures.parquet", "fingerprint.json"):
        assert mode(tmp_path / "out" / name) == 0o600, name


def test_documents_that_name_patients_are_closed_to_others(tmp_path, capsys):
    """audit.json lists ids of samples, overlap.json whom to leave out."""
    import audit_data
    import find_overlap

    code, said = build(forty_patients(tmp_path), capsys)
    assert code == 0, said
    here = tmp_path / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit_data, "audit", lambda *_: {"warnings": []})  # what it finds is another test's
        patch.setattr(audit_data, "check", lambda *_: None)
        audit_data.main([f"--data-dir={here}", "--context-length=8", "--encoder=a=b", "--selection-metric=x",
                         f"--output={tmp_path / 'audit.json'}"])  # fmt: skip
    find_overlap.main([f"--data-dir={here}", f"--external-dir={here}", f"--output={tmp_path / 'overlap.json'}"])
    for name in ("audit.json", "overlap.json"):
        assert mode(tmp_path / name) == private_mode(), name


def test_images_that_were_fetched_are_closed_to_others(tmp_path, umask):
    with whole_folder(tmp_path / "images", private=True) as folder:
        (folder / "train").mkdir()
        (folder / "train/0.jpg").write_bytes(b"x")
    group = 0o070 if umask == 0o002 else 0
    assert mode(tmp_path / "images") == 0o700 | group
    assert mode(tmp_path / "images/train/0.jpg") == 0o600 | (group & 0o060)


@pytest.mark.slow
def test_the_working_directory_is_on_no_import_path(tmp_path):
    """Neither a workflow's jobs, nor torchrun, nor a reproduction import what lies where they are started."""
    for name in ("torch", "snakemake", "yaml", "retclip"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').write('{name}')")
    script = tmp_path.parent / "script.py"
    script.write_text("import torch")
    (tmp_path / "run.json").write_text("{}")
    entry = str(REPOSITORY / "scripts/reproduce_run.py")
    subprocess.run([sys.executable, entry, "--run-folder", ".", "--output-dir", "again"], cwd=tmp_path)
    common = (REPOSITORY / "rules/common.smk").read_text() + (REPOSITORY / "scripts/reproduce_run.py").read_text()
    assert "-P -m torch.distributed.run" in common
    assert '"-P", "-m", "snakemake"' in common
    subprocess.run([sys.executable, "-P", "-m", "torch.distributed.run", "--help"], cwd=tmp_path, capture_output=True)
    assert not (tmp_path / "ran").exists()
