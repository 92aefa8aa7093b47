"""An encoder with batch normalization on several GPUs: it computes what it computed before."""

import pytest
import torch

from retclip.models.encode import has_batch_norm
from retclip.models.image_encoder import build_image_encoder
from retclip.training import distributed

GPU = torch.device("cuda", 1)
ENCODERS = ("test_efficientnet", "efficientnet_b0", "regnety_002", "resnetv2_50", "densenet121", "resnet10t",
          "mobilenetv2_050", "demo_conv")  # fmt: skip


@pytest.fixture
def two_processes(monkeypatch):
    """Without a second process and a GPU: what would wrap the model only remembers its devices."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    given = []

    def wrapped(model, device_ids):
        given.append(device_ids)
        return model

    monkeypatch.setattr(torch.nn.parallel, "DistributedDataParallel", wrapped)
    return given


@pytest.mark.parametrize("name", ENCODERS)
def test_shared_batch_normalization_leaves_an_encoder_what_it_was(name, two_processes):
    torch.manual_seed(0)
    encoder, _ = build_image_encoder({"architecture": f"timm/{name}", "embed_dim": 16}, 64)
    with torch.no_grad():
        encoder(torch.randn(8, 3, 64, 64))  # statistics of their own, not 0 and 1
    images = torch.randn(2, 3, 64, 64)
    before = encoder.eval()(images)
    names, training = list(encoder.state_dict()), {module.training for module in encoder.modules()}
    encoder.train()
    shared = distributed.parallel(encoder, 8, GPU)
    assert any(isinstance(module, torch.nn.SyncBatchNorm) for module in shared.modules())
    assert training == {False}
    assert list(shared.state_dict()) == names
    torch.testing.assert_close(shared.eval()(images), before, rtol=0, atol=0)
    assert two_processes == [[GPU]]


def test_a_frozen_encoder_shares_no_statistics(two_processes):
    """Its statistics are fixed: several processes may train beside it, on the CPU, too."""
    encoder, _ = build_image_encoder({"architecture": "timm/test_efficientnet", "embed_dim": 16}, 64)
    with pytest.raises(ValueError, match="batch normalization, whose statistics"):
        distributed.parallel(encoder, 8, torch.device("cpu"))
    encoder.eval()
    assert not has_batch_norm(encoder)
    assert distributed.parallel(encoder, 8, torch.device("cpu")) is encoder
