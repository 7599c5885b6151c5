"""Residual blocks without images: fully connected layers over a vector.

How they start decides whether depth can be stacked. Let q be the mean square of the
stream, which is not negative after a ReLU. `fc1` is drawn with variance 2 / width, so the
hidden vector has mean square q again (He et al., 2015, arXiv 1502.01852); `fc2` with
variance 1 / (width * depth), so the branch adds q / depth. After all `depth` blocks the
stream's mean square is at most (1 + 1 / depth) ** depth < e times the first: 10 blocks and
100 end alike. Weights of variance 1 multiply it by width ** 2 at each block instead, 1e24
and more after ten.
"""

from collections import OrderedDict
from typing import Final

from torch import Tensor, nn

from model.architecture.plan import EXPANSION
from model.network.blocks.parts import add_shortcut


class LinearBlock(nn.Module):
    """Linear, ReLU, linear, add, ReLU.

    Args:
        in_features: Width of the stream that enters.
        hidden: Width between the two layers.
        out_features: Width that leaves; the sum needs it to be that which enters.
        depth: How many such blocks follow one another; the more, the smaller the first weights.

    Raises:
        ValueError: If the widths differ.
    """

    expansion: Final[int] = EXPANSION["linear"]

    def __init__(self, in_features: int, hidden: int, out_features: int, depth: int = 1) -> None:
        super().__init__()
        if in_features != out_features:
            raise ValueError(
                f"`out_features` (={out_features}) must equal `in_features` (={in_features}): "
                "a linear block adds its branch to its input."
            )
        self.fc1 = nn.Linear(in_features, hidden)
        self.relu = nn.ReLU()
        self.fc2 = nn.Linear(hidden, out_features)
        nn.init.normal_(self.fc1.weight, std=(2 / in_features) ** 0.5)
        nn.init.normal_(self.fc2.weight, std=(1 / (hidden * depth)) ** 0.5)
        nn.init.zeros_(self.fc1.bias)
        nn.init.zeros_(self.fc2.bias)

    @property
    def last(self) -> nn.Module:
        """What scales the whole branch."""
        return self.fc2

    def forward(self, x: Tensor) -> Tensor:
        """(N, width) -> (N, width)."""
        branch = self.fc2(self.relu(self.fc1(x)))
        added: Tensor = self.relu(add_shortcut(branch, x))
        return added


class ResidualMLP(nn.Module):
    """A vector through a linear layer, residual blocks, and a linear head.

    Args:
        input: Numbers that enter.
        hidden: Width of the stream.
        output: Numbers that leave.
        blocks: How many residual blocks.

    Raises:
        ValueError: If a width or the number of blocks is under one.
    """

    def __init__(self, input: int, hidden: int, output: int, blocks: int) -> None:  # noqa: A002
        """Build all layers; torch's global random state draws the weights."""
        super().__init__()
        if min(input, hidden, output, blocks) < 1:
            raise ValueError(
                f"`input` (={input}), `hidden` (={hidden}), `output` (={output}) and `blocks` "
                f"(={blocks}) must be at least 1."
            )
        self.fc_in = nn.Linear(input, hidden)
        self.relu = nn.ReLU()
        self.layer1 = nn.Sequential(
            *(LinearBlock(hidden, hidden, hidden, blocks) for _ in range(blocks))
        )
        self.fc = nn.Linear(hidden, output)

    def forward(self, x: Tensor) -> Tensor:
        """(N, input) or (input,) -> (N, output) or (output,); integers are read as numbers.

        Raises:
            ValueError: If the vectors have another width.
        """
        if x.shape[-1] != self.fc_in.in_features:
            raise ValueError(
                f"`x` has width {x.shape[-1]}; this network reads width {self.fc_in.in_features}."
            )
        vectors = x.to(self.fc_in.weight.dtype)
        answered: Tensor = self.fc(self.layer1(self.relu(self.fc_in(vectors))))
        return answered


def residual_mlp(input: int, hidden: int, output: int, blocks: int) -> ResidualMLP:  # noqa: A002
    """Build a fully connected residual network, for vectors.

    `ARCHITECTURES["residual_mlp"]` is the same over the pixels of an image.

    Raises:
        ValueError: If a width or the number of blocks is under one.
    """
    return ResidualMLP(input, hidden, output, blocks)


class FlattenedLinear(nn.Module):
    """All pixels of an image of one size through a linear layer: the stem of an MLP.

    Args:
        channels: Of the image.
        image_size: Of the image, in pixels.
        out_features: Width that leaves.
    """

    def __init__(self, channels: int, image_size: int, out_features: int) -> None:
        super().__init__()
        self.shape = (channels, image_size, image_size)
        self.flatten = nn.Flatten(1)
        self.linear = nn.Linear(channels * image_size * image_size, out_features)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, S, S) -> (N, out).

        Raises:
            ValueError: If the images have another shape.
        """
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(
                f"`x` has images of shape {tuple(x.shape[1:])}; this network reads {self.shape}."
            )
        widened: Tensor = self.linear(self.flatten(x))
        return widened


def flattened_stem(channels: int, image_size: int, width: int) -> "OrderedDict[str, nn.Module]":
    """Build the stem of an MLP: an image becomes a vector."""
    return OrderedDict(fc_in=FlattenedLinear(channels, image_size, width), relu=nn.ReLU())
