"""make check-gpu: each line of its page can be ok, and can fail; the GPU half on a stand-in for a GPU.

What the stand-in cannot show stays unshown: CUDA's kernels, NCCL, memory and speed.
"""

import dataclasses
import json
import os
import re
from functools import partial

import documents
import pytest
import torch
from fake_cuda import fake_cuda
from running import REPOSITORY, declared_defaults, entry, merged, snakemake

from check_gpu import main
from retclip.checks import agreement, check_gpu, disks, hardware, speed, survival
from retclip.checks.line import BROKEN, NOT_RUN, OK, SLOW, Line, checked, page
from retclip.checks.seeded_data import write_data
from retclip.checks.small_trial import short_trial, small_trial, split_of, write_small_study
from retclip.core import locks
from retclip.core.config import drop_nulls
from retclip.core.gpus import Gpu
from retclip.core.io import read_json, write_json
from retclip.models.factory import build_model
from retclip.search.jobs import specification
from retclip.search.speed import known_speed

torch.set_num_threads(1)

CPU = torch.device("cpu")
A100 = Gpu("GPU-1", "NVIDIA A100", 0, "GPU-1", "GPU-1")
PART = Gpu("MIG-2", "NVIDIA A100 MIG 1g.10gb", 0, "GPU-1", "MIG-2")
GIB = 2**30
TRIAL = small_trial(
    documents.trial_of(hyperparameters={**documents.VALUES, **declared_defaults(), "precision": "auto"})
)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """data/ and encoder/ of the small trial."""
    folder = tmp_path_factory.mktemp("study")
    write_small_study(folder)
    return folder


@pytest.fixture
def folder(study, tmp_path):
    """The same, with a state of its own."""
    for name in ("data", "encoder"):
        (tmp_path / name).symlink_to(study / name)
    return tmp_path


@pytest.fixture
def build(study):
    return partial(build_model, TRIAL, study / "encoder", None)


@pytest.fixture
def read(study):
    return partial(split_of, study / "data", "train", study / "encoder", TRIAL)


def state_of(line: Line) -> str:
    assert bool(line.to_do) == (line.state in (SLOW, BROKEN)), line
    assert len(f"{line.found}{line.to_do}") <= 400, line
    return line.state


# --- the machine -----------------------------------------------------------------------------------------------


def test_the_page_says_plainly_that_there_is_no_gpu():
    line = hardware.check_driver("driver", CPU, [])
    assert (line.state, "there is no GPU here" in line.found) == (NOT_RUN, True)
    others = (hardware.check_bf16, hardware.check_memory, partial(hardware.check_parts, gpus=[]),
              partial(hardware.check_nccl, wanted=1), partial(agreement.check_curve, trial=None, folder=None),
              )  # fmt: skip
    for check in others:
        assert state_of(check("x", device=CPU)) == NOT_RUN


def test_a_gpu_that_torch_cannot_use_is_broken():
    line = hardware.check_driver("driver", CPU, [A100])
    assert state_of(line) == BROKEN
    assert "NVIDIA A100" in line.found


def test_a_driver_that_computes_rightly_is_ok_and_wrongly_is_broken(monkeypatch):
    with fake_cuda() as device:
        assert state_of(hardware.check_driver("driver", device, [A100])) == OK
        monkeypatch.setattr(hardware, "product_apart", lambda *_: 0.01)
        line = hardware.check_driver("driver", device, [A100])
    assert state_of(line) == BROKEN
    assert "off by 1.0e-02" in line.found


@pytest.mark.parametrize(("capability", "state"), [((8, 0), OK), ((7, 0), SLOW), ((6, 1), SLOW)])
def test_bf16_is_the_gpus_own_or_slow(capability, state):
    with fake_cuda(capability=capability) as device:
        assert state_of(hardware.check_bf16("bf16", device)) == state


def test_a_gpu_that_rounds_more_than_bf16_does_is_broken(monkeypatch):
    with fake_cuda() as device:
        assert 0 < hardware.product_apart(device, torch.bfloat16) < hardware.APART["bf16"]
        monkeypatch.setattr(hardware, "product_apart", lambda *_: 0.2)
        assert state_of(hardware.check_bf16("bf16", device)) == BROKEN


@pytest.mark.parametrize(("free", "state"), [(79, OK), (50, SLOW)])
def test_memory_that_others_use_is_slow(monkeypatch, free, state):
    with fake_cuda() as device:
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free * GIB, 80 * GIB))
        line = hardware.check_memory("memory", device)
    assert state_of(line) == state
    assert f"{free}.0 of 80.0 GiB" in line.found


