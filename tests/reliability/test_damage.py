"""Damaged files, a full or read-only disk, losses that are no numbers, no memory, no net: recovery or one sentence."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from reliability.faults import (
    MOMENTS,
    assert_same,
    break_loss,
    commands,
    content,
    copy_of,
    die_at_rename,
    made_by,
    run_out_of_memory,
    without_outputs,
)
from running import ENVIRONMENT, REPOSITORY

from retclip.training.checkpoint_file import load_checkpoint, save_checkpoint

pytestmark = pytest.mark.slow
ALWAYS = ["--save-seconds", "0"]


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def empty(path: Path) -> None:
    os.truncate(path, 0)


def flip(path: Path) -> None:
    """One byte in the middle, as a failing disk does."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def behead(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.write(b"\xff" * 8192)


DAMAGES = [truncate, zero, empty, flip]


def one_sentence(log: str) -> str:
    """What an entry that failed ends with."""
    last = log.strip().splitlines()[-1]
    assert last.startswith("error: "), log
    assert "Traceback" not in log, log
    return last


@pytest.fixture(scope="module")
def torn(jobs, small_run, entries, tmp_path_factory) -> Path:
    """A run whose training train_final was killed and left a checkpoint behind."""
    name, flags = jobs["train_final"]
    folder = copy_of(small_run, tmp_path_factory.mktemp("torn") / "run")
    without_outputs("train_final", flags, folder)
    code, log = entries.run(name, [*flags, *ALWAYS], folder, (die_at_rename, (4, True)))
    assert code == -signal.SIGKILL, log
    assert len(list(folder.glob("results/small/state/*/checkpoint.pt"))) == 1
    return folder


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", ["checkpoint.pt", "attempts.json"])
def test_damaged_state(file, damage, torn, jobs, small_run, entries, injected, tmp_path):
    name, flags = jobs["train_final"]
    with injected(f"{damage.__name__}", f"a training run's {file}"):
        folder = copy_of(torn, tmp_path / "run")
        (path,) = folder.glob(f"results/small/state/*/{file}")
        damage(path)
        code, log = entries.run(name, flags, folder)
        assert code == 0, log
        assert f"{file} " in log
        assert "resuming" not in log or file == "attempts.json"
        assert_same(flags, folder, small_run)


def of_another_trial(path: Path) -> None:
    """Whole, and with tensors of the right shapes."""
    other = path.parent.with_name("0" * 64) / path.name
    save_checkpoint(other, load_checkpoint(path))
    shutil.move(other, path)


def of_another_version(path: Path) -> None:
    """As the first versions wrote it: tensors, and nothing that says whose."""
    import torch

    saved, other = load_checkpoint(path), path.with_name("other.pt")
    torch.save({key: saved[key] for key in ("model", "optimizer", "progress")}, other)  # its tensors are read from path
    other.replace(path)


@pytest.mark.parametrize("change", [of_another_trial, of_another_version])
def test_a_checkpoint_that_is_not_ours(change, torn, jobs, small_run, entries, injected, tmp_path):
    name, flags = jobs["train_final"]
    with injected("state " + change.__name__.replace("_", " "), "a training run"):
        folder = copy_of(torn, tmp_path / "run")
        (path,) = folder.glob("results/small/state/*/checkpoint.pt")
        change(path)
        code, log = entries.run(name, flags, folder)
        assert code == 0, log
        assert "doing without it" in log
        assert_same(flags, folder, small_run)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", ["metrics.json", "history.csv", "val_predictions.parquet", "complete.json"])
def test_damaged_results_in_the_state(file, damage, jobs, small_run, entries, injected, tmp_path):
    """They are made again from the weights that were kept, or by training where those are damaged as well."""
    name, flags = jobs["train_phase1_trial"]
    with injected(damage.__name__, f"a training run's results, {file}"):
        folder = copy_of(small_run, tmp_path / "run")
        shutil.rmtree(folder / "results/small/state")
        assert entries.run(name, flags, folder)[0] == 0
        for path in folder.glob(f"results/small/state/*/epoch-*/{file}"):
            damage(path)
        if damage is truncate:
            for path in folder.glob("results/small/state/*/weights-*.pt"):
                damage(path)
        code, log = entries.run(name, flags, folder)
        assert code == 0, log
        assert "already complete" not in log
        assert_same(flags, folder, small_run)


