"""The block of Keras tutorials: convolution and ReLU, no norm, nothing after the addition."""

from typing import Final

from torch import Tensor, nn

from model.architecture.plan import EXPANSION
from model.network.blocks.parts import add_shortcut, conv, projection


class BareBlock(nn.Module):
    """Two 3x3 convolutions, each with a ReLU, added to their input.

    With stride 2 the branch ends in a 2x2 max pool and the shortcut is a 1x1 convolution of
    stride 2; both round an odd side up.

    Args:
        in_channels: Channels that enter.
        channels: Channels of both convolutions, and of the output.
        stride: 2 halves the image.

    Source:
        Chollet, "Deep Learning with Python", 2nd edition, section 9.3.2; the projection has
        no activation, so that negative values can pass.
    """

    expansion: Final[int] = EXPANSION["bare"]

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, channels, 3, bias=True)
        self.relu = nn.ReLU()
        self.conv2 = conv(channels, channels, 3, bias=True)
        self.pool = nn.MaxPool2d(stride, ceil_mode=True) if stride > 1 else None
        unchanged = stride == 1 and in_channels == channels
        self.downsample = (
            None if unchanged else projection(in_channels, channels, stride, norm=False, bias=True)
        )

    @property
    def last(self) -> nn.Module:
        """What scales the whole branch."""
        return self.conv2

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, channels, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.conv1(x))
        x = self.relu(self.conv2(x))
        if self.pool is not None:
            x = self.pool(x)
        return add_shortcut(x, shortcut)
