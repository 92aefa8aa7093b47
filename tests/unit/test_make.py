"""make harms nothing: the environment is made in its own folder or not at all, and clean removes what a run made."""

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from running import REPOSITORY

PARTS = ("Makefile", "requirements.lock", "envs", "slurm", "scripts/clean_run.sh")
FOLDERS = (
    ("Project 2024", "Project"),
    ("OneDrive - X", "OneDrive"),
    ("Über das Auge's data 2024", "Über"),
    ('cost$HOME #1 100% "x" (a) & b;c \\ *', "cost"),
    ("-rf  two", "-rf"),
)
# real environments, but without the gigabytes: what pip and uv would fetch is written down instead
PYTHON = """#!/bin/sh
if [ "$1 $2" != "-m venv" ]; then exec {python} "$@"; fi
shift 2
for folder; do
  # should make ever ask for less than it may
  case "$folder" in -*) continue ;; /*) ;; *) folder="$PWD/$folder" ;; esac
  case "$folder/" in */../*) exit 9 ;; {allowed}/*/*) ;; *) exit 9 ;; esac
done
{python} -m venv --without-pip "$@" || exit 1
rm "$folder/bin/python"
cat > "$folder/bin/python" <<'END'
#!/bin/sh
echo "pip" >> "$(dirname "$0")/../installed"
printf '#!/bin/sh\\necho "$*" >> "$(dirname "$0")/../installed"\\n' > "$(dirname "$0")/uv"
chmod +x "$(dirname "$0")/uv"
{broken}
END
chmod +x "$folder/bin/python"
"""


def checksum(folder: Path) -> str:
    """Of all names and contents below it."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(os.fsencode(path.relative_to(folder)) + b"\0")
        digest.update(os.readlink(path).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


def clone(folder: Path) -> Path:
    """What make needs of the repository, in `folder`."""
    for part in PARTS:
        source, target = REPOSITORY / part, folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        elif source.is_file():
            shutil.copy2(source, target)
    return folder


def users(folder: Path) -> Path:
    """A folder with files of the user's."""
    (folder / "bin").mkdir(parents=True)
    (folder / "thesis.tex").write_text("years of work")
    (folder / "bin/tool").write_text("of the user's")
    return folder


