"""The plan of a network's residual part: kinds of blocks and shortcuts, and their order.

`Architecture.stages` gives it; `model.network.blocks` builds what it says in torch,
`model.architecture.summary` counts it. No torch here.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

BlockKind = Literal["basic", "bottleneck", "preact_basic", "preact_bottleneck", "bare", "linear"]
ShortcutKind = Literal["identity", "projection", "padding", "concat", "none"]
ShortcutRule = Literal["padding", "projection", "always_projection", "concat", "none"]
StemKind = Literal["standard", "small", "bare", "flatten"]

EXPANSION: Mapping[BlockKind, int] = MappingProxyType(
    {
        "basic": 1,
        "bottleneck": 4,
        "preact_basic": 1,
        "preact_bottleneck": 4,
        "bare": 1,
        "linear": 1,
    }
)
"""Output channels of a block as a multiple of the stage's channels."""


class BlockPlan(NamedTuple):
    """One residual block: where it sits, what goes in, what comes out, and how.

    Attributes:
        path: Name of its weights.
        kind: Which block.
        in_channels: Channels that enter.
        channels: Of the stage; a bottleneck gives four times as many.
        out_channels: Channels that leave.
        stride: 2 halves the image.
        mid_channels: Channels of the middle convolution; 0 means `channels`.
        groups: Of the 3x3 convolution of a bottleneck.
        squeeze: Channels inside squeeze-and-excitation; 0 means there is none.
        bias: Whether convolutions have biases.
        projection_norm: Whether a projection ends in a norm.
        rule: What carries the input past the branch.
    """

    path: str
    kind: BlockKind
    in_channels: int
    channels: int
    out_channels: int
    stride: int
    mid_channels: int = 0
    groups: int = 1
    squeeze: int = 0
    bias: bool = False
    projection_norm: bool = True
    rule: ShortcutRule = "projection"

    @property
    def shortcut(self) -> ShortcutKind:
        """What carries the input past the branch.

        - `identity`: as it is, where the shape stays (He et al., section 3.2).
        - `projection`: through a 1x1 convolution; option B where the shape changes,
          option C everywhere (He et al., section 4.1).
        - `padding`: every second pixel, with channels of zeros on both sides; option A,
          without parameters (He et al., section 4.1).
        - `concat`: beside the branch's channels, mixed by a 1x1 convolution
          (Ronneberger et al., 2015, arXiv 1505.04597; Huang et al., 2016, arXiv 1608.06993).
        - `none`: nothing; a plain network (He et al., section 3.3).
        """
        if self.rule in ("concat", "none"):
            return "concat" if self.rule == "concat" else "none"
        if self.rule == "always_projection":
            return "projection"
        unchanged = self.stride == 1 and self.in_channels == self.out_channels
        return "identity" if unchanged else self.rule


class StagePlan(NamedTuple):
    """A run of blocks at one image size and width."""

    path: str
    blocks: tuple[BlockPlan, ...]