def test_a_part_of_a_gpu_is_named():
    with fake_cuda() as device:
        assert state_of(hardware.check_parts("MIG", device, [A100])) == OK
        line = hardware.check_parts("MIG", device, [PART])
    assert state_of(line) == SLOW
    assert "1g.10gb" in line.found


def test_fewer_gpus_than_a_training_run_needs_are_broken():
    with fake_cuda() as device:
        assert state_of(hardware.check_nccl("NCCL", device, 1)) == NOT_RUN
        line = hardware.check_nccl("NCCL", device, 2)
    assert state_of(line) == BROKEN
    assert "training.gpus is 2, and torch sees 1" in line.found


@pytest.mark.slow
def test_two_processes_add_up_or_are_broken():
    """Over gloo, since nccl needs two GPUs; nccl itself fails here, and says so."""
    assert state_of(hardware.check_sums("NCCL", 2, "gloo")) == OK
    assert state_of(hardware.check_sums("NCCL", 2, "nccl")) == BROKEN


# --- the numbers -----------------------------------------------------------------------------------------------


def test_the_encoders_on_the_gpu_are_those_on_the_cpu(build, read):
    with fake_cuda() as device:
        line = agreement.check_features("encoders", build, read, device)
    assert state_of(line) == OK
    assert re.search(r"fp32: features .*bf16: features", line.found)


@pytest.mark.parametrize("factor", [1.01, float("nan")])
def test_encoders_that_compute_otherwise_on_the_gpu_are_broken(build, read, monkeypatch, factor):
    encode = agreement.encode_batch

    def off(model, batch, augment):
        outputs = encode(model, batch, augment)
        return {name: value * factor if value.is_cuda else value for name, value in outputs.items()}

    monkeypatch.setattr(agreement, "encode_batch", off)
    with fake_cuda() as device:
        assert state_of(agreement.check_features("encoders", build, read, device)) == BROKEN


@pytest.mark.slow
def test_a_training_on_the_gpu_has_the_curve_of_the_cpu(folder):
    with fake_cuda() as device:
        line = agreement.check_curve("training", TRIAL, folder, device)
    assert state_of(line) == OK
    assert "bf16" in line.found


@pytest.mark.slow
def test_a_training_that_takes_another_way_on_the_gpu_is_broken(folder, monkeypatch):
    trainer_of = agreement.small_trainer

    def other(trial, folder, device, *rest):
        if device.type == "cuda":
            trial = dataclasses.replace(trial, hyperparameters={**trial.hyperparameters, "learning_rate": 1e-2})
        return trainer_of(trial, folder, device, *rest)

    monkeypatch.setattr(agreement, "small_trainer", other)
    with fake_cuda() as device:
        assert state_of(agreement.check_curve("training", TRIAL, folder, device)) == BROKEN


# --- survival --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_trial_that_is_killed_resumes_on_the_gpu(folder):
    """The process that is killed trains on the CPU here, since it knows no stand-in; the one that resumes has it."""
    with fake_cuda() as device:
        line = survival.check_resume("resume", TRIAL, folder, device, "auto")
    assert state_of(line) == OK
    assert "resumed at epoch 0.25" in line.found


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["begins again", "other numbers", "ends by itself"])
def test_a_trial_that_does_not_resume_is_broken(folder, monkeypatch, fault):
    """As left by a process that was killed: nothing, another trial's state; and one that nobody could kill."""

    class Process:
        exitcode = 1 if fault == "ends by itself" else -9

        def __init__(self, target, args):
            pass

        def start(self):
            if fault == "other numbers":
                other = dataclasses.replace(TRIAL, seed=TRIAL.seed + 1)
                trainer = survival.small_trainer(other, folder, CPU, "fp32", "killed", 0.0)
                trainer.stop_requested = True
                with pytest.raises(SystemExit):
                    trainer.run()

        def join(self):
            pass

    context = type("Context", (), {"Process": Process})
    monkeypatch.setattr(survival.multiprocessing, "get_context", lambda _: context)
    line = survival.check_resume("resume", TRIAL, folder, CPU, "cpu")
    assert state_of(line) == BROKEN
    words = {"begins again": "began again", "other numbers": "losses apart", "ends by itself": "ended with status 1"}
    assert words[fault] in line.found