@pytest.fixture
def make(tmp_path):
    """make(folder, words...) runs make there, with a python whose environments hold nothing."""
    python = tmp_path / "python3"

    def run(folder: Path, *words: str, broken: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        python.write_text(
            PYTHON.format(python=shlex.quote(sys.executable), allowed=shlex.quote(str(tmp_path)), broken=broken)
        )
        python.chmod(0o755)
        variables = {key: value for key, value in os.environ.items() if key not in ("VENV", "MAKEFLAGS", "MAKELEVEL")}
        variables |= {"PYTHON": str(python), **environment}
        return subprocess.run(["make", *words], cwd=folder, env=variables, capture_output=True, text=True)

    return run


def one_sentence(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """It stopped, and said why in one sentence."""
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert len(lines[0]) <= 300
    assert all(word in lines[0] for word in words), lines[0]


@pytest.mark.parametrize(("name", "neighbour"), FOLDERS)
def test_make_env_works_in_any_folder_and_leaves_its_neighbour_alone(make, tmp_path, name, neighbour):
    place = tmp_path / "place"
    beside = users(place / neighbour)
    repository = clone(place / name / "retclip-tune")
    before = checksum(beside)
    done = make(repository, "env")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{repository}/.venv/bin"
    assert checksum(beside) == before
    assert sorted(path.name for path in place.iterdir()) == sorted([name, neighbour])
    installed = (repository / ".venv/installed").read_text().splitlines()
    assert installed[0] == "pip"
    assert "pip sync" in installed[1]
    # a second one makes nothing
    assert make(repository, "env").stdout.splitlines() == [f"{repository}/.venv/bin"]
    assert (repository / ".venv/installed").read_text().splitlines() == installed


def test_a_folder_that_no_environment_can_be_in_stops_before_anything_is_touched(make, tmp_path):
    place = tmp_path / "place"
    repository = clone(place / "12:30" / "retclip-tune")
    before = checksum(place)
    one_sentence(make(repository, "env"), "VENV", ":")
    assert checksum(place) == before


@pytest.mark.parametrize("given", ["variable", "environment"])
def test_a_folder_of_the_users_is_never_cleared(make, tmp_path, given):
    repository, theirs = clone(tmp_path / "clone"), users(tmp_path / "things")
    before = checksum(theirs)
    words, environment = ([f"VENV={theirs}"], {}) if given == "variable" else ([], {"VENV": str(theirs)})
    for target in ("env", "demo", "test", "plan", "status"):
        one_sentence(make(repository, target, *words, **environment), str(theirs), "VENV")
    assert checksum(theirs) == before


def test_what_else_venv_may_be(make, tmp_path):
    repository = clone(tmp_path / "clone")
    theirs = users(tmp_path / "theirs")
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(theirs)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "python3").touch()
    before = checksum(tmp_path / "clone"), checksum(theirs), sorted(tmp_path.iterdir())
    for given in ("", "/", ".", "..", "~/venv", str(repository), str(tmp_path), str(tmp_path / "file"),
                  str(tmp_path / "link"), str(tmp_path / "dangling"), str(home), f"{tmp_path}/new\nline"):  # fmt: skip
        one_sentence(make(repository, "env", VENV=given, HOME=str(home)), "VENV")
    assert (checksum(tmp_path / "clone"), checksum(theirs), sorted(tmp_path.iterdir())) == before
    assert not list(home.iterdir())
    # an empty folder, a link to one, and a path that is relative to the repository
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "to other").symlink_to(tmp_path / "other")
    for given, made in ((str(tmp_path / "empty"), "empty"), (str(tmp_path / "to other"), "to other")):
        done = make(repository, "env", VENV=given)
        assert done.stdout.splitlines()[-1] == f"{tmp_path / made}/bin", done.stderr
        assert (tmp_path / made / "bin/uv").is_file()
    assert make(repository, "env", "VENV=my venv").stdout.splitlines()[-1] == f"{repository}/my venv/bin"
    assert make(repository, "env", VENV="$HOME/x").stdout.splitlines()[-1] == f"{repository}/$HOME/x/bin"


def test_an_outdated_environment_of_ours_is_remade_and_what_is_not_ours_in_it_stays(make, tmp_path):
    repository, venv = clone(tmp_path / "clone"), tmp_path / "old venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin/old").write_text("old")
    (venv / "pyvenv.cfg").write_text("old")
    (venv / ".made-from-0123456789ab").touch()  # as version 0.1 left it
    (venv / "notes.txt").write_text("of the user's")
    done = make(repository, "env", VENV=str(venv))
    assert done.returncode == 0, done.stderr
    assert not (venv / "bin/old").exists()
    assert (venv / "bin/uv").is_file()
    assert (venv / "notes.txt").read_text() == "of the user's"
    assert len(list(venv.glob(".made-from-*"))) == 1


@pytest.mark.parametrize("target", ["plan", "status", "demo"])
def test_an_environment_that_clones_share_is_remade_by_make_env_alone(make, tmp_path, target):
    """Another lock's environment may be at work; the clone's own .venv has nobody else."""
    repository, venv = clone(tmp_path / "clone"), tmp_path / "shared venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin/old").write_text("old")
    (venv / ".made-from-0123456789ab").touch()
    before = checksum(venv)
    one_sentence(make(repository, target, VENV=str(venv)), "another requirements.lock", "make env")
    assert checksum(venv) == before
    own = repository / ".venv"
    shutil.copytree(venv, own)
    make(repository, target)
    assert not (own / "bin/old").exists()


