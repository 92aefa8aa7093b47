"""Writing harms nothing: no link is followed, nothing of the user's is replaced, and no half-written file stays."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pyarrow.parquet
import pytest
from conftest import DEMO_VALUES
from running import ENVIRONMENT, REPOSITORY, entry

from retclip.core import schemas
from retclip.core.io import atomic, whole_folder, write_json, write_parquet
from retclip.core.locks import this_process
from retclip.search.budget import plan

PYTHON = {**ENVIRONMENT, "PYTHONPATH": str(REPOSITORY / "scripts")}
DIE = """
import os, signal, sys
from pathlib import Path
from retclip.core.io import atomic, whole_folder

with atomic(sys.argv[1] + "/run.json") as file, whole_folder(sys.argv[1] + "/model") as folder:
    file.write_text("half")
    (folder / "half").write_text("half")
    {end}
"""
KILLED = DIE.format(end="os.kill(os.getpid(), signal.SIGKILL)")


def test_a_link_at_a_temporary_name_is_not_followed(tmp_path):
    """Whoever may write to a shared folder could lay one there, at any name that can be guessed."""
    theirs = tmp_path / "of_another_user"
    theirs.write_text("precious")
    folder = tmp_path / "results"
    folder.mkdir()
    for name in (".run.json.partial.json", f".run.json.{os.getpid()}.partial.json"):
        (folder / name).symlink_to(theirs)
    write_json(folder / "run.json", {"a": 1})
    assert theirs.read_text() == "precious"
    assert (folder / "run.json").read_text() == '{\n  "a": 1\n}\n'
    assert not (folder / "run.json").is_symlink()


def test_a_temporary_name_cannot_be_guessed(tmp_path):
    names = set()
    for _ in range(20):
        with atomic(tmp_path / "run.json") as temporary:
            names.add(temporary.name)
            temporary.write_text("")
        with whole_folder(tmp_path / "model") as temporary:
            names.add(temporary.name)
    assert len(names) == 40
    assert all(name.startswith(".") and ".partial" in name for name in names)


def test_a_file_that_is_a_link_is_replaced_and_not_written_through(tmp_path):
    theirs = tmp_path / "of_another_user"
    theirs.write_text("precious")
    (tmp_path / "run.json").symlink_to(theirs)
    write_json(tmp_path / "run.json", {})
    assert theirs.read_text() == "precious"


def hidden(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def test_what_killed_processes_left_is_removed(tmp_path):
    """By the next process that writes there: none piles up."""
    for _ in range(3):
        killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=PYTHON)
        assert killed.returncode == -signal.SIGKILL
        assert len(hidden(tmp_path)) == 2
    ends = DIE.format(end="")
    subprocess.run([sys.executable, "-c", ends, str(tmp_path)], env=PYTHON, check=True)
    assert hidden(tmp_path) == []
    assert (tmp_path / "model/half").read_text() == "half"


def test_what_a_process_is_writing_stays(tmp_path):
    """Another that writes beside it, or the same file, takes nothing away from it."""
    waiting = DIE.format(end="print('ready', flush=True); sys.stdin.readline()")
    process = subprocess.Popen([sys.executable, "-c", waiting, str(tmp_path)], env=PYTHON, text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    there = hidden(tmp_path)
    assert len(there) == 2
    ends = DIE.format(end="file.write_text('other')")
    subprocess.run([sys.executable, "-c", ends, str(tmp_path)], env=PYTHON, check=True)
    assert hidden(tmp_path) == there
    process.communicate("\n", timeout=30)
    assert process.returncode == 0
    assert hidden(tmp_path) == []
    assert (tmp_path / "run.json").read_text() == "half"


def test_what_another_machine_left_is_removed_after_a_day(tmp_path):
    other_machine = "0" * 8 + "-1-1"
    (tmp_path / f".a.json.{other_machine}-{'0' * 16}.partial.json").write_text("")
    (tmp_path / f".b.json.{other_machine}-{'0' * 16}.partial.json").write_text("")
    old = time.time() - 2 * 86400
    os.utime(next(tmp_path.glob(".b.*")), (old, old))
    ends = DIE.format(end="")
    subprocess.run([sys.executable, "-c", ends, str(tmp_path)], env=PYTHON, check=True)
    assert [name.split(".")[1] for name in hidden(tmp_path)] == ["a"]


def test_what_is_not_ours_is_not_cleaned(tmp_path):
    """A link that bears such a name is not followed, and a user's own hidden files are no leftovers."""
    theirs = tmp_path / "theirs"
    (theirs / "deep").mkdir(parents=True)
    (theirs / "deep/file").write_text("precious")
    gone = this_process().rsplit("-", 1)[0] + "-1"  # a process with our number that started at another time
    (tmp_path / f".x.{gone}-{'0' * 16}.partial").symlink_to(theirs)
    (tmp_path / ".my.partial.json").write_text("mine")
    ends = DIE.format(end="")
    subprocess.run([sys.executable, "-c", ends, str(tmp_path)], env=PYTHON, check=True)
    assert (theirs / "deep/file").read_text() == "precious"
    assert (tmp_path / ".my.partial.json").read_text() == "mine"


