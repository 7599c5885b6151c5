"""The parts of a residual network as torch modules: stems, shortcuts, blocks.

`model.network` strings them together. Names of the parameters follow torchvision
(`conv1`, `bn1`, `downsample.0`), so that its checkpoints load unchanged.

Convolutions carry no bias (the norm after them has one) and pad symmetrically;
batch norm keeps torch's eps 1e-5 and momentum 0.1.
"""

from collections import OrderedDict
from typing import Final

from torch import Tensor, nn

from model.architecture import EXPANSION, BlockKind, BlockPlan


def conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """Build a convolution that keeps the picture's size at stride 1."""
    return nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)


def projection(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """Build the shortcut of a block that changes the shape: 1x1 convolution and norm."""
    return nn.Sequential(conv(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels))


def add_shortcut(branch: Tensor, shortcut: Tensor) -> Tensor:
    """Add two feature maps of one shape, (N, C, H, W) each.

    Raises:
        ValueError: If the shapes differ; broadcasting would hide the mistake.
    """
    if branch.shape != shortcut.shape:
        raise ValueError(
            f"A branch of shape {tuple(branch.shape)} cannot be added to a shortcut of shape "
            f"{tuple(shortcut.shape)}; use a projection where channels or stride change."
        )
    return branch + shortcut


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al., figure 5 left).

    Args:
        in_channels: Channels that enter.
        channels: Channels of both convolutions, and of the output.
        stride: Of the first convolution; 2 halves the picture.
        shortcut: `projection(...)`, or None for the identity.
    """

    expansion: Final[int] = EXPANSION["basic"]

    def __init__(
        self, in_channels: int, channels: int, stride: int = 1, shortcut: nn.Module | None = None
    ) -> None:
        """Build the branch; the shortcut comes ready."""
        super().__init__()
        self.conv1 = conv(in_channels, channels, 3, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.conv2 = conv(channels, channels, 3)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, channels, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        added: Tensor = self.relu(add_shortcut(x, shortcut))
        return added


class Bottleneck(nn.Module):
    """1x1 down, 3x3, 1x1 up by four, and a shortcut (He et al., figure 5 right).

    The stride sits on the 3x3 convolution ("V1.5"), as in torchvision: about half a
    point of ImageNet top-1 better than on the first 1x1, for 12 % more multiply-adds.

    Args:
        in_channels: Channels that enter.
        channels: Channels of the waist; the output has four times as many.
        stride: Of the 3x3 convolution; 2 halves the picture.
        shortcut: `projection(...)`, or None for the identity.
    """

    expansion: Final[int] = EXPANSION["bottleneck"]

    def __init__(
        self, in_channels: int, channels: int, stride: int = 1, shortcut: nn.Module | None = None
    ) -> None:
        """Build the branch; the shortcut comes ready."""
        super().__init__()
        self.conv1 = conv(in_channels, channels, 1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv(channels, channels, 3, stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = conv(channels, channels * self.expansion, 1)
        self.bn3 = nn.BatchNorm2d(channels * self.expansion)
        self.relu = nn.ReLU()
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, 4 * channels, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        added: Tensor = self.relu(add_shortcut(x, shortcut))
        return added


BLOCKS: dict[BlockKind, type[BasicBlock] | type[Bottleneck]] = {
    "basic": BasicBlock,
    "bottleneck": Bottleneck,
}


def build_block(plan: BlockPlan) -> nn.Module:
    """Build the block that a plan describes, with the shortcut it needs."""
    shortcut = (
        projection(plan.in_channels, plan.out_channels, plan.stride)
        if plan.shortcut == "projection"
        else None
    )
    return BLOCKS[plan.kind](plan.in_channels, plan.channels, plan.stride, shortcut)


def standard_stem(in_channels: int, width: int) -> "OrderedDict[str, nn.Module]":
    """Build the stem for pictures of about 224 pixels: a quarter of the size comes out."""
    return OrderedDict(
        conv1=conv(in_channels, width, 7, 2),
        bn1=nn.BatchNorm2d(width),
        relu=nn.ReLU(),
        maxpool=nn.MaxPool2d(3, 2, 1),
    )


def small_stem(in_channels: int, width: int) -> "OrderedDict[str, nn.Module]":
    """Build the stem for pictures of 28 to 64 pixels: the size stays."""
    return OrderedDict(conv1=conv(in_channels, width, 3), bn1=nn.BatchNorm2d(width), relu=nn.ReLU())


class GlobalAveragePool(nn.Module):
    """The mean over the picture: (N, C, H, W) -> (N, C).

    `nn.AdaptiveAvgPool2d(1)` computes the same, but is exported to ONNX as a dozen nodes.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C)."""
        return x.mean(dim=(2, 3))


def initialize(module: nn.Module) -> None:
    """Draw convolutions from Kaiming's normal (fan-out, ReLU); norms start as the identity.

    Source:
        He et al., "Delving Deep into Rectifiers", 2015 (arXiv 1502.01852).
    """
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)


def count_parameters(module: nn.Module) -> int:
    """Count the numbers that training may change."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