def test_lost_weights_of_the_best_epoch(jobs, small_run, entries, injected, tmp_path):
    """Under early stopping the best epoch's weights are a file of their own."""
    name, flags = jobs["train_phase1_trial"]
    folder = copy_of(small_run, tmp_path / "whole")
    trial = folder / flags[flags.index("--trial") + 1]
    plan = json.loads(trial.read_text())
    plan["hyperparameters"].update(early_stopping_patience=2, epochs=4)
    plan["budget"].update(stop_epoch=4, total_steps=4 * plan["budget"]["steps_per_epoch"])
    trial.write_text(json.dumps(plan))
    shutil.rmtree(folder / "results/small/state")
    ready = copy_of(folder, tmp_path / "ready")
    assert entries.run(name, flags, folder)[0] == 0
    steps = plan["budget"]["steps_per_epoch"]
    for damage in (Path.unlink, *DAMAGES):
        with injected("lost or damaged", "weights of the best epoch"):
            run = copy_of(ready, tmp_path / damage.__name__)
            # attempts, a checkpoint a step, and the best weights after the first epoch
            code, log = entries.run(name, [*flags, *ALWAYS], run, (die_at_rename, (2 * steps + 2, True)))
            assert code == -signal.SIGKILL, log
            (best,) = run.glob("results/small/state/*/best-*.pt")
            damage(best)
            code, log = entries.run(name, flags, run)
            assert code == 0, log
            assert "starting from the beginning" in log
            assert_same(flags, run, folder)


@pytest.mark.parametrize("damage", [truncate, empty, behead])
def test_damaged_store(damage, jobs, small_run, entries, injected, tmp_path):
    """A training run refuses it in one sentence, and a build mends it."""
    name, flags = jobs["train_phase1_trial"]
    with injected(damage.__name__, "LMDB of a split"):
        folder = copy_of(small_run, tmp_path / "run")
        shutil.rmtree(folder / "results/small/state")
        damage(folder / "results/small/data/train.lmdb")
        code, log = entries.run(name, flags, folder)
        assert code == 1, log
        assert "train.lmdb" in one_sentence(log)
        build, build_flags = jobs["build_lmdb"]
        assert entries.run(build, build_flags, folder)[0] == 0
        code, log = entries.run(name, flags, folder)
        assert code == 0, log
        assert_same(flags, folder, small_run)


@pytest.mark.parametrize("damage", [truncate, empty, behead])
def test_damaged_working_store(damage, jobs, small_run, entries, injected, tmp_path):
    name, flags = jobs["build_lmdb"]
    with injected(damage.__name__, "LMDB that a build resumes from"):
        folder = copy_of(small_run, tmp_path / "run")
        damage(folder / "results/small/state/pictures.lmdb")
        code, log = entries.run(name, flags, folder)
        assert code == 0, log
        assert "is damaged; preparing all images again" in log
        assert_same(flags, folder, small_run)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_a_result(value, jobs, small_run, entries, injected, tmp_path):
    name, flags = jobs["train_phase1_trial"]
    for number in range(MOMENTS):
        with injected(f"the loss is {value}", "a training run"):
            folder = copy_of(small_run, tmp_path / f"run-{number}")
            shutil.rmtree(folder / "results/small/state")
            step = random.Random(number).randint(1, 2)
            code, log = entries.run(name, flags, folder, (break_loss, (step, value)))
            assert code == 0, log
            metrics = folder / flags[flags.index("--output-dir") + 1] / "metrics.json"
            broken = json.loads(metrics.read_text())
            assert broken["status"] == "diverged"
            assert broken["val"]["zero_shot_balanced_accuracy"] is None
            assert entries.run(name, flags, folder)[0] == 0
            assert content(metrics) == {k: v for k, v in broken.items() if k in content(metrics)}


@pytest.mark.parametrize("of_gpu", [True, False], ids=["gpu", "cpu"])
def test_out_of_memory_is_a_result(of_gpu, jobs, small_run, entries, injected, tmp_path):
    name, flags = jobs["train_phase1_trial"]
    with injected("the allocator has no memory", "a training run"):
        folder = copy_of(small_run, tmp_path / "run")
        shutil.rmtree(folder / "results/small/state")
        code, log = entries.run(name, flags, folder, (run_out_of_memory, (2, of_gpu)))
        assert code == 0, log
        metrics = json.loads((folder / flags[flags.index("--output-dir") + 1] / "metrics.json").read_text())
        assert metrics["status"] == "out_of_memory"


def test_a_worker_that_dies(jobs, small_run, entries, injected, tmp_path):
    """One of the processes that read images is killed, as the kernel does where memory is short: no image is lost."""
    name, flags = jobs["build_lmdb"]
    with injected("a worker is killed", "build_lmdb"):
        folder = copy_of(small_run, tmp_path / "run")
        without_outputs("build_lmdb", flags, folder)
        (folder / "results/small/state/pictures.lmdb").unlink()
        (folder / "output").write_text("")
        process = entries.start(name, flags, folder)
        children: list[str] = []
        while process.is_alive() and not children:
            path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            children = path.read_text().split() if path.exists() else []
        assert children
        os.kill(int(children[0]), signal.SIGKILL)
        process.join()
        log = (folder / "output").read_text()
        assert process.exitcode == 0, log
        assert "reading those at hand one by one" in log
        assert_same(flags, folder, small_run)


