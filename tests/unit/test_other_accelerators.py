"""`training.device: auto` where torch could use a GPU that is none of CUDA's: the CPU is taken, and it is said why.

There is no such GPU here: what torch answers on such a machine is put in its place.
"""

import pytest
import torch

from retclip.checks.hardware import check_driver
from retclip.loading.device import choose_device

CPU = torch.device("cpu")


@pytest.mark.parametrize(("kind", "name"), [("mps", "the GPU of this Mac (MPS)"), ("xpu", "Intel's GPU (XPU)"),
                                            ("hpu", "hpu")])  # fmt: skip
def test_a_gpu_that_is_none_of_cudas_is_named_with_the_reason(monkeypatch, capsys, kind, name):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device(kind))
    reason = f"{name} is not used, since its numbers were never compared with a CPU's"
    assert choose_device("auto") == CPU
    assert f"{reason}: --device auto, running on the CPU" in capsys.readouterr().err
    assert f"{reason}: trials train on the CPU" in check_driver("driver", CPU, []).found


def test_without_any_that_is_said(capsys):
    assert choose_device("auto") == CPU
    assert "no usable GPU (listed: none here" in capsys.readouterr().err
