"""All checks of a machine, in the order of its page: what it is, that it is right, what it survives, how fast it is."""

import platform
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from retclip.checks import agreement, disks, hardware, speed, survival
from retclip.checks.line import BROKEN, Line, checked, page, verdict
from retclip.checks.seeded_data import write_data
from retclip.checks.small_trial import short_trial, small_trial, split_of, write_small_study
from retclip.core import slurm
from retclip.core.gpus import Gpu, visible
from retclip.core.logs import nice_to_know
from retclip.core.trial import Trial
from retclip.loading.device import choose_device, choose_precision
from retclip.models.factory import build_model
from retclip.models.provenance import ran_on

if TYPE_CHECKING:
    from retclip.models.retclip import RetClip

# of the config's image size, for the store, for one batch against the CPU, and for the steps that are timed
SAMPLES = {"train": 256, "val": 8}
LIMITED_BATCH = 64


@dataclass(frozen=True)
class Question:
    """What is checked. trial: of the config, on SAMPLES. device, gpus: training.device and training.gpus. folder: on
    the file system of results/. submitted: see disks.check_clock."""

    trial: Trial
    encoder_dir: Path
    image_weights: Path | None
    device: str
    gpus: int
    folder: Path
    submitted: Path | None
    code: str


def check_gpu(question: Question) -> tuple[list[Line], dict[str, Any]]:
    """The lines of the page, and what check_gpu.json holds."""
    device, refusal = _device(question.device)
    precision = choose_precision(question.trial.hyperparameters["precision"], device)
    measured: list[speed.Speed] = []
    # what a check that is killed leaves there, make clean removes
    place = question.folder / "check_gpu"
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place) as scratch:
        lines = list(_lines(question, Path(scratch), device, precision, refusal, measured))
    with suppress(OSError):  # another check is at work there
        place.rmdir()
    document = {
        "verdict": verdict(lines),
        "lines": [line.to_dict() for line in lines],
        "speed": _speed_document(measured, device),
        "host": platform.node(),
        "job": slurm.job(),
        **ran_on(device, precision, question.code),
    }
    return lines, document


def page_of(lines: list[Line], document: dict[str, Any]) -> str:
    """The page: a title with the machine, a row a check, and the verdict."""
    job = document["job"]
    slurm_job = f", Slurm job {job['job_id']} in {job['partition']}" if job else ""
    where = f"{document['host']}{slurm_job}"
    if not document["gpus"]:
        return page(lines, f"check of {where}: NO GPU HERE")
    return page(lines, f"check of {where}: {document['device']} in {document['precision']}")


def _device(wanted: str) -> tuple[torch.device, str | None]:
    """The device, or the CPU and why the one that was asked for cannot be had."""
    try:
        return choose_device(wanted), None
    except ValueError as error:
        return torch.device("cpu"), str(error)


def _lines(
    question: Question,
    scratch: Path,
    device: torch.device,
    precision: str,
    refusal: str | None,
    measured: list[speed.Speed],
) -> Iterator[Line]:
    gpus: list[Gpu] = nice_to_know("the list of GPUs", visible, [])
    if refusal is None:
        yield checked("driver and torch", partial(hardware.check_driver, device=device, gpus=gpus))
    else:
        yield Line("driver and torch", BROKEN, refusal, "mend the node, or keep off it")
    yield checked("bf16", partial(hardware.check_bf16, device=device))
    yield checked("memory", partial(hardware.check_memory, device=device))
    yield checked("whole GPU (MIG)", partial(hardware.check_parts, device=device, gpus=gpus))
    yield checked("several GPUs (NCCL)", partial(hardware.check_nccl, device=device, wanted=question.gpus))

    data, small = scratch / "data", scratch / "small"
    write_data(data, question.trial.image_size, SAMPLES)
    write_small_study(small)
    tiny = small_trial(question.trial)
    build: Callable[[], RetClip] = partial(build_model, question.trial, question.encoder_dir, question.image_weights)
    train = partial(split_of, data, "train", question.encoder_dir, question.trial)
    yield checked("as on the CPU: encoders", partial(agreement.check_features, build=build, read=train, device=device))
    yield checked("as on the CPU: training", partial(agreement.check_curve, trial=tiny, folder=small, device=device))
    wanted = question.device if device.type == "cuda" else "cpu"
    yield checked("kill and resume", partial(survival.check_resume, trial=tiny, folder=small, device=device,
                                             wanted=wanted))  # fmt: skip

    time = partial(_timed, question, build, train, device, precision, measured)
    timed = [checked(f"speed, batch {batch}", partial(time, batch)) for batch in speed.BATCHES]
    yield checked("short memory", partial(
        survival.check_memory_limit, trial=short_trial(question.trial, SAMPLES, LIMITED_BATCH, 1), build=build,
        data=data, encoder_dir=question.encoder_dir, state=scratch / "limited", device=device, precision=precision,
    ))  # fmt: skip
    fastest = max(measured[0].samples_per_second.values()) if measured else None
    yield checked("store (LMDB)", partial(disks.check_store, path=data / "train.lmdb", samples=SAMPLES["train"],
                                   split="train", needed=fastest))  # fmt: skip
    yield checked("locks (flock)", partial(disks.check_locks, folder=scratch))
    yield checked("clock", partial(disks.check_clock, submitted=question.submitted, folder=scratch))
    yield from timed


def _timed(
    question: Question,
    build: Callable[[], "RetClip"],
    train: Callable[[], Any],
    device: torch.device,
    precision: str,
    measured: list[speed.Speed],
    batch: int,
    name: str,
) -> Line:
    """Both batch sizes are measured at once, with one model."""
    if not measured:
        measured.append(speed.measure(question.trial, build(), train(), device, precision))
    return speed.check_speed(name, measured[0], batch, device)


def _speed_document(measured: list[speed.Speed], device: torch.device) -> dict[str, Any] | None:
    if not measured:
        return None
    found = measured[0]
    sizes = found.samples_per_second
    return {
        "device": device.type,
        "matmul_peak": found.peak,
        "samples_per_second": {str(batch): sizes[batch] for batch in sizes},
        "share_of_peak": {str(batch): found.share[batch] for batch in sizes},
    }