def make_again(folder: Path) -> None:
    with whole_folder(folder) as temporary:
        (temporary / "text").mkdir()
        (temporary / "text/config.json").write_text("new")


def test_a_folder_of_ours_is_replaced(tmp_path):
    make_again(tmp_path / "model")
    (tmp_path / "model/text/config.json").write_text("old")
    (tmp_path / "model/.snakemake_timestamp").write_text("")
    make_again(tmp_path / "model")
    assert (tmp_path / "model/text/config.json").read_text() == "new"
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("name", ["thesis.tex", "text/notes.txt", ".git/config", "empty/"])
def test_a_folder_with_files_of_the_user_is_left_alone(tmp_path, name):
    make_again(tmp_path / "model")
    place = tmp_path / "model" / name
    place.parent.mkdir(exist_ok=True)
    place.mkdir() if name.endswith("/") else place.write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=f"model: .*{name.rstrip('/').split('/')[0]}.*") as caught:
        make_again(tmp_path / "model")
    assert len(str(caught.value)) < 300 + len(str(tmp_path))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert place.exists()


def test_a_folder_that_is_a_link_or_a_file_is_left_alone(tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "model").symlink_to(tmp_path / "theirs")
    with pytest.raises(ValueError, match=r"model: .*link"):
        make_again(tmp_path / "model")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match=r"file: .*no folder"):
        make_again(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
    assert list((tmp_path / "theirs").iterdir()) == []


def with_own_files(folder: Path) -> Path:
    """A folder as a user may name it by mistake, full of names that entries write."""
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "index.html", "thesis.tex", "demo00000_left.jpg", "results.json"):
        (folder / name).write_text("mine")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("command", [
    ["make_demo_data", "--patients", "1", "--seed", "1", "--output-manifest", "table.csv", "--output-images"],
    ["make_demo_encoder", "--name", "pubmedbert", "--seed", "1", "--output"],
    ["fetch_text_encoder", "--name", "x", "--source", "encoder", "--revision", "main", "--output"],
], ids=lambda command: command[0])  # fmt: skip
def test_an_entry_leaves_a_folder_of_the_user_alone(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if command[0] == "fetch_text_encoder":
        entry("make_demo_encoder", "--name", "pubmedbert", "--seed", 1, "--output", "encoder")
    mine = with_own_files(tmp_path / "mine")
    done = entry(*command, mine, check=False)
    assert {path.name: path.read_bytes() for path in mine.iterdir()} == dict.fromkeys(
        ("config.json", "tokenizer.json", "index.html", "thesis.tex", "demo00000_left.jpg", "results.json"), b"mine"
    )
    assert done.returncode == 1, done.stderr
    assert "mine" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["index.html", "results.json", "references.bib", "methods.md"])
