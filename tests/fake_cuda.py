"""A stand-in for one GPU on machines without: tensors on "cuda:0" that compute on the CPU, and mix with nothing else.

torch's FakeTensorMode has the same rules and no values; here values are there, too, so that whole training runs,
evaluations and exports run, and must give what the CPU gives. What it cannot show: CUDA kernels, streams, memory and
speed. Streams are where a real GPU differs most: copies are complete here as soon as they are asked for. So where the
machine has a GPU of its own, a_gpu() is that one.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from transformers import BertModel

HAS_GPU = torch.cuda.is_available()
GPU = torch.device("cuda", 0)
PRETRAINED, TO = BertModel.from_pretrained, torch.Tensor.to
WAITS: list[str] = []  # what asked the GPU for values, which a real one gives when all before it is computed
aten = torch.ops.aten
READING = (aten._local_scalar_dense.default, aten.is_nonzero.default, aten.nonzero.default, aten.equal.default)
# With their sources anywhere: a copy, and rows that are named by indices on the host.
CROSSING = (aten.copy_.default, aten._to_copy.default)
INDEXED = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._unsafe_index.Tensor)


class OnGpu(torch.Tensor):
    """A tensor that says it is on cuda:0; `held` has its values on the CPU."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, real: torch.Tensor) -> "OnGpu":
        shape = torch.empty_strided(real.shape, real.stride(), dtype=real.dtype, device="meta")
        # C++ knows it as a meta tensor: autograd asks no driver for its stream; autocast takes it for a GPU's
        made = torch.Tensor._make_subclass(cls, shape, device_for_backend_keys=GPU)
        made.held = real
        return made

    device = property(lambda self: GPU)
    is_cuda = property(lambda self: True)
    is_meta = property(lambda self: False)
    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    def __repr__(self) -> str:  # type: ignore[override]
        return f"OnGpu({self.held})"

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Saved as what torch.load(map_location="cpu") would find."""
        return self.detach().cpu().__reduce_ex__(protocol)


class _Gpu(TorchDispatchMode):
    """Makes on the stand-in what is asked for on a GPU."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    given: list[torch.Tensor] = []
    _each((*args, *kwargs.values()), lambda value: given.append(value) if isinstance(value, torch.Tensor) else None)
    wanted = kwargs.get("device")
    if wanted is not None:
        _known(torch.device(wanted))
        on_gpu = torch.device(wanted).type != "cpu"
        kwargs = {**kwargs, "device": torch.device("cpu")}
    else:
        on_gpu = any(isinstance(value, OnGpu) for value in (given[:1] if func in CROSSING else given))
    if func not in CROSSING:
        _same_place(func, args, given)
    if any(isinstance(value, OnGpu) for value in given) and (func in READING or not (on_gpu or func in CROSSING[:1])):
        WAITS.append(str(func))
    wrappers = {id(value.held): value for value in given if isinstance(value, OnGpu)}

    def real(value: Any) -> Any:
        return value.held if isinstance(value, OnGpu) else value

    def placed(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or not on_gpu:
            return value
        return wrappers[id(value)] if id(value) in wrappers else OnGpu(value)

    # a tensor of inference mode could not stand for a view of a parameter
    with torch.inference_mode(False), torch.no_grad():
        given_kwargs = {name: _each(value, real) for name, value in kwargs.items()}
        return _each(func(*_each(args, real), **given_kwargs), placed)


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    """What an operator takes or gives, all of it changed. It nests in lists and tuples alone, which torch's pytrees,
    that take anything, go through three times slower than the operator computes."""
    if isinstance(value, list | tuple):
        changed = [_each(part, change) for part in value]
        return changed if isinstance(value, list) else tuple(changed)
    return change(value)


def _known(device: torch.device) -> None:
    if device.type == "cuda" and device.index not in (None, 0):
        raise RuntimeError(f"CUDA error: invalid device ordinal {device.index}")


def _same_place(func: Any, args: Any, given: list[torch.Tensor]) -> None:
    """As CUDA kernels want it: numbers may come from the host, and rows of a GPU's tensor may be named there."""
    if func in INDEXED and isinstance(args[0], OnGpu):
        given = [args[0], *(args[2:3] if len(args) > 2 else [])]
    places = {isinstance(value, OnGpu) for value in given if value.ndim or isinstance(value, OnGpu)}
    if len(places) > 1:
        raise RuntimeError(
            f"{func}: Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"
        )


class _Threads(ThreadPoolExecutor):
    """A thread knows no dispatch mode of the one that started it."""

    def submit(self, work: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        def inside() -> Any:
            with _Gpu():
                return work(*args, **kwargs)

        return super().submit(inside)


def _read_on_cpu(*args: Any, **kwargs: Any) -> Any:
    """transformers builds a model on the meta device before it reads the weights, and C++ takes that for our GPU."""
    with _disable_current_modes():
        return PRETRAINED(*args, **kwargs)


def _to(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """Without an index, a GPU is the current one, which C++ would ask the driver for."""
    return TO(tensor, *(GPU if value == torch.device("cuda") else value for value in args), **kwargs)


def _pin_memory(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.device.type != "cpu":
        raise RuntimeError(f"cannot pin '{tensor.type()}' only dense CPU tensors can be pinned")
    return tensor.clone()


@contextlib.contextmanager
def fake_cuda(free_bytes: int = 1 << 30, capability: tuple[int, int] = (8, 0)) -> Iterator[torch.device]:
    """Inside, torch has one GPU, with so much free memory, of this compute capability."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("retclip.loading.dataset.ThreadPoolExecutor", _Threads)
        patch.setattr(torch.Tensor, "pin_memory", _pin_memory)
        patch.setattr(torch.Tensor, "to", _to)
        patch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
        patch.setattr(BertModel, "from_pretrained", _read_on_cpu)
        patch.setattr(torch.cuda, "_lazy_init", lambda: None)
        # a parameter stays the same object when its module moves, as on a GPU
        patch.setattr("torch.__future__._swap_module_params_on_conversion", True)
        # asks the driver whether a CUDA graph is being recorded
        patch.setattr(torch.optim.Optimizer, "_accelerator_graph_capture_health_check", lambda self: None)
        for name, value in {
            "is_available": True, "device_count": 1, "current_device": 0, "get_device_name": "stand-in",
            "set_device": None, "mem_get_info": (free_bytes, 1 << 30), "max_memory_allocated": 1,
            "utilization": 50, "get_device_capability": capability, "synchronize": None, "empty_cache": None,
        }.items():  # fmt: skip
            patch.setattr(torch.cuda, name, lambda *_, value=value: value)
        patch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or
                      capability >= (8, 0))  # fmt: skip
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device=...) goes over the CPU
        try:
            with _Gpu():
                yield GPU
        finally:
            torch._C._set_only_lift_cpu_tensors(False)


@contextlib.contextmanager
def a_gpu(free_bytes: int | None = None) -> Iterator[torch.device]:
    """This machine's first GPU where it has one, else the stand-in. free_bytes: what either says is free."""
    if not HAS_GPU:
        with fake_cuda(1 << 30 if free_bytes is None else free_bytes) as device:
            yield device
        return
    with pytest.MonkeyPatch.context() as patch:
        if free_bytes is not None:
            total = torch.cuda.mem_get_info()[1]
            patch.setattr(torch.cuda, "mem_get_info", lambda *_: (free_bytes, total))
        yield GPU


@contextlib.contextmanager
def waits_of(device: torch.device) -> Iterator[list[str]]:
    """What has waited for the GPU inside: a list that is whole in the end."""
    found: list[str] = []
    WAITS.clear()
    if HAS_GPU:
        torch.cuda.synchronize(device)
        torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            yield found
    finally:
        if HAS_GPU:
            torch.cuda.set_sync_debug_mode("default")
        found += WAITS
        found += [str(one.message) for one in said if "synchronizing CUDA operation" in str(one.message)]
