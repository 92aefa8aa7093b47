"""The notebook for Colab and Kaggle, executed as a notebook: in a folder with a blank, where a session ended before."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from running import ENVIRONMENT, REPOSITORY, copy_repository

pytestmark = pytest.mark.slow
NOTEBOOK = REPOSITORY / "docs/notebook.ipynb"
PACKAGES = REPOSITORY / "resources/docs/packages"
EXECUTE = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=900, kernel_name="python3").execute()
nbformat.write(notebook, sys.argv[1])
"""
# the kernel's own packages are not those of what it starts
OWN = "import os\nfor name in ('PYTHONPATH', 'JUPYTER_PATH'): os.environ.pop(name, None)\n"


def settings(**values: str) -> str:
    return "".join(f"{name} = {value!r}\n" for name, value in values.items())


def committed(folder: Path) -> Path:
    """A repository of what is here, with what was not committed yet."""
    copy_repository(folder)
    git = ["git", "-C", str(folder), "-c", "user.name=test", "-c", "user.email=test@localhost"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "as it stands"]):
        subprocess.run([*git, *command], check=True)
    return folder


def test_the_cells_go_on_where_a_session_ended(small_run, small_config, tmp_path):
    if not (PACKAGES / "nbclient").is_dir():
        pytest.skip("nothing that runs notebooks: make docs-packages installs it")
    work = tmp_path / "My Drive/retclip"
    shutil.copytree(small_run, work)
    shutil.rmtree(work / "results/small/report")
    (work / ".snakemake/locks").mkdir(parents=True, exist_ok=True)
    for name in ("0.input.lock", "0.output.lock"):  # as kill -9 leaves them
        (work / ".snakemake/locks" / name).write_text("results/small/report/index.html\n")
    shutil.copy(small_config[-1], work / "small.yaml")
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(cells) == 5
    given = "".join(cells[0]["source"])
    values = {"SOURCE": str(committed(tmp_path / "source")), "WORK": str(work), "CONFIG": "config/demo.yaml small.yaml",
              "CODE": str(tmp_path / "the code/retclip-tune")}  # fmt: skip
    assert [line.split(" = ")[0] for line in given.splitlines()] == list(values)
    cells[0]["source"] = OWN + settings(**values)
    executed = tmp_path / "executed.ipynb"
    executed.write_text(json.dumps(notebook))
    before = state_of(work)
    done = subprocess.run(
        [sys.executable, "-c", EXECUTE, str(executed)],
        env={**ENVIRONMENT, "VENV": sys.prefix, "PYTHONPATH": str(PACKAGES), "HOME": str(tmp_path),
             "JUPYTER_PATH": str(PACKAGES / "share/jupyter"),
             "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    *_, shown = (cell for cell in json.loads(executed.read_text())["cells"] if cell["cell_type"] == "code")
    page = work / "results/small/report/index.html"
    assert f"{page}\n" in "".join(shown["outputs"][0]["text"])
    frame = "".join(shown["outputs"][1]["data"]["text/html"])
    assert frame.startswith("<iframe srcdoc=")
    assert "Limitations" in frame
    assert state_of(work) == before  # nothing was trained again


def state_of(work: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in sorted((work / "results/small/state").rglob("*.json"))}
