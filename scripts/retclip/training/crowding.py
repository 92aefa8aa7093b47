"""Whether a GPU's memory was short because other processes use it: then out of memory is no result of the trial."""

import torch

from retclip.core.logs import nice_to_know

# What this process itself takes beside torch's allocator: CUDA's context and kernels, NCCL's buffers; and a desktop.
OVERHEAD_BYTES = 2 * 2**30
OVERHEAD_SHARE = 0.1
GIB = 2**30


def refuse_crowded(device: torch.device) -> None:
    """Raises ValueError where other processes use so much of a GPU that out of memory is no result of the trial."""
    if device.type != "cuda":
        return
    free, total = nice_to_know("the GPU's free memory", lambda: torch.cuda.mem_get_info(device), (0, 0))
    others = total - free - torch.cuda.memory_reserved(device)
    if others > max(OVERHEAD_BYTES, OVERHEAD_SHARE * total):
        raise ValueError(
            f"out of memory, but other processes hold {others / GIB:.1f} of the {total / GIB:.1f} GiB of {device}: no "
            "result of this trial. Free that GPU, or hide it by CUDA_VISIBLE_DEVICES, then run again."
        )
