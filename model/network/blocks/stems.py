"""Where an image enters and where the logits leave."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from model.architecture.spec import Architecture
from model.network.blocks.linear import flattened_stem
from model.network.blocks.parts import conv


def build_stem(architecture: Architecture) -> "OrderedDict[str, nn.Module]":
    """Build what stands before the first block, under the names of its weights."""
    channels, width = architecture.in_channels, architecture.width
    match architecture.stem:
        case "standard":
            stem = standard_stem(channels, width, bias=architecture.bias)
        case "small":
            stem = small_stem(channels, width, bias=architecture.bias)
        case "bare":
            return OrderedDict(conv1=conv(channels, width, 3, bias=True), relu=nn.ReLU())
        case "flatten":
            return flattened_stem(channels, architecture.image_size, width)
    if architecture.is_preactivated:
        return _without_norm(stem)
    return stem


def standard_stem(
    in_channels: int, width: int, *, bias: bool = False
) -> "OrderedDict[str, nn.Module]":
    """Build the stem for images of about 224 pixels: a quarter of the size comes out."""
    return OrderedDict(
        conv1=conv(in_channels, width, 7, 2, bias=bias),
        bn1=nn.BatchNorm2d(width),
        relu=nn.ReLU(),
        maxpool=nn.MaxPool2d(3, 2, 1),
    )


def small_stem(
    in_channels: int, width: int, *, bias: bool = False
) -> "OrderedDict[str, nn.Module]":
    """Build the stem for images of 28 to 64 pixels: the size stays."""
    return OrderedDict(
        conv1=conv(in_channels, width, 3, bias=bias), bn1=nn.BatchNorm2d(width), relu=nn.ReLU()
    )


def _without_norm(stem: "OrderedDict[str, nn.Module]") -> "OrderedDict[str, nn.Module]":
    """Keep convolution and pool, under timm's names: the first block begins with the norm."""
    parts = OrderedDict(conv=stem["conv1"])
    if "maxpool" in stem:
        parts["pool"] = stem["maxpool"]
    return OrderedDict(stem=nn.Sequential(parts))


class PointwiseLinear(nn.Linear):
    """A linear layer whose weight is stored as that of a 1x1 convolution, (K, F, 1, 1).

    timm's pre-activated networks end in such a convolution over the pooled image.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        """Give the weight its two further axes."""
        super().__init__(in_features, out_features)
        self.weight = nn.Parameter(self.weight.detach()[:, :, None, None])

    def forward(self, x: Tensor) -> Tensor:
        """(N, F) -> (N, K)."""
        return torch.nn.functional.linear(x, self.weight.flatten(1), self.bias)
