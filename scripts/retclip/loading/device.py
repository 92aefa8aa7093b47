"""The device that a process works on: which GPU, in which precision, how tensors get there, when its memory is full."""

import ctypes
import os
import platform
import resource
import sys
from pathlib import Path

import torch

from retclip.core import slurm
from retclip.core.gpu_lease import is_leased
from retclip.core.gpus import described, visible
from retclip.core.logs import log

HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}
NAMES = {"mps": "the GPU of this Mac (MPS)", "xpu": "Intel's GPU (XPU)"}
# Compute capabilities (major, minor): of the first GPUs that compute in bf16, and in fp16 on tensor cores.
BF16_SINCE, FP16_SINCE = (8, 0), (7, 0)
# Of fp16's gradients. torch's own, 65536, costs a contrastive training its first steps, of which a trial may have few.
FIRST_SCALE = 1024.0
# mallopt(3): M_MMAP_MAX, no allocation is mapped by itself; M_TRIM_THRESHOLD, the heap's end is never given back;
# M_TOP_PAD, the heap grows by 256 MiB, of which a process pays for what it touches.
MALLOC_OPTIONS = ((-4, 0), (-1, -1), (-2, 2**28))
# Not every library of CUDA raises torch's own error: some cannot allocate what they work in.
NO_MEMORY = ("DefaultCPUAllocator", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED",
             "CUDNN_STATUS_ALLOC_FAILED")  # fmt: skip


def choose_device(wanted: str) -> torch.device:
    """`wanted` is auto, cpu or cuda; auto falls back on the CPU, unless Slurm gave this job a GPU. A GPU carries its
    index ("cuda" and "cuda:0" are not equal), and is this process's current one from here on.

    Raises ValueError where a GPU must be there and torch sees none, or none for this process of several.
    """
    if wanted == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        if not is_leased() and not visible():
            log("nvidia-smi lists no GPU, but torch sees one: it is not leased, and other jobs may take it, too")
        return _own_gpu()
    given = slurm.gpus_given()
    if wanted == "auto" and given is None:
        why = unused_accelerator() or f"no usable GPU (listed: {described(visible())}; torch sees none)"
        log(f"{why}: --device auto, running on the CPU")
        return torch.device("cpu")
    node = platform.node()
    why = "training.device is cuda" if given is None else f"Slurm gave this job GPU {given} of node {node}"
    raise ValueError(
        f"{why}, but torch {torch.__version__} (built for CUDA {torch.version.cuda}) sees no GPU there; driver: "
        f"{driver()}. Run nvidia-smi on {node}; keep off a broken node with slurm_extra: --exclude={node}; or set "
        "training.device to cpu."
    )


def unused_accelerator() -> str | None:
    """What torch could compute on here and this project does not, and why; None where there is no such device."""
    if not torch.accelerator.is_available():
        return None
    found = torch.accelerator.current_accelerator()
    name = NAMES.get(found.type, found.type) if found else ""
    return None if name == "" else f"{name} is not used, since its numbers were never compared with a CPU's"


def _own_gpu() -> torch.device:
    """torchrun numbers the processes of this node, and each takes the GPU of its number."""
    index, count = int(os.environ.get("LOCAL_RANK", torch.cuda.current_device())), torch.cuda.device_count()
    if index >= count:
        raise ValueError(
            f"process {index + 1} of this node has no GPU: torch sees {count}. Set training.gpus to {count}, or give "
            "the job more GPUs."
        )
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


def driver() -> str:
    """The NVIDIA driver that this machine's kernel has loaded, in its own words."""
    version = Path("/proc/driver/nvidia/version")
    return version.read_text().splitlines()[0] if version.is_file() else "none is loaded"


def choose_precision(wanted: str, device: torch.device) -> str:
    """fp32, bf16 or fp16. auto means fp32 on a CPU; on a GPU bf16 where it computes in bf16, fp16 where it has tensor
    cores for that alone (V100, T4), else fp32. Logs where a GPU has no bf16 of its own."""
    if device.type != "cuda":
        return "fp32" if wanted == "auto" else wanted
    capability = torch.cuda.get_device_capability(device)
    native = torch.version.hip is not None or capability >= BF16_SINCE
    best = "bf16" if native else "fp16" if capability >= FP16_SINCE else "fp32"
    if not native and wanted in ("auto", "bf16"):
        name = torch.cuda.get_device_name(device)
        taken = f"computing in {best}" if wanted == "auto" else f"slowly; with training.precision auto it is {best}"
        log(f"{name} only emulates bf16: {taken}")
    return best if wanted == "auto" else wanted


def keep_freed_memory() -> None:
    """Has glibc keep freed memory for the next allocation, instead of giving each large tensor back to the kernel.

    On a CPU the page faults of activations otherwise cost more than the network: 43 of 59 ms an image of
    EfficientNet-lite0 at 224 px, batch 64. Does nothing with another C library, such as macOS's or musl's.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for option, value in MALLOC_OPTIONS:
            mallopt(option, value)


def prepare_device(device: torch.device, precision: str) -> None:
    """Allows TF32 on a GPU for the fp32 part of training in half precision; in fp32, forbids it. On a CPU, keeps
    freed memory.

    cudnn.benchmark stays off: it has convolutions race, so that a training run that resumes could continue with other
    ones, and other last bits.
    """
    if device.type == "cpu":
        keep_freed_memory()
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = precision in HALVES
        torch.backends.cudnn.allow_tf32 = precision in HALVES


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context in which encoders compute in `precision`."""
    return torch.autocast(device.type, dtype=HALVES.get(precision), enabled=precision in HALVES)


def grad_scaler(device: torch.device, precision: str) -> torch.amp.GradScaler:
    """Keeps small gradients of fp16 from vanishing, and leaves out steps whose gradients overflow; in other precisions
    it does nothing, since they have the exponents of fp32."""
    return torch.amp.GradScaler(device.type, init_scale=FIRST_SCALE, enabled=precision == "fp16")


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """On `device`; a GPU takes what is on the CPU from pinned memory, while it still computes what came before. The
    pinned copy is kept by torch until the GPU has it."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a GPU's or the CPU's allocator had nothing left: torch has a class for the first alone."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in NO_MEMORY)


def peak_memory_bytes(device: torch.device) -> int:
    """Peak memory in bytes: of the GPU, or of this process where there is none."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
