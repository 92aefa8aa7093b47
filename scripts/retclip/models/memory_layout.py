"""The order in which an image encoder's convolutions read memory: channels last where it is a CNN, which saves it from
turning every layer's input into that order and back."""

from torch import channels_last, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

# So many convolutions over neighboring places are the stem of a transformer (LeViT's has four), or the whole of a small
# network (the demo's has three), which gain nothing (tests/bench/README.md).
STEM = 4


def lay_out(encoder: nn.Module) -> None:
    """Lays the weights of a CNN's convolutions out as channels_last, in place; other networks stay as they are.

    What a convolution computes lies as its weights do, and layers between two of them keep it, so that only the images
    of a batch are turned, in the first one. Who saves weights saves them contiguous.
    """
    if sum(_is_spatial(part) for part in encoder.modules()) > STEM:
        convert_conv2d_weight_memory_format(encoder, channels_last)


def _is_spatial(part: nn.Module) -> bool:
    """Whether it is a convolution whose places overlap: that into patches is one matrix product in any order."""
    if not isinstance(part, nn.Conv2d):
        return False
    return any(kernel > stride for kernel, stride in zip(part.kernel_size, part.stride, strict=True))
