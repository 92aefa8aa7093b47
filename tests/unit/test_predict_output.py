"""predict.py writes over nothing but what it has written before, and says how far it is."""

import fcntl
import os
import pty
import struct
import sys
import termios

import pytest
from running import REPOSITORY

from retclip.core import logs

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


def test_progress_is_a_bar_on_a_terminal(monkeypatch):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with logs.progress(4, "cases") as done:
            for _ in range(4):
                done(1)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert "100%" in shown
    assert "4/4" in shown
    assert " s] " not in shown  # no line of the log


def test_progress_is_a_line_per_interval_elsewhere(monkeypatch, capsys):
    monkeypatch.setattr(logs, "INTERVAL_SECONDS", 0.0)
    with logs.progress(4, "cases") as done:
        done(1)
        done(3)
    first, second = capsys.readouterr().err.splitlines()
    assert "1 of 4 cases, " in first
    assert first.endswith(" s to go")
    assert "4 of 4 cases" in second
    monkeypatch.setattr(logs, "INTERVAL_SECONDS", 60.0)
    with logs.progress(4, "cases") as done:
        done(4)
    assert capsys.readouterr().err == ""
