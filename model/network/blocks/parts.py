"""What blocks and stems are made of: convolutions, shortcuts, addition, initialisation.

Convolutions pad symmetrically and have no bias by default (the norm after them has one);
batch norm keeps torch's eps 1e-5 and momentum 0.1.
"""

import torch
from torch import Tensor, nn


def conv(  # noqa: PLR0913  # a convolution has as many properties
    in_channels: int,
    out_channels: int,
    kernel: int,
    stride: int = 1,
    *,
    groups: int = 1,
    bias: bool = False,
) -> nn.Conv2d:
    """Build a convolution that keeps the image's size at stride 1."""
    padding = kernel // 2
    return nn.Conv2d(in_channels, out_channels, kernel, stride, padding, groups=groups, bias=bias)


def projection(
    in_channels: int, out_channels: int, stride: int, *, norm: bool = True, bias: bool = False
) -> nn.Sequential:
    """Build the shortcut of a block that changes the shape: 1x1 convolution and norm.

    Source:
        He et al., 2015 (arXiv 1512.03385), section 4.1, option B; without the norm in d2l.
    """
    layers: list[nn.Module] = [conv(in_channels, out_channels, 1, stride, bias=bias)]
    if norm:
        layers.append(nn.BatchNorm2d(out_channels))
    return nn.Sequential(*layers)


class PadShortcut(nn.Module):
    """Take every `stride`-th pixel and add channels of zeros, half of them on each side.

    Args:
        in_channels: Channels that enter.
        out_channels: Channels that leave; at least as many.
        stride: 2 halves the image.

    Raises:
        ValueError: If channels would have to go.

    Source:
        He et al., 2015 (arXiv 1512.03385), section 4.1, option A: no parameters.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        missing = out_channels - in_channels
        if missing < 0:
            raise ValueError(
                f"`out_channels` (={out_channels}) must be at least `in_channels` "
                f"(={in_channels}): padding adds channels, it takes none away."
            )
        self.before, self.after = missing // 2, missing - missing // 2
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) -> (N, out, H / stride, W / stride)."""
        x = x[:, :, :: self.stride, :: self.stride]
        return nn.functional.pad(x, (0, 0, 0, 0, self.before, self.after))


def add_shortcut(branch: Tensor, shortcut: Tensor) -> Tensor:
    """Add two feature maps of one shape, (N, C, H, W) or (N, F) each.

    Raises:
        ValueError: If the shapes differ; broadcasting would hide the mistake.
    """
    if branch.shape != shortcut.shape:
        raise ValueError(
            f"A branch of shape {tuple(branch.shape)} cannot be added to a shortcut of shape "
            f"{tuple(shortcut.shape)}; use a projection where channels or stride change."
        )
    return branch + shortcut


class Concat(nn.Module):
    """Two feature maps side by side: (N, A, H, W), (N, B, H, W) -> (N, A + B, H, W)."""

    def forward(self, branch: Tensor, shortcut: Tensor) -> Tensor:
        """The branch's channels come first."""
        return torch.cat((branch, shortcut), dim=1)


class GlobalAveragePool(nn.Module):
    """The mean over the image: (N, C, H, W) -> (N, C).

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
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)


def count_parameters(module: nn.Module) -> int:
    """Count the numbers that training may change."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
