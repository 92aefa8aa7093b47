"""Folders that several users or a full disk share with a run: it goes on, or stops in one sentence before any job."""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from running import ENVIRONMENT, REPOSITORY

from retclip.core.modes import private_folder

ONE, OTHER, GROUP = 1, 2, 100  # daemon, bin, users: of every Linux
AS_ROOT = pytest.mark.skipif(
    os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0,
    reason="only root may mount file systems and be other users",
)
DEMO = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), "--quiet", "all",
        "--configfile", str(REPOSITORY / "config/demo.yaml")]  # fmt: skip
DRY = shlex.join([*DEMO, "-n"])
HOME = "mkdir -p home-$UID; export HOME=$PWD/home-$UID"


def isolated(script: str, user: int | None = None, umask: str = "022") -> subprocess.CompletedProcess[str]:
    """Runs a script in a mount namespace of its own; as another user with the group GROUP beside his own, who can read
    this python wherever it lies, but has no right of root's."""
    lines = ["set -e", f"umask {umask}"]
    home = os.path.expanduser("~")
    if user is not None and sys.base_prefix.startswith(f"{home}/"):
        kept = shlex.quote(sys.base_prefix)
        lines += ["mount -t tmpfs tmpfs /mnt", "mkdir /mnt/held", f"mount --bind {kept} /mnt/held",
                  f"mount -t tmpfs -o mode=755 tmpfs {home}", f"mkdir -p {kept}", f"mount --bind /mnt/held {kept}",
                  ]  # fmt: skip
    drop = f"setpriv --reuid={user} --regid={user} --groups {GROUP} --inh-caps=-all --bounding-set=-all"
    lines.append(f"exec {'' if user is None else drop} bash -ec {shlex.quote(script)}")
    command = ["unshare", "-m", "bash", "-c", "\n".join(lines)]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)


def sentence_of(done: subprocess.CompletedProcess[str]) -> str:
    said = done.stdout + done.stderr
    assert done.returncode != 0, said
    assert "Traceback" not in said
    (line,) = (line for line in said.splitlines() if line.startswith("error:"))
    assert len(line) <= 400, line
    return line


@pytest.fixture
def shared():
    """A folder of ONE's for all of GROUP, as sites have them, on a path that others may enter: the next pytest that
    begins closes pytest's own to them."""
    with tempfile.TemporaryDirectory(prefix="retclip-", dir="/tmp") as place:
        Path(place).chmod(0o755)
        folder = Path(place, "shared")
        folder.mkdir()
        os.chown(folder, ONE, GROUP)
        folder.chmod(0o2775)
        yield folder


def test_a_folder_for_patient_data_stays_with_the_group_of_a_shared_one(tmp_path):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o2775)
    before = os.umask(0o002)
    try:
        private_folder(tmp_path / "shared/state")
    finally:
        os.umask(before)
    assert (tmp_path / "shared/state").stat().st_mode & 0o7777 == 0o2770


@AS_ROOT
@pytest.mark.slow
def test_two_users_with_umask_002_build_and_read_the_same_run(shared):
    """Their own groups differ; the folder's is on all that they make. The second reads and replaces."""
    for user in (ONE, OTHER):
        done = isolated(f"cd {shared}; export PYTHONPATH={REPOSITORY}/scripts:{REPOSITORY}/tests; {WORK}", user, "002")
        assert done.returncode == 0, done.stdout + done.stderr
    made = [path for path in shared.rglob("*") if not path.is_symlink()]
    assert {path.name for path in made} >= {"train.lmdb", "vision.safetensors", "model.safetensors", "state"}
    for path in made:
        assert path.stat().st_gid == GROUP, path
        assert path.stat().st_mode & 0o060 == 0o060, path


WORK = (
    shlex.quote(sys.executable)
    + " -c "
    + shlex.quote(
        """
import numpy as np
from pathlib import Path
from safetensors.numpy import load_file, save_file
from retclip.core.io import atomic, whole_folder, write_json
from retclip.core.locks import held
from retclip.core.modes import private_folder
from retclip.data.store import Store, write_store
from retclip.data.working_store import WorkingStore
private_folder("state")
if Path("train.lmdb").exists():  # the second user: what the first one left
    Store("train.lmdb", Path("train.lmdb").stat().st_size).get("a/left")
    load_file("model/model.safetensors"), load_file("vision.safetensors")
with held("state/lock", "waiting"):
    WorkingStore(Path("state/pictures.lmdb"), 8, "raw", 4)
    write_store("train.lmdb", [("a/left", bytes(192))], 1, 8, "raw")
    with atomic("vision.safetensors") as path:
        save_file({"x": np.zeros(2)}, path)
    with whole_folder("model") as made:
        save_file({"x": np.zeros(2)}, made / "model.safetensors")
    write_json("state/run.json", {})
"""
    )
)


FEW = """
run: shared
data: {demo_patients: 130}
model: {text_encoders: {biobert: null, bert_base: null}}
phase1: {epochs: 1, space: {learning_rate: [1.0e-3], batch_size: [32], warmup_steps: [2]}}
phase2: {trials: 1, epochs: 1, space: {weight_decay: [0.1, 0.2]}}
confirm: {top_k: 0}
final: {epochs: 1}
study: {data_fractions: null}
ablation: false
controls: {shuffled_texts: false}
lr_finder: {num_iter: 20}
"""