@pytest.fixture
def disk(tmp_path) -> Iterator[Callable[..., None]]:
    """A disk of its own of 96 MB, at tmp_path/disk; disk("-o", "remount,ro") changes it."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(*options: str) -> None:
        done = subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", str(place)], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no disk of its own can be mounted here: {done.stderr.strip()}")

    mount("-o", "size=96m")
    try:
        yield mount
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


WRITERS = ["make_demo_data", "build_lmdb", "train_final", "evaluate_final", "build_report"]


@pytest.mark.parametrize("rule", WRITERS)
def test_a_full_disk(rule, jobs, small_run, entries, injected, disk, tmp_path):
    """Room for some of what it writes, and then no more."""
    name, flags = jobs[rule]
    moments = random.Random(rule)
    written = sum(path.stat().st_size for path in made_by(flags, small_run))
    folder, filler = tmp_path / "disk/run", tmp_path / "disk/filler"

    def on_full_disk(room: int) -> tuple[int, str]:
        copy_of(small_run, folder)
        without_outputs(rule, flags, folder)
        if rule == "build_lmdb":
            (folder / "results/small/state/pictures.lmdb").unlink()
        free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
        with filler.open("wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, free - 8192 - room)
        # its output must not need the disk
        (folder / "output").unlink(missing_ok=True)
        (folder / "output").symlink_to(tmp_path / "output")
        ended = entries.run(name, flags, folder)
        filler.unlink()
        return ended

    for number in range(MOMENTS + 1):
        with injected("disk full", name):
            room = int(moments.random() * written * (number > 0))
            code, log = on_full_disk(room)
            while code == 0 and room:  # all of it fitted, which says nothing of a full disk
                shutil.rmtree(folder)
                room //= 4
                code, log = on_full_disk(room)
            assert code, log
            assert "No space left on device" in one_sentence(log) or "disk full" in log
            code, log = entries.run(name, flags, folder)
            assert code == 0, log
            assert_same(flags, folder, small_run)
            shutil.rmtree(folder)


@pytest.mark.parametrize("rule", WRITERS)
def test_results_made_read_only(rule, jobs, small_run, entries, injected, disk, tmp_path):
    name, flags = jobs[rule]
    with injected("results read-only", name):
        folder = copy_of(small_run, tmp_path / "disk/run")
        without_outputs(rule, flags, folder)
        (folder / "output").symlink_to(tmp_path / "output")
        disk("-o", "remount,ro")
        code, log = entries.run(name, flags, folder)
        assert code == 1, log
        assert "Read-only file system" in one_sentence(log)
        disk("-o", "remount,rw,size=96m")
        code, log = entries.run(name, flags, folder)
        assert code == 0, log
        assert_same(flags, folder, small_run)


def test_the_hub_is_not_there(injected, tmp_path):
    with injected("the hub does not answer", "fetch_text_encoder"):
        command = [sys.executable, str(REPOSITORY / "scripts/fetch_text_encoder.py"), "--name", "x"]
        command += ["--source", "a/bert", "--revision", "main", "--output", str(tmp_path / "encoder")]
        nowhere = {**ENVIRONMENT, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": ""}
        done = subprocess.run(command, env=nowhere, capture_output=True, text=True)
        assert done.returncode == 1
        assert "run this where there is a network" in one_sentence(done.stderr)
        assert list(tmp_path.iterdir()) == []


def test_wandb_is_not_there(small_run, small_config, injected, tmp_path):
    """The training is logged to a folder, to be synchronised later."""
    overlay = tmp_path / "online.yaml"
    overlay.write_text("tracking: {wandb: online}")
    name, flags = commands(small_run, *small_config, overlay)["track_trial"]
    folder = copy_of(small_run, tmp_path / "run")
    with injected("W&B does not answer", name):
        nowhere = {**ENVIRONMENT, "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "a" * 40}
        command = [sys.executable, str(REPOSITORY / f"scripts/{name}.py"), *flags]
        subprocess.run(command, env=nowhere, cwd=folder, check=True, capture_output=True)
        (path,) = (folder / "results/small/tracking").glob("*/*.json")
        outcome = json.loads(path.read_text())
        assert outcome["mode"] == "offline"
        assert "connection refused" in outcome["error"]
        assert list((folder / "results/small/wandb").glob(f"offline-run-*-{outcome['id']}/run-*.wandb"))
