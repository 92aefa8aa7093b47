"""What a snakemake that was killed left locked is unlocked by the words that snakemake prints, and by make unlock."""

import logging
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from running import ENVIRONMENT, REPOSITORY, snakemake, snakemake_command

from retclip.core.unlock import UnlockHint, unlock_command

# One overlay, as users have it: without it, the config is not one that can be run.
MINE = """
run: mine
data: {manifest: table.csv, image_root: .}
"""
TABLE = "patient_id,image,eye,label\n" + "".join(f"P{i},{i}.jpg,left,{'xy'[i % 2]}\n" for i in range(200))


@pytest.fixture
def locked(tmp_path):
    """A folder that is locked by a snakemake which is no longer there, and the flags of its config."""
    folder = tmp_path / "scratch me"
    (folder / ".snakemake/locks").mkdir(parents=True)
    (folder / "table.csv").write_text(TABLE)
    (folder / "my config.yaml").write_text(MINE)
    for number in range(200):
        (folder / f"{number}.jpg").touch()
    for kind in ("input", "output"):
        (folder / f".snakemake/locks/0.{kind}.lock").write_text("results/mine/run.json\n")
    return folder, ["--configfile", str(folder / "my config.yaml")]


def test_a_locked_folder_says_how_to_unlock_it(locked):
    folder, config = locked
    flags = ["--quiet", "rules", "progress", *config, "--", "results/mine/run.json"]
    done = snakemake(folder, *flags, check=False)
    assert done.returncode
    output = done.stdout + done.stderr
    assert "Directory cannot be locked" in output
    said = re.search(r"--unlock argument\. Here: (.*)", output)[1]
    assert "my config.yaml" in said
    assert list(folder.glob(".snakemake/locks/*"))
    subprocess.run(["bash", "-c", said], cwd=folder.parent, env=ENVIRONMENT, check=True, capture_output=True)
    assert not list(folder.glob(".snakemake/locks/*"))
    snakemake(folder, *flags)
    assert (folder / "results/mine/run.json").is_file()


def test_make_unlock(locked, tmp_path):
    folder, config = locked
    venv = tmp_path / "venv"
    venv.mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (venv / name).symlink_to(Path(sys.prefix) / name)
    lock = subprocess.run(["sha256sum", REPOSITORY / "requirements.lock"], capture_output=True, text=True).stdout
    (venv / f".made-from-{lock[:12]}").touch()
    words = ["make", "unlock", f"CONFIG={config[1]}", f"DIR={folder}", f"VENV={venv}"]
    done = subprocess.run(words, cwd=REPOSITORY, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not list(folder.glob(".snakemake/locks/*"))


def test_a_failed_job_names_the_command(locked):
    """The error handler prints this run's own arguments."""
    folder, config = locked
    shutil.rmtree(folder / ".snakemake/locks")
    # the images are empty files: the build stops
    done = snakemake(folder, *config, "--", "results/mine/data/fingerprint.json", check=False, forks=False)
    assert done.returncode
    assert "A job failed" in done.stdout + done.stderr
    words = snakemake_command(folder, *config, "--unlock", "--", "results/mine/data/fingerprint.json")
    assert f"its folder would stay locked until: {shlex.join(words)}" in done.stdout + done.stderr


def test_the_words_of_a_command():
    program = shutil.which("ls")
    assert unlock_command([program, "--configfile", "a b.yaml"]) == "ls --configfile 'a b.yaml' --unlock"
    assert unlock_command([program, "-c", "1", "--", "fetch"]) == "ls -c 1 --unlock -- fetch"
    assert unlock_command(["/no/such/snakemake", "--unlock"]) == "/no/such/snakemake --unlock"
    assert unlock_command(["/lib/snakemake/__main__.py"]) == f"{sys.executable} -m snakemake --unlock"
    said = "Locked. It can be removed with the --unlock argument."
    record = logging.LogRecord("snakemake", logging.ERROR, "", 0, said, (), None)
    assert UnlockHint("this").filter(record)
    assert record.msg.endswith("argument. Here: this")
