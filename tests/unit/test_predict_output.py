"""predict.py writes over nothing but what it has written before."""

import sys

import pytest
from running import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "scripts"))


@pytest.mark.parametrize("name", ["table.csv", "photo.png", "notes.csv"])
def test_a_file_of_the_user_is_not_written_over(tmp_path, name):
    import predict

    (tmp_path / "model.json").write_text("{}")
    (tmp_path / "table.csv").write_text("patient_id,image\nP1,photo.png\n")
    (tmp_path / "photo.png").write_bytes(b"\x89PNG\r\n")
    (tmp_path / "notes.csv").write_text("name,remark\nP1,to be kept\n")
    before = (tmp_path / name).read_bytes()
    arguments = ["--model-dir", str(tmp_path), "--table", str(tmp_path / "table.csv"), "--device", "cpu"]
    with pytest.raises(ValueError, match=rf"{name}: is there already, and predict\.py has not written it"):
        predict.main([*arguments, "--output", str(tmp_path / name)])
    assert (tmp_path / name).read_bytes() == before