def test_a_report_leaves_a_folder_of_the_user_alone(tmp_path, name):
    from retclip.report.page import build_report

    (tmp_path / name).write_text("mine")
    with pytest.raises(ValueError, match=f"holds {name}, which is no report's"):
        build_report(None, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_working_store_that_is_a_link_is_not_followed(tmp_path):
    """It is written in place: what it leads to would be changed."""
    import lmdb

    from retclip.data.working_store import WorkingStore

    lmdb.open(str(tmp_path / "theirs.lmdb"), subdir=False, lock=False).close()
    before = (tmp_path / "theirs.lmdb").read_bytes()
    (tmp_path / "pictures.lmdb").symlink_to(tmp_path / "theirs.lmdb")
    (tmp_path / "nowhere.lmdb").symlink_to(tmp_path / "new.lmdb")
    for name in ("pictures.lmdb", "nowhere.lmdb"):
        with pytest.raises(ValueError, match="symbolic link"):
            WorkingStore(tmp_path / name, 8, "raw", 1)
    assert (tmp_path / "theirs.lmdb").read_bytes() == before
    assert not (tmp_path / "new.lmdb").exists()


@pytest.mark.parametrize("digest", ["../../x/", "x\n", "", "0" * 63, "0" * 64 + "\n"])
def test_a_trial_names_no_path(digest):
    """Its results lie in a folder that is called by it."""
    specification = {
        "id": "a",
        "phase": "phase1",
        "text_encoder": "x",
        "seed": 1,
        "image_encoder": {},
        "image_size": 64,
        "text_encoder_settings": {
            "source": "demo",
            "revision": None,
            "texts": None,
            "truncation_side": "right",
            "from_checkpoint": False,
        },
        "selection_metric": "zero_shot_accuracy",
        "train_samples": None,
        "val_samples": None,
        "epochs": None,
        "shuffled_texts": False,
        "class_prompts": {"a": ["b"]},
    }
    trial = plan(specification, DEMO_VALUES, {"train": 640, "val": 100}).to_dict()
    schemas.check(trial, "trial", "trial.json")
    with pytest.raises(ValueError, match=r"trial\.json: class_prompts_sha256"):
        schemas.check({**trial, "class_prompts_sha256": digest}, "trial", "trial.json")


def test_only_weights_of_ours_are_dropped(tmp_path):
    """--state-dir may be a folder where others keep weights as well."""
    from retclip.training.checkpoint import bound_weights

    theirs = [
        tmp_path / name for name in ("yolo/weights-best.pt", "yolo/weights-001.pt", f"{'0' * 64}/weights-best.pt")
    ]
    ours = tmp_path / ("a" * 64) / "weights-001.pt"
    for path in (*theirs, ours):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(1000))
    bound_weights(tmp_path, 0)
    assert all(path.is_file() for path in theirs)
    assert not ours.exists()


def test_a_table_of_predictions_names_its_classes(tmp_path):
    """score_0 is of a class, and whoever has the file alone has to know of which; other tables stay as they were."""
    frame = pd.DataFrame({"score_0": [0.1], "score_1": [0.9]})
    write_parquet(tmp_path / "predictions.parquet", frame, classes=["AMD", "Grüner Star"])
    write_parquet(tmp_path / "samples.parquet", frame)
    assert pd.read_parquet(tmp_path / "predictions.parquet").attrs == {"classes": ["AMD", "Grüner Star"]}
    known = pyarrow.parquet.read_schema(tmp_path / "predictions.parquet").metadata
    assert json.loads(known[b"PANDAS_ATTRS"]) == {"classes": ["AMD", "Grüner Star"]}
    assert pd.read_parquet(tmp_path / "samples.parquet").attrs == {}
    assert frame.attrs == {}
