"""The demo's image encoder, registered with timm as `demo_conv`: ten classes of 64 px drawings in CPU-seconds.

Stock image encoders of timm are made for a GPU: their depthwise convolutions and full-size stems take five to ten
times as long per image on one core. Three strided convolutions leave 4 x 4 places of a 64 px image; their
mean and maximum are normalized over the batch, which contrastive learning from scratch needs most.
"""

from typing import Any

import torch
from timm.models import register_model
from torch import nn

WIDTHS = (32, 64, 128)
KERNELS, STRIDES = (7, 3, 3), (4, 2, 2)


class DemoConv(nn.Module):
    """[B, 3, S, S] -> [B, 2 * WIDTHS[-1]]."""

    num_features = 2 * WIDTHS[-1]

    def __init__(self) -> None:
        super().__init__()
        self.default_cfg: dict[str, Any] = {"pool_size": None}
        layers: list[nn.Module] = []
        for before, after, kernel, stride in zip((3, *WIDTHS[:-1]), WIDTHS, KERNELS, STRIDES, strict=True):
            layers += [
                nn.Conv2d(before, after, kernel, stride=stride, padding=kernel // 2, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
            ]
        self.stem = nn.Sequential(*layers)
        self.norm = nn.BatchNorm1d(self.num_features)

    def reset_classifier(self, num_classes: int, **kwargs: Any) -> None:
        """Called by open_clip's adapter; it has no classifier."""
        assert num_classes == 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        places = self.stem(images).flatten(2)
        return self.norm(torch.cat([places.mean(2), places.amax(2)], dim=1))


@register_model
def demo_conv(pretrained: bool = False, **kwargs: Any) -> DemoConv:
    """timm's constructor of the demo's image encoder; it has no pre-trained weights."""
    assert not pretrained
    return DemoConv()
