"""The parts of a residual network as torch modules: stems, shortcuts, blocks.

`model.network.resnet` puts them together. Names of the parameters follow torchvision
(`conv1`, `bn1`, `downsample.0`), timm's for squeeze-and-excitation and pre-activation,
so that their checkpoints load unchanged.

Modules: `parts` (convolutions, shortcuts, initialisation), `residual` (the blocks of 2015),
`preactivated` (of 2016), `bare` (without norms), `linear` (fully connected), `stems`.
"""

from functools import partial

from torch import nn

from model.architecture.plan import BlockPlan
from model.network.blocks.bare import BareBlock
from model.network.blocks.linear import LinearBlock, ResidualMLP, residual_mlp
from model.network.blocks.parts import (
    GlobalAveragePool,
    PadShortcut,
    add_shortcut,
    conv,
    count_parameters,
    initialize,
    projection,
)
from model.network.blocks.preactivated import PreactBasicBlock, PreactBottleneck
from model.network.blocks.residual import BasicBlock, Bottleneck, ConcatFuse, SqueezeExcite
from model.network.blocks.stems import PointwiseLinear, build_stem, small_stem, standard_stem

__all__ = [
    "BareBlock",
    "BasicBlock",
    "Bottleneck",
    "ConcatFuse",
    "GlobalAveragePool",
    "LinearBlock",
    "PadShortcut",
    "PointwiseLinear",
    "PreactBasicBlock",
    "PreactBottleneck",
    "ResidualMLP",
    "SqueezeExcite",
    "add_shortcut",
    "build_block",
    "build_stem",
    "conv",
    "count_parameters",
    "initialize",
    "projection",
    "residual_mlp",
    "scale_branches",
    "small_stem",
    "standard_stem",
]

ResidualBlock = (
    BasicBlock | Bottleneck | PreactBasicBlock | PreactBottleneck | BareBlock | LinearBlock
)


def build_block(plan: BlockPlan, depth: int = 1) -> nn.Module:
    """Build the block that a plan describes, with the shortcut it needs.

    Args:
        plan: From `Architecture.stages`.
        depth: How many blocks the network has; linear blocks start with smaller weights.
    """
    match plan.kind:
        case "linear":
            return LinearBlock(plan.in_channels, plan.channels, plan.out_channels, depth)
        case "bare":
            return BareBlock(plan.in_channels, plan.channels, plan.stride)
        case "preact_basic":
            return PreactBasicBlock(plan.in_channels, plan.channels, plan.stride)
        case "preact_bottleneck":
            return PreactBottleneck(plan.in_channels, plan.channels, plan.stride)
        case "basic":
            block: type[BasicBlock] | partial[Bottleneck] = BasicBlock
        case "bottleneck":
            block = partial(
                Bottleneck, mid_channels=plan.mid_channels or plan.channels, groups=plan.groups
            )
    return block(
        plan.in_channels,
        plan.channels,
        plan.stride,
        _shortcut(plan),
        squeeze=plan.squeeze,
        bias=plan.bias,
        join=_fuse(plan),
        plain=plan.shortcut == "none",
    )


def _shortcut(plan: BlockPlan) -> nn.Module | None:
    """Build what the input passes through on its way past the branch, if anything."""
    into, out, stride = plan.in_channels, plan.out_channels, plan.stride
    match plan.shortcut:
        case "projection":
            return projection(into, out, stride, norm=plan.projection_norm, bias=plan.bias)
        case "padding":
            return PadShortcut(into, out, stride)
        case "concat" if stride > 1:
            return PadShortcut(into, into, stride)  # smaller, and no channel more
        case _:
            return None


def _fuse(plan: BlockPlan) -> ConcatFuse | None:
    """Build what brings branch and shortcut together, where it is not an addition."""
    if plan.shortcut == "concat":
        return ConcatFuse(plan.out_channels + plan.in_channels, plan.out_channels)
    return None


def scale_branches(network: nn.Module, factor: float) -> None:
    """Multiply the last weights of each block's branch: the share of each branch at the start.

    With 0, every block begins as the identity on what is not negative ("zero-init").

    Source:
        Goyal et al., 2017 (arXiv 1706.02677), section 5.1.
    """
    for module in network.modules():
        if isinstance(module, ResidualBlock):
            for parameter in module.last.parameters():
                parameter.detach().mul_(factor)
