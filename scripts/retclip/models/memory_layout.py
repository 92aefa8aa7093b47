"""The order in which an image encoder's convolutions read memory: channels last where it is a CNN, which saves it from
turning every layer's input into that order and back."""

from torch import channels_last, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

# So many convolutions over neighboring places are the stem of a transformer (LeViT's has four), or the whole of a small
# network (the demo's has three), which gain little or lose (tests/bench/README.md).
STEM = 4
# A processor's registers hold up to so many numbers. The gradient of a convolution of 1 x 1 with a stride, over fewer
# channels that lie last, is written past the end of its memory (torch 2.15 with oneDNN 3.13, AVX-512).
LANES = 16


def lay_out(encoder: nn.Module) -> None:
    """Lays the weights of a CNN's convolutions out as channels_last, in place; other networks stay as they are.

    What a convolution computes lies as its weights do, and layers between two of them keep it, so that only the images
    of a batch are turned, in the first one. Who saves weights saves them contiguous.
    """
    convolutions = [part for part in encoder.modules() if isinstance(part, nn.Conv2d)]
    if sum(map(_is_spatial, convolutions)) > STEM and not any(map(_skips_places, convolutions)):
        convert_conv2d_weight_memory_format(encoder, channels_last)


def _is_spatial(convolution: nn.Conv2d) -> bool:
    """Whether its places overlap: a convolution into patches is one matrix product in any order."""
    return any(kernel > stride for kernel, stride in zip(convolution.kernel_size, convolution.stride, strict=True))


def _skips_places(convolution: nn.Conv2d) -> bool:
    """Whether it reads few channels of single places, and leaves places out, as FastViT's first one does."""
    channels = convolution.in_channels // convolution.groups
    return max(convolution.kernel_size) == 1 and max(convolution.stride) > 1 and channels < LANES
