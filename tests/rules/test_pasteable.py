"""A command that snakemake prints is the command that runs: pasted into a shell it does the same once more."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from running import ENVIRONMENT, REPOSITORY, planned_jobs, snakemake

# what rules make that take seconds
MADE = {
    "plan_phase1_trial": "results/small/phase1/baseline/trial.json",
    "record_run": "results/small/run.json",
    "make_demo_encoder": "resources/text_encoders/demo--pubmedbert",
}


@pytest.fixture(scope="module")
def printed(small_config, tmp_path_factory):
    """A clone and a working directory whose paths hold blanks, flags, and what `snakemake -p` printed there."""
    folder = tmp_path_factory.mktemp("pasted")
    clone, run = folder / "a clone", folder / "my run"
    for name in ("rules", "scripts", "config", "envs"):
        shutil.copytree(REPOSITORY / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(REPOSITORY / "Snakefile", clone / "Snakefile")
    run.mkdir()
    flags = [*small_config, "--", *MADE.values()]
    done = snakemake(run, "--printshellcmds", *flags, repository=clone)
    return clone, run, flags, done.stdout + done.stderr


def content(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    # snakemake marks a folder that it was told of by a file of its own
    files = [file for file in files if file.is_file() and file.name != ".snakemake_timestamp"]
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def test_a_moved_clone_plans_nothing(printed):
    """Though its path stands in every command."""
    clone, run, flags, output = printed
    assert f"'{clone}/scripts'/plan_trial.py" in output
    moved = clone.rename(clone.with_name("another clone"))
    try:
        assert planned_jobs(run, *flags, repository=moved) == {}
    finally:
        moved.rename(clone)


@pytest.mark.parametrize("rule", MADE)
def test_a_printed_command_can_be_pasted(printed, rule):
    _, run, _, output = printed
    block = re.search(rf"^(?:local)?rule {rule}:$.*?^Shell command: (.*?)$", output, re.MULTILINE | re.DOTALL)
    made = run / MADE[rule]
    before = content(made)
    assert before
    if made.is_dir():
        shutil.rmtree(made)
    else:
        made.unlink()
    done = subprocess.run(["bash", "-c", block[1]], cwd=run, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert content(made) == before
