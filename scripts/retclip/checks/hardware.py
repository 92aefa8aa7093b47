"""What this machine's GPU is, and whether torch can compute on it: driver, build, bf16, memory, parts, NCCL."""

import os
import socket
from datetime import timedelta
from typing import Any

import torch
from torch import multiprocessing

from retclip.checks.line import BROKEN, NOT_RUN, OK, SLOW, Line
from retclip.core.gpus import Gpu, described
from retclip.core.logs import nice_to_know
from retclip.loading.device import BF16_SINCE, choose_precision, driver, unused_accelerator

GIB = 2**30
# Memory that CUDA itself and a desktop take; above it another job is on this GPU.
OTHERS_BYTES, OTHERS_SHARE = 2 * GIB, 0.1
# Side of the product that is compared with the CPU's, and how far its values may lie apart, as a share of the largest.
SIDE, APART = 256, {"fp32": 1e-4, "bf16": 2e-2}
WAIT_SECONDS = 60


def check_driver(name: str, device: torch.device, gpus: list[Gpu]) -> Line:
    """Whether torch computes rightly on the GPU at all. gpus: those that the driver lists for this process."""
    build = f"torch {torch.__version__}, built for CUDA {torch.version.cuda}; driver: {driver()}"
    if device.type != "cuda":
        if gpus:
            return Line(name, BROKEN, f"GPUs: {described(gpus)}, but torch can use none; {build}",
                        "install a torch that is built for this driver, or a driver for this torch")  # fmt: skip
        why = unused_accelerator() or "there is no GPU here"
        return Line(name, NOT_RUN, f"{why}: trials train on the CPU; {build}")
    apart = product_apart(device, torch.float32)
    found = f"{torch.cuda.get_device_name(device)}, {build}"
    if apart > APART["fp32"]:
        return Line(name, BROKEN, f"{found}; a product of matrices is off by {apart:.1e}",
                    "keep off this node, and tell its administrators")  # fmt: skip
    return Line(name, OK, found)


def check_bf16(name: str, device: torch.device) -> Line:
    """Whether the GPU computes in bf16 itself, and rightly."""
    if device.type != "cuda":
        return no_gpu(name)
    precision = choose_precision("auto", device)
    capability = "{}.{}".format(*torch.cuda.get_device_capability(device))
    if precision != "bf16":
        return Line(name, SLOW, f"compute capability {capability}, below {'{}.{}'.format(*BF16_SINCE)}",
                    f"training.precision auto computes in {precision}; newer GPUs are faster")  # fmt: skip
    apart = product_apart(device, torch.bfloat16)
    if apart > APART["bf16"]:
        return Line(name, BROKEN, f"a product in bf16 is off by {apart:.1e}", "set training.precision to fp32")
    return Line(name, OK, f"compute capability {capability}; a product is off by {apart:.1e} of its largest value")


def product_apart(device: torch.device, dtype: torch.dtype) -> float:
    """The largest difference of a product of matrices from the CPU's in double precision, as a share of its largest
    value."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(SIDE, SIDE, generator=generator) for _ in range(2))
    wanted = left.double() @ right.double()
    found = (left.to(device, dtype) @ right.to(device, dtype)).cpu().double()
    return float((found - wanted).abs().max() / wanted.abs().max())


def check_memory(name: str, device: torch.device) -> Line:
    """How much memory the GPU has, and whether others use it."""
    if device.type != "cuda":
        return no_gpu(name)
    free, total = torch.cuda.mem_get_info(device)
    own = nice_to_know("torch's own memory", lambda: torch.cuda.memory_reserved(device), 0)
    found = f"{free / GIB:.1f} of {total / GIB:.1f} GiB are free"
    if total - free - own > max(OTHERS_BYTES, OTHERS_SHARE * total):
        return Line(name, SLOW, f"{found}: other processes hold the rest",
                    "nvidia-smi names them; wait for them, or hide this GPU by CUDA_VISIBLE_DEVICES")  # fmt: skip
    return Line(name, OK, found)


def check_parts(name: str, device: torch.device, gpus: list[Gpu]) -> Line:
    """Whether this process has a whole GPU, or a part that MIG makes."""
    if device.type != "cuda":
        return no_gpu(name)
    parts = [gpu.model for gpu in gpus if gpu.uuid != gpu.gpu]
    if parts:
        return Line(name, SLOW, f"a part of a GPU: {parts[0]}",
                    "ask the site for a whole GPU where trials are slow or out of memory")  # fmt: skip
    return Line(name, OK, "a whole GPU")


def check_nccl(name: str, device: torch.device, wanted: int) -> Line:
    """Whether GPUs can add up what they hold. wanted: training.gpus."""
    if device.type != "cuda":
        return no_gpu(name)
    count = torch.cuda.device_count()
    if count < 2 and wanted < 2:
        return Line(name, NOT_RUN, "this job has one GPU, and training.gpus is 1")
    if count < wanted:
        return Line(name, BROKEN, f"training.gpus is {wanted}, and torch sees {count}",
                    "ask the site for more GPUs a job, or lower training.gpus")  # fmt: skip
    return check_sums(name, count, "nccl")


def check_sums(name: str, processes: int, backend: str) -> Line:
    """Whether `processes` processes, one for each GPU where the backend is nccl, get the sum of all."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    try:
        multiprocessing.spawn(_add_up, (processes, backend, port), nprocs=processes)
    except Exception as error:  # of whichever process failed first, with its traceback
        said = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        return Line(name, BROKEN, f"{processes} processes cannot add up over {backend}: {said[:160]}",
                    "try NCCL_P2P_DISABLE=1 and NCCL_DEBUG=INFO, or set training.gpus to 1")  # fmt: skip
    return Line(name, OK, f"{processes} processes added up over {backend}")


def _add_up(rank: int, processes: int, backend: str, port: int) -> None:
    from torch import distributed

    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    distributed.init_process_group(backend, rank=rank, world_size=processes, timeout=timedelta(seconds=WAIT_SECONDS))
    device = torch.device("cuda", rank) if backend == "nccl" else torch.device("cpu")
    values: Any = torch.full((1 << 20,), float(rank + 1), device=device)
    distributed.all_reduce(values)
    wanted = processes * (processes + 1) / 2
    if not bool((values == wanted).all()):
        raise ValueError(f"process {rank} got {values[0].item():g} for {wanted:g}")
    distributed.destroy_process_group()


def no_gpu(name: str) -> Line:
    """Of a check that a GPU alone can pass."""
    return Line(name, NOT_RUN, "there is no GPU here")