def test_an_interrupted_make_env_is_done_again(make, tmp_path):
    repository, venv = clone(tmp_path / "clone"), tmp_path / "half venv"
    assert make(repository, "env", VENV=str(venv), broken="exit 1").returncode != 0
    assert venv.is_dir()
    assert not list(venv.glob(".made-from-*"))
    done = make(repository, "env", VENV=str(venv))
    assert done.returncode == 0, done.stderr
    assert len(list(venv.glob(".made-from-*"))) == 1


RUN = ("run.json", "best.json", "data/audit.json", "phase1/baseline/metrics.json", "state/0123/lock", "logs/a.log",
       "interim/index.html")  # fmt: skip
AGAIN = ("config.json", "results/demo/run.json", ".snakemake/log/x")


def made(folder: Path, files: tuple[str, ...]) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    return folder


def test_make_clean_removes_a_run_and_nothing_else(make, tmp_path):
    repository = clone(tmp_path / "the clone")
    results = repository / "results"
    for name in ("demo", "clinic"):
        made(results / name, RUN)
    made(results / "clinic-again", AGAIN)
    resources = users(tmp_path / "resources")
    (results / "clinic-again/resources").symlink_to(resources)
    made(results / "demo-again", RUN)  # a run of that name, not a reproduction
    kept, outside = checksum(results / "demo"), checksum(resources)
    done = make(repository, "clean", "RUN=clinic")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in results.iterdir()) == ["demo", "demo-again"]
    assert (checksum(results / "demo"), checksum(resources)) == (kept, outside)
    assert make(repository, "clean").returncode == 0
    assert [path.name for path in results.iterdir()] == ["demo-again"]
    # nothing there any more
    assert make(repository, "clean").returncode == 0


@pytest.mark.parametrize(
    "name", ["", "..", ".", "demo/..", "../clone", "/", "a b", "*", "-rf", "$HOME", "~", "demo\n.."]
)
def test_make_clean_refuses_what_is_no_name_of_a_run(make, tmp_path, name):
    repository = clone(tmp_path / "clone")
    made(repository / "results/demo", RUN)
    before = checksum(tmp_path / "clone")
    one_sentence(make(repository, "clean", f"RUN={name.replace('$', '$$')}"), "RUN")
    one_sentence(make(repository, "clean", RUN=name), "RUN")
    assert checksum(tmp_path / "clone") == before


def test_make_clean_leaves_what_no_run_made(make, tmp_path):
    repository = clone(tmp_path / "clone")
    results = repository / "results"
    photographs = users(results / "photographs")
    (photographs / "data").mkdir()
    (results / "scratch").symlink_to(made(tmp_path / "scratch", RUN))
    before = checksum(tmp_path / "clone"), checksum(tmp_path / "scratch")
    one_sentence(make(repository, "clean", "RUN=photographs"), "results/photographs")
    one_sentence(make(repository, "clean", "RUN=scratch"), "results/scratch", "link")
    assert (checksum(tmp_path / "clone"), checksum(tmp_path / "scratch")) == before
    made(results / "mine", RUN)
    (results / "mine/notes.txt").write_text("of the user's")
    done = make(repository, "clean", "RUN=mine")
    assert done.returncode == 0
    assert "notes.txt" in done.stdout
    assert [path.name for path in (results / "mine").iterdir()] == ["notes.txt"]
    # results/ itself may lie on another disk
    shutil.rmtree(results)
    made(tmp_path / "disk/demo", RUN)
    results.symlink_to(tmp_path / "disk")
    assert make(repository, "clean").returncode == 0
    assert not (tmp_path / "disk/demo").exists()


def test_make_clean_knows_every_folder_that_a_rule_writes():
    rules = "".join(path.read_text() for path in (REPOSITORY / "rules").glob("*.smk"))
    written = set(re.findall(r"(?:<results>|\{RESULTS\})/(\w+(?:\.json)?)", rules))
    known = re.search(r"of_a_run=\((.*?)\)", (REPOSITORY / "scripts/clean_run.sh").read_text(), re.DOTALL)
    assert {"demo", "external", "data", "run.json"} <= written
    assert known
    assert written <= set(known[1].split())