class Small(torch.nn.Module):
    """A device that holds the activations of so many images and no more, once its memory is limited."""

    most = 10**9

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, images):
        if torch.is_grad_enabled() and len(images) > Small.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.encoder(images)


@pytest.mark.slow
@pytest.mark.parametrize(("most", "state"), [(8, OK), (0, BROKEN), (10**9, BROKEN)])
def test_memory_that_is_short_is_caught_and_micro_batched(folder, build, monkeypatch, most, state):
    """Half a batch fits; nothing fits; and a limit that does not hold."""
    limits = []

    def limit(fraction, device):
        limits.append(fraction)
        Small.most = most if fraction < 1 else 10**9

    def built():
        model = build()
        model.visual = Small(model.visual)
        return model

    with fake_cuda() as device:
        for name, value in {"reset_peak_memory_stats": None, "max_memory_allocated": GIB, "memory_allocated": GIB // 4,
                            "memory_reserved": 0}.items():  # fmt: skip
            monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
        monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", limit)
        line = survival.check_memory_limit("memory", TRIAL, built, folder / "data", folder / "encoder",
                                           folder / "limited", device, "fp32")  # fmt: skip
    assert state_of(line) == state
    assert limits == [pytest.approx(0.25 + 0.6 * 0.75), 1.0]
    assert ("micro-batches of 4" in line.found) == (most != 10**9)


# --- disk and clock --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("needed", "state"), [(None, OK), (1.0, OK), (1e9, SLOW)])
def test_a_store_that_is_read_slower_than_the_gpu_trains_is_slow(study, needed, state):
    line = disks.check_store("store", study / "data/train.lmdb", 32, "train", needed)
    assert state_of(line) == state
    assert "images a second of 64" in line.found


def test_a_store_that_is_damaged_is_broken(tmp_path):
    (tmp_path / "train.lmdb").write_bytes(bytes(9000))
    line = checked("store", partial(disks.check_store, path=tmp_path / "train.lmdb", samples=4, split="train",
                                    needed=None))  # fmt: skip
    assert state_of(line) == BROKEN


