"""The blocks of 2016: norm and ReLU before each convolution, a clean path for the shortcut.

Nothing is done to the sum, so a signal reaches every block through additions alone. A
projection reads the pre-activated input. Names follow timm's `resnetv2_*`.

Source:
    He et al., "Identity Mappings in Deep Residual Networks", 2016 (arXiv 1603.05027).
"""

from collections import OrderedDict
from typing import Final

from torch import Tensor, nn

from model.architecture.plan import EXPANSION
from model.network.blocks.parts import add_shortcut, conv


class PreactBasicBlock(nn.Module):
    """Norm - ReLU - 3x3, twice, and a shortcut.

    Args:
        in_channels: Channels that enter.
        channels: Channels of both convolutions, and of the output.
        stride: Of the first convolution; 2 halves the image.
    """

    expansion: Final[int] = EXPANSION["preact_basic"]

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.downsample = _projection(in_channels, channels, stride)
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.relu = nn.ReLU()
        self.conv1 = conv(in_channels, channels, 3, stride)
        self.norm2 = nn.BatchNorm2d(channels)
        self.conv2 = conv(channels, channels, 3)

    @property
    def last(self) -> nn.Module:
        """What scales the whole branch."""
        return self.conv2

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, channels, H / stride, W / stride)."""
        activated = self.relu(self.norm1(x))
        shortcut = x if self.downsample is None else self.downsample(activated)
        x = self.conv1(activated)
        x = self.conv2(self.relu(self.norm2(x)))
        return add_shortcut(x, shortcut)


class PreactBottleneck(nn.Module):
    """Norm - ReLU - convolution for 1x1, 3x3, 1x1 up by four, and a shortcut.

    Args:
        in_channels: Channels that enter.
        channels: Channels of the 3x3 convolution; the output has four times as many.
        stride: Of the 3x3 convolution; 2 halves the image.
    """

    expansion: Final[int] = EXPANSION["preact_bottleneck"]

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        out_channels = channels * self.expansion
        self.downsample = _projection(in_channels, out_channels, stride)
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.relu = nn.ReLU()
        self.conv1 = conv(in_channels, channels, 1)
        self.norm2 = nn.BatchNorm2d(channels)
        self.conv2 = conv(channels, channels, 3, stride)
        self.norm3 = nn.BatchNorm2d(channels)
        self.conv3 = conv(channels, out_channels, 1)

    @property
    def last(self) -> nn.Module:
        """What scales the whole branch."""
        return self.conv3

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, 4 * channels, H / stride, W / stride)."""
        activated = self.relu(self.norm1(x))
        shortcut = x if self.downsample is None else self.downsample(activated)
        x = self.conv1(activated)
        x = self.conv2(self.relu(self.norm2(x)))
        x = self.conv3(self.relu(self.norm3(x)))
        return add_shortcut(x, shortcut)


def _projection(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    """Build the 1x1 convolution of a block that changes the shape; it has no norm."""
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(OrderedDict(conv=conv(in_channels, out_channels, 1, stride)))