@AS_ROOT
@pytest.mark.slow
def test_a_run_that_one_user_begins_another_ends(shared):
    """umask 002, primary groups that differ, a folder that keeps its own: results, state and what snakemake keeps."""
    (shared / "few.yaml").write_text(FEW)
    run = shlex.join([*DEMO, "few.yaml", "--cores", "2"])
    for user, target in ((ONE, "results/shared/phase1/leaderboard.csv"), (OTHER, "all")):
        done = isolated(f"cd {shared}; {HOME}; {run} -- {target}", user, "002")
        assert done.returncode == 0, done.stdout + done.stderr
    assert (shared / "results/shared/report/index.html").stat().st_uid == OTHER
    trained = {path.stat().st_uid for path in shared.glob("results/shared/*/*/metrics.json")}
    assert trained == {ONE, OTHER}
    for path in (path for name in ("results", "resources", ".snakemake") for path in (shared / name).rglob("*")):
        assert path.lstat().st_gid == GROUP, path
        assert path.is_symlink() or path.stat().st_mode & 0o060 == 0o060, path


@AS_ROOT
@pytest.mark.slow
def test_what_another_user_wrote_with_umask_022_is_one_sentence(shared):
    for folder in (".snakemake/locks", "results/demo/state"):
        (shared / folder).mkdir(parents=True)
    for path in shared.rglob("*"):
        os.chown(path, ONE, GROUP)
        path.chmod(0o2755)
    sentence = sentence_of(isolated(f"cd {shared}; {HOME}; {DRY}", OTHER))
    assert f"{shared}/.snakemake: belongs to daemon, and you may not write there" in sentence
    assert "umask 002" in sentence


@AS_ROOT
@pytest.mark.slow
@pytest.mark.parametrize(("umask", "warned"), [("022", True), ("002", False)])
def test_who_would_lock_the_others_out_is_told_before(shared, umask, warned):
    done = isolated(f"cd {shared}; {HOME}; {DRY}", OTHER, umask)
    assert done.returncode == 0, done.stderr
    assert ("warning: daemon shares this folder with you, and your umask is 022" in done.stderr) == warned


@AS_ROOT
@pytest.mark.slow
@pytest.mark.parametrize(("mount", "words"), [
    ("mount --bind work work; mount -o remount,ro,bind work", "is read-only; run in a folder of your own: --directory"),
    ("mount -t tmpfs -o nr_inodes=1 tmpfs work", "takes no more files: no inodes are left (df -i)"),
    ("mount -t tmpfs -o size=8k tmpfs work", "is full (df -h); make room"),
])  # fmt: skip
def test_a_working_folder_that_takes_nothing_is_one_sentence(tmp_path, mount, words):
    (tmp_path / "work").mkdir()
    done = isolated(f"cd {tmp_path}; {mount}; cd work; {DRY}")
    assert f"{tmp_path}/work: {words}" in sentence_of(done)


@AS_ROOT
@pytest.mark.slow
def test_a_read_only_repository_serves_a_run_elsewhere(tmp_path):
    shutil.copytree(REPOSITORY, tmp_path / "repo", ignore=shutil.ignore_patterns(".git", "results", ".snakemake"))
    dry = DRY.replace(str(REPOSITORY), str(tmp_path / "repo"))
    done = isolated(f"cd {tmp_path}; mkdir work; mount --bind repo repo; mount -o remount,ro,bind repo; cd work; {dry}")
    assert done.returncode == 0, done.stderr


@AS_ROOT
def test_a_quota_of_files_that_is_used_up_is_called_so_and_nothing_is_lost(tmp_path):
    (tmp_path / "work").mkdir()
    write = ("from retclip.core.io import write_json; from retclip.core.logs import run_entry\n"
             "for number in range(40):\n    run_entry(lambda _: write_json(f'{number}.json', [number]))")  # fmt: skip
    command = f"PYTHONPATH={REPOSITORY}/scripts {shlex.join([sys.executable, '-c', write])}"
    done = isolated(
        f"cd {tmp_path}; mount -t tmpfs -o nr_inodes=12 tmpfs work; cd work; {command} || cat *.json; ls -a"
    )
    said = done.stdout + done.stderr
    assert "cannot be written (no inodes are left, so the disk takes no more files: df -i)" in said
    assert "Traceback" not in said
    assert ".partial" not in said
    for number in range(10):
        assert f"{number}.json" in said


@AS_ROOT
@pytest.mark.parametrize("full", ["nr_inodes=1", "size=16k"])
def test_a_home_without_room_is_one_sentence_of_make(tmp_path, full):
    """snakemake itself ends in a traceback there, before it has read a line of ours."""
    (tmp_path / "home").mkdir()
    make = f"make -C {shlex.quote(str(REPOSITORY))} plan VENV={shlex.quote(sys.prefix)}"
    done = isolated(f"cd {tmp_path}; mount -t tmpfs -o {full} tmpfs home; export HOME=$PWD/home; {make}")
    assert f"{tmp_path}/home/.cache/snakemake: cannot be written" in sentence_of(done)