def test_locks_are_the_file_systems_own_or_ours_or_none(tmp_path, monkeypatch):
    assert state_of(disks.check_locks("locks", tmp_path)) == OK

    def missing(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(locks.fcntl, "flock", missing)
    assert state_of(disks.check_locks("locks", tmp_path)) == SLOW
    monkeypatch.setattr(locks.fcntl, "flock", lambda *_: None)  # a file system that says yes to everyone
    line = disks.check_locks("locks", tmp_path)
    assert state_of(line) == BROKEN
    assert "two at once" in line.found


@pytest.mark.parametrize(("written", "dated", "state", "words"), [
    (0, 0, OK, "within 2 s of login"),
    (-3600, -3600, OK, "within 2 s of login"),  # it waited an hour in the queue
    (-3600, -3630, BROKEN, "30.0 s behind login"),  # files are dated by a server, and login is ahead of it
    (-3600, -3570, BROKEN, "30.0 s ahead of login"),
    (600, 600, BROKEN, "600.0 s behind login"),  # each machine dates its own files
])  # fmt: skip
def test_a_clock_that_differs_from_the_submit_hosts_is_broken(tmp_path, written, dated, state, words):
    import time

    path = tmp_path / "submitted.json"
    for _ in range(20):
        began = time.time()
        write_json(path, {"host": "login", "time": began + written})
        os.utime(path, (began + dated, began + dated))
        line = disks.check_clock("clock", path, tmp_path)
        if time.time() - began < 0.04:  # a machine that stood still in between is asked again: it tells tenths
            break
    assert state_of(line) == state
    assert words in line.found


def test_without_a_submit_host_no_clock_is_compared(tmp_path):
    assert state_of(disks.check_clock("clock", None, tmp_path)) == NOT_RUN


# --- speed -----------------------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch):
    """Small batches for a moment."""
    monkeypatch.setattr(speed, "BATCHES", (8, 16))
    monkeypatch.setattr(speed, "SECONDS", 0.0)
    monkeypatch.setattr(speed, "MATMUL_SIDE", {"cuda": 64, "cpu": 64})


def test_speed_is_samples_and_a_share_of_the_measured_peak(quick, build, read):
    with fake_cuda() as device:
        found = speed.measure(TRIAL, build(), read(), device, "bf16")
        lines = [speed.check_speed("speed", found, batch, device) for batch in (8, 16)]
    assert [state_of(line) for line in lines] == [OK, OK]
    # forward and backward of 2 images of 17 tokens and 3 texts: above 12 * width^2 multiplications a token and layer
    assert found.sample_flops > 2 * 2 * 17 * 12 * 64**2
    for batch, rate in found.samples_per_second.items():
        assert found.share[batch] == pytest.approx(rate * found.sample_flops / found.peak)


def test_a_step_that_would_take_minutes_is_not_run(quick, build, read, monkeypatch):
    monkeypatch.setattr(speed, "MOST_STEP_SECONDS", 0.0)
    found = speed.measure(TRIAL, build(), read(), CPU, "fp32")
    assert list(found.samples_per_second) == [speed.FIRST_BATCH]
    line = speed.check_speed("speed", found, 16, CPU)
    assert state_of(line) == NOT_RUN
    assert "a step would take" in line.found


def test_a_batch_that_memory_does_not_hold_is_slow(quick, build, read, monkeypatch):
    backward = speed.backward

    def short(encode, batches, *rest):
        if len(batches[0]["present"]) == 16:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return backward(encode, batches, *rest)

    monkeypatch.setattr(speed, "backward", short)
    found = speed.measure(TRIAL, build(), read(), CPU, "fp32")
    assert state_of(speed.check_speed("speed", found, 8, CPU)) == OK
    assert state_of(speed.check_speed("speed", found, 16, CPU)) == SLOW


@pytest.mark.parametrize(("share", "flops", "state"), [(0.4, 1e11, OK), (0.04, 1e11, SLOW), (0.04, 1e6, OK)])
def test_a_gpu_that_waits_is_slow_unless_the_encoders_cannot_fill_it(share, flops, state):
    found = speed.Speed(1e14, {64: 100.0}, {64: share}, {}, flops)
    assert state_of(speed.check_speed("speed", found, 64, torch.device("cuda", 0))) == state


# --- the whole page --------------------------------------------------------------------------------------------


def test_one_broken_check_stops_no_other_and_the_verdict_says_so():
    def fails(name):
        raise RuntimeError("CUDA error: an illegal memory access\nwas encountered")

    lines = [checked("first", fails), checked("second", lambda name: Line(name, OK, "fine"))]
    assert [line.state for line in lines] == [BROKEN, OK]
    assert "RuntimeError: CUDA error: an illegal memory access was encountered" in lines[0].found
    assert (
        page(lines, "t").splitlines()[-1] == "1 ok, 1 broken. Do not start a run here before what is broken is mended."
    )


@pytest.mark.slow
def test_all_lines_run_on_the_stand_in(study, tmp_path, monkeypatch, quick):
    monkeypatch.setattr(check_gpu, "SAMPLES", {"train": 32, "val": 8})
    monkeypatch.setattr(check_gpu, "LIMITED_BATCH", 8)
    monkeypatch.setattr(check_gpu, "visible", lambda: [A100])
    monkeypatch.setattr(survival, "LEAST_ACTIVATION_BYTES", GIB)
    trial = short_trial(TRIAL, {"train": 32, "val": 8}, 8, 1)
    with fake_cuda():
        for name in ("reset_peak_memory_stats", "memory_allocated", "memory_reserved"):
            monkeypatch.setattr(torch.cuda, name, lambda *_: 0)
        lines, document = check_gpu.check_gpu(
            check_gpu.Question(trial, study / "encoder", None, "auto", 1, tmp_path, None, "code")
        )
    states = {line.name: line.state for line in lines}
    assert BROKEN not in states.values(), lines
    assert {name for name, state in states.items() if state == NOT_RUN} == {
        "several GPUs (NCCL)",
        "short memory",
        "clock",
    }
    assert document["speed"]["device"] == "cuda"
    assert "stand-in in bf16" in check_gpu.page_of(lines, document)
    assert list(tmp_path.iterdir()) == []  # nothing is left behind


@pytest.mark.slow
def test_make_check_gpu_on_a_machine_without_one(tmp_path):
    """As a person runs it: under three minutes, no data, and again whenever it is asked for."""
    demo = ["--configfile", REPOSITORY / "config/demo.yaml"]
    done = snakemake(tmp_path, *demo, "--", "check_gpu")
    shown = done.stdout + done.stderr
    assert "NO GPU HERE" in shown
    document = read_json(tmp_path / "results/demo/check_gpu.json")
    states = {line["name"]: line["state"] for line in document["lines"]}
    assert BROKEN not in states.values(), document["lines"]
    assert {name for name, state in states.items() if state != NOT_RUN} == {
        "kill and resume", "store (LMDB)", "locks (flock)", "clock", "speed, batch 64", "speed, batch 256"
    }  # fmt: skip
    again = snakemake(tmp_path, *demo, "--dry-run", "--", "check_gpu").stdout
    assert re.search(r"^check_gpu +1$", again, re.MULTILINE)
    assert re.search(r"^note_time +1$", again, re.MULTILINE)


def test_the_plan_takes_the_speed_of_its_own_encoders_alone(tmp_path):
    """find_lr's, measured on the data, comes first, unless only check_gpu had a GPU."""
    config = drop_nulls(merged())
    mine = specification(config, "check_gpu", "check_gpu", {})
    speeds = {"device": "cuda", "samples_per_second": {"64": 300.0, "256": 500.0}}
    write_json(tmp_path / "check_gpu.json", {"specification": mine, "speed": speeds})
    assert known_speed(config, tmp_path) == (300.0, "cuda", "check_gpu")  # 128 is as near to both
    demo = drop_nulls(merged("demo"))
    write_json(tmp_path / "check_gpu.json", {"specification": specification(demo, "check_gpu", "check_gpu", {}),
                                             "speed": speeds})  # fmt: skip
    ids = json.dumps({"phase1": ["p1-0"], "phase2": [], "confirm": [], "encoders": [], "final": []})
    printed = entry("plan_run", "--config", json.dumps(demo), "--training-runs", ids, "--results-dir", tmp_path,
                    "--code", "0").stdout  # fmt: skip
    assert "at the 300 samples a second that check_gpu measured (cuda)" in printed
    write_json(tmp_path / "check_gpu.json", {"specification": mine, "speed": speeds})
    config["defaults"]["batch_size"] = 200
    assert known_speed(config, tmp_path) == (500.0, "cuda", "check_gpu")
    for device, by in (("cpu", "check_gpu"), ("cuda", "find_lr")):
        suggestion = {"samples_per_second": 90.0, "device": device}
        (tmp_path / "find_lr").mkdir(exist_ok=True)
        write_json(tmp_path / "find_lr/suggestion.json", suggestion)
        assert known_speed(config, tmp_path).measured_by == by
    (tmp_path / "find_lr/suggestion.json").unlink()
    for changed in (
        {"data": {**config["data"], "image_size": 384}},
        {"model": {**config["model"], "context_length": 32}},
    ):
        assert known_speed({**config, **changed}, tmp_path) is None
    write_json(tmp_path / "check_gpu.json", {"specification": mine, "speed": None})
    assert known_speed(config, tmp_path) is None


def test_a_broken_line_ends_the_job_with_an_error_and_keeps_the_page(study, tmp_path, monkeypatch, quick, capsys):
    """training.device is cuda, and there is no GPU."""
    monkeypatch.setattr(check_gpu, "SAMPLES", {"train": 32, "val": 8})
    monkeypatch.setattr(survival, "check_resume", lambda name, **_: Line(name, OK, "tested above"))
    asked = {"id": "check_gpu", "phase": "check_gpu", **documents.SPECIFICATION, "image_size": 32, "seed": 1,
                     "kind": "trial", "bracket": None, "rung": None, "slot": None, "candidate": None, "ablated": None,
                     "text_encoder": "tiny", "selection_metric": "zero_shot_accuracy",
                     "image_encoder": TRIAL.image_encoder, "values": TRIAL.hyperparameters}  # fmt: skip
    flags = ["--specification", json.dumps(asked), "--encoder-dir", str(study / "encoder"), "--device", "cuda",
             "--code", "c", "--output", str(tmp_path / "check_gpu.json")]  # fmt: skip
    with pytest.raises(ValueError, match="this machine is not fit for a run: the page above says why"):
        main(flags)
    first = read_json(tmp_path / "check_gpu.json")["lines"][0]
    assert first["state"] == BROKEN
    assert "training.device is cuda, but torch" in first["found"]
    assert "1 broken, 8 not run. Do not start a run here" in capsys.readouterr().out


def test_seeded_data_is_the_same_each_time(tmp_path):
    sha = [write_data(tmp_path / name, 16, {"train": 4})["splits"]["train"]["sha256"] for name in "ab"]
    assert sha[0] == sha[1]
