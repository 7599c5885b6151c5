"""The blocks of 2015, with squeeze-and-excitation, groups and other joins on request.

Convolution - norm - ReLU, twice or thrice, the shortcut joins before the last ReLU.
"""

from typing import Final

import torch
from torch import Tensor, nn

from model.architecture.plan import EXPANSION
from model.network.blocks.parts import Concat, add_shortcut, conv


class Gate(nn.Module):
    """Multiply each channel by its gate: (N, C, H, W), (N, C, 1, 1) -> (N, C, H, W)."""

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        """The gate is a logit; its sigmoid scales."""
        return x * torch.sigmoid(gate)


class SqueezeExcite(nn.Module):
    """Scale each channel by a gate that depends on the whole image.

    Args:
        channels: Of the feature map.
        squeezed: Between the two 1x1 convolutions.

    Source:
        Hu et al., "Squeeze-and-Excitation Networks", 2017 (arXiv 1709.01507); names as in timm.
    """

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = conv(channels, squeezed, 1, bias=True)
        self.relu = nn.ReLU()
        self.fc2 = conv(squeezed, channels, 1, bias=True)
        self.scale = Gate()

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        mean = x.mean(dim=(2, 3), keepdim=True)  # (N, C, 1, 1)
        scaled: Tensor = self.scale(x, self.fc2(self.relu(self.fc1(mean))))
        return scaled


class ConcatFuse(nn.Module):
    """Concatenate branch and shortcut, then mix them back to the width by a 1x1 convolution.

    A network that adds hands on a sum; one that concatenates lets the next layer choose,
    and pays for the choice with weights.

    Args:
        in_channels: Of branch and shortcut together.
        out_channels: That leave.

    Source:
        Ronneberger et al., 2015 (arXiv 1505.04597); Huang et al., 2016 (arXiv 1608.06993).
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.concat = Concat()
        self.conv = conv(in_channels, out_channels, 1)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, branch: Tensor, shortcut: Tensor) -> Tensor:
        """(N, A, H, W), (N, B, H, W) -> (N, out, H, W)."""
        mixed: Tensor = self.bn(self.conv(self.concat(branch, shortcut)))
        return mixed


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al., figure 5 left).

    Args:
        in_channels: Channels that enter.
        channels: Channels of both convolutions, and of the output.
        stride: Of the first convolution; 2 halves the image.
        shortcut: `projection(...)` or `PadShortcut(...)`; None takes the input as it is.
        squeeze: Channels inside squeeze-and-excitation; 0 leaves it out.
        bias: Whether the convolutions have biases.
        join: What brings branch and shortcut together; None adds them.
        plain: Whether there is no shortcut at all.
    """

    expansion: Final[int] = EXPANSION["basic"]

    def __init__(  # noqa: PLR0913  # the block's variants
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        shortcut: nn.Module | None = None,
        *,
        squeeze: int = 0,
        bias: bool = False,
        join: ConcatFuse | None = None,
        plain: bool = False,
    ) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, channels, 3, stride, bias=bias)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.conv2 = conv(channels, channels, 3, bias=bias)
        self.bn2 = nn.BatchNorm2d(channels)
        self.se = SqueezeExcite(channels, squeeze) if squeeze else None
        self.downsample = shortcut
        self.join = join
        self.plain = plain

    @property
    def last(self) -> nn.Module:
        """What scales the whole branch."""
        return self.bn2

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, channels, H / stride, W / stride)."""
        branch = self.relu(self.bn1(self.conv1(x)))
        branch = self.bn2(self.conv2(branch))
        return _finish(self, branch, x)


class Bottleneck(nn.Module):
    """1x1 down, 3x3, 1x1 up by four, and a shortcut (He et al., figure 5 right).

    The stride sits on the 3x3 convolution ("V1.5"), as in torchvision: about half a
    point of ImageNet top-1 better than on the first 1x1, for 12 % more multiply-adds.

    Args:
        in_channels: Channels that enter.
        channels: Of the stage; the output has four times as many.
        stride: Of the 3x3 convolution; 2 halves the image.
        shortcut: `projection(...)` or `PadShortcut(...)`; None takes the input as it is.
        mid_channels: Channels of the 3x3 convolution; None means `channels`. Wider in
            wide ResNets and ResNeXts.
        groups: Of the 3x3 convolution; each sees its own share of the channels (ResNeXt).
        squeeze: Channels inside squeeze-and-excitation; 0 leaves it out.
        bias: Whether the convolutions have biases.
        join: What brings branch and shortcut together; None adds them.
        plain: Whether there is no shortcut at all.
    """

    expansion: Final[int] = EXPANSION["bottleneck"]

    def __init__(  # noqa: PLR0913  # the block's variants
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        shortcut: nn.Module | None = None,
        *,
        mid_channels: int | None = None,
        groups: int = 1,
        squeeze: int = 0,
        bias: bool = False,
        join: ConcatFuse | None = None,
        plain: bool = False,
    ) -> None:
        super().__init__()
        mid_channels = mid_channels or channels
        out_channels = channels * self.expansion
        self.conv1 = conv(in_channels, mid_channels, 1, bias=bias)
        self.bn1 = nn.BatchNorm2d(mid_channels)
        self.conv2 = conv(mid_channels, mid_channels, 3, stride, groups=groups, bias=bias)
        self.bn2 = nn.BatchNorm2d(mid_channels)
        self.conv3 = conv(mid_channels, out_channels, 1, bias=bias)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()
        self.se = SqueezeExcite(out_channels, squeeze) if squeeze else None
        self.downsample = shortcut
        self.join = join
        self.plain = plain

    @property
    def last(self) -> nn.Module:
        """What scales the whole branch."""
        return self.bn3

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, 4 * channels, H / stride, W / stride)."""
        branch = self.relu(self.bn1(self.conv1(x)))
        branch = self.relu(self.bn2(self.conv2(branch)))
        branch = self.bn3(self.conv3(branch))
        return _finish(self, branch, x)


def _finish(block: BasicBlock | Bottleneck, branch: Tensor, x: Tensor) -> Tensor:
    """Excite the branch, join the shortcut, cut what is negative."""
    if block.se is not None:
        branch = block.se(branch)
    if not block.plain:
        shortcut = x if block.downsample is None else block.downsample(x)
        join = add_shortcut if block.join is None else block.join
        branch = join(branch, shortcut)
    finished: Tensor = block.relu(branch)
    return finished
