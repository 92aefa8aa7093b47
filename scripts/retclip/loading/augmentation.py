"""From stored uint8 images to the input of the image encoder; augmentation runs on the whole batch at once."""

import math

import torch
from torch.nn import functional

from retclip.core.preprocessing import Preprocessing

MAX_ROTATION_DEGREES = 10.0
MAX_ZOOM = 0.1
MAX_SHIFT = 0.04
MAX_COLOR_JITTER = 0.1


def to_model_input(images: torch.Tensor, augment: bool, preprocessing: Preprocessing) -> torch.Tensor:
    """uint8 [B, S, S, 3] -> normalized float32 [B, 3, S, S] on the same device, by mean and std of `preprocessing`.

    Augmentation is a small affine map (rotation, zoom, shift) and color jitter (brightness, contrast) of each
    image; it never flips, because the loss tells left from right. Draws come from torch's global generator,
    which the trainer seeds at every step.
    """
    # in place wherever it can be: on a CPU, passes over memory are what this costs
    images = images.permute(0, 3, 1, 2).contiguous().to(torch.float32).mul_(1 / 255)
    if augment:
        # autocast would place the pixels by coordinates of eight bits, most of a pixel beside where they belong
        with torch.autocast(images.device.type, enabled=False):
            images = _color_jitter_(_affine(images))
    mean = torch.tensor(preprocessing.mean).view(1, 3, 1, 1).to(images.device, non_blocking=True)
    std = torch.tensor(preprocessing.std).view(1, 3, 1, 1).to(images.device, non_blocking=True)
    return images.sub_(mean).div_(std)


def _affine(images: torch.Tensor) -> torch.Tensor:
    """float32 [B, 3, S, S] -> the same, each image rotated, zoomed and shifted; what comes in from outside is black."""
    count = len(images)
    angle = _uniform(count, images) * math.radians(MAX_ROTATION_DEGREES)
    zoom = 1 + _uniform(count, images) * MAX_ZOOM
    rotation = torch.stack([torch.cos(angle), -torch.sin(angle), torch.sin(angle), torch.cos(angle)], dim=1).view(
        count, 2, 2
    )
    shift = torch.stack([_uniform(count, images), _uniform(count, images)], dim=1) * 2 * MAX_SHIFT
    matrix = torch.cat([rotation * zoom.view(-1, 1, 1), shift.unsqueeze(2)], dim=2)
    grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def _color_jitter_(images: torch.Tensor) -> torch.Tensor:
    """Contrast around each image's average, and brightness of that average."""
    count = len(images)
    contrast = (1 + _uniform(count, images) * MAX_COLOR_JITTER).view(-1, 1, 1, 1)
    brightness = (_uniform(count, images) * MAX_COLOR_JITTER).view(-1, 1, 1, 1)
    average = images.mean(dim=(1, 2, 3), keepdim=True)
    return images.mul_(contrast).add_(average * (1 + brightness - contrast)).clamp_(0, 1)


def _uniform(count: int, like: torch.Tensor) -> torch.Tensor:
    """[count] draws from -1 to 1."""
    return torch.rand(count, device=like.device) * 2 - 1
