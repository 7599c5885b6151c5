"""What a network costs, layer by layer, by arithmetic alone.

`summarize` walks the plan of an `Architecture` as a picture would and notes each
layer's output shape, parameters and multiply-adds. The trainer stores the result in
the manifest, `GET /architecture` answers with it, `describe-model` prints it. No torch:
the tests hold it against the torch network, hook by hook.

Multiply-adds (MACs) are those of convolutions and linear layers for one picture, as
torchvision and timm count them; they print the figure as "GFLOPS".
"""

from model.architecture.layers import Block, Layer, Section, Stage, Summary
from model.architecture.plan import BlockPlan
from model.architecture.shape_trace import View, Walk
from model.architecture.spec import Architecture

__all__ = ["Block", "Layer", "Section", "Stage", "Summary", "summarize"]


def summarize(architecture: Architecture, height: int, width: int) -> Summary:
    """Count every layer's output shape, parameters and multiply-adds.

    Args:
        architecture: The network.
        height: Of the picture, in pixels.
        width: Of the picture, in pixels.

    Raises:
        ValueError: If a side is under one pixel, or not the one that an MLP is made for.
    """
    if height < 1 or width < 1:
        raise ValueError(f"`height`, `width` (={height}, {width}) must be at least 1 pixel.")
    side = architecture.side
    if architecture.block == "linear" and (height, width) != (side, side):
        raise ValueError(
            f"`height`, `width` (={height}, {width}) must be {side}: {architecture.name} reads "
            "all pixels of a picture at once."
        )
    walk = Walk((architecture.in_channels, height, width))
    stem = _stem(walk, architecture)
    stages = tuple(
        _stage(plan.path, tuple(_block(walk, block) for block in plan.blocks))
        for plan in architecture.stages
    )
    head = _head(walk, architecture)
    parts = (stem, *stages, head)
    return Summary(
        input_shape=(architecture.in_channels, height, width),
        parameters=sum(part.parameters for part in parts),
        macs=sum(part.macs for part in parts),
        stem=stem,
        stages=stages,
        head=head,
    )


def _section(path: str, layers: tuple[Layer, ...]) -> Section:
    return Section(
        path=path,
        output_shape=layers[-1].output_shape,
        parameters=sum(layer.parameters for layer in layers),
        macs=sum(layer.macs for layer in layers),
        layers=layers,
    )


def _stem(walk: Walk, architecture: Architecture) -> Section:
    width, bias = architecture.width, architecture.bias
    match architecture.stem:
        case "standard" | "small" if architecture.is_preactivated:
            _first_conv(walk, architecture, "stem.conv")
        case "standard" | "small":
            _first_conv(walk, architecture, "conv1", bias=bias).norm("bn1").relu("relu")
        case "bare":
            walk.conv("conv1", width, 3, bias=True).relu("relu")
        case "flatten":
            walk.flatten("fc_in.flatten").linear("fc_in.linear", width).relu("relu")
    if architecture.stem == "standard":
        walk.max_pool("stem.pool" if architecture.is_preactivated else "maxpool", 3, 2)
    return _section("stem", walk.take())


def _first_conv(walk: Walk, architecture: Architecture, path: str, *, bias: bool = False) -> Walk:
    kernel, stride = (7, 2) if architecture.stem == "standard" else (3, 1)
    return walk.conv(path, architecture.width, kernel, stride, bias=bias)


def _block(walk: Walk, plan: BlockPlan) -> Block:
    """Walk the branch, then the shortcut; torch may run them the other way, at the same cost."""
    entered = walk.view
    match plan.kind:
        case "basic":
            _basic(walk, plan)
        case "bottleneck":
            _bottleneck(walk, plan)
        case "preact_basic" | "preact_bottleneck":
            entered = _preactivated(walk, plan)
        case "bare":
            _bare(walk, plan)
        case "linear":
            path = plan.path
            walk.linear(f"{path}.fc1", plan.channels).relu(f"{path}.relu")
            walk.linear(f"{path}.fc2", plan.out_channels)
    _join(walk, plan, entered)
    if plan.kind in ("basic", "bottleneck", "linear"):
        walk.relu(f"{plan.path}.relu")
    section = _section(plan.path, walk.take())
    return Block(**dict(section), kind=plan.kind, shortcut=plan.shortcut)


def _basic(walk: Walk, plan: BlockPlan) -> None:
    path, bias = plan.path, plan.bias
    walk.conv(f"{path}.conv1", plan.channels, 3, plan.stride, bias=bias)
    walk.norm(f"{path}.bn1").relu(f"{path}.relu")
    walk.conv(f"{path}.conv2", plan.channels, 3, bias=bias).norm(f"{path}.bn2")
    if plan.squeeze:
        walk.squeeze_excite(f"{path}.se", plan.squeeze)


def _bottleneck(walk: Walk, plan: BlockPlan) -> None:
    path, bias, waist = plan.path, plan.bias, plan.waist or plan.channels
    walk.conv(f"{path}.conv1", waist, 1, bias=bias).norm(f"{path}.bn1").relu(f"{path}.relu")
    walk.conv(f"{path}.conv2", waist, 3, plan.stride, groups=plan.groups, bias=bias)
    walk.norm(f"{path}.bn2").relu(f"{path}.relu")
    walk.conv(f"{path}.conv3", plan.out_channels, 1, bias=bias).norm(f"{path}.bn3")
    if plan.squeeze:
        walk.squeeze_excite(f"{path}.se", plan.squeeze)


def _preactivated(walk: Walk, plan: BlockPlan) -> View:
    """Walk the branch; give what a projection reads: the input after norm and ReLU."""
    path, stride = plan.path, plan.stride
    activated = walk.norm(f"{path}.norm1").relu(f"{path}.relu").view
    if plan.kind == "preact_basic":
        walk.conv(f"{path}.conv1", plan.channels, 3, stride)
        walk.norm(f"{path}.norm2").relu(f"{path}.relu")
        walk.conv(f"{path}.conv2", plan.out_channels, 3)
    else:
        walk.conv(f"{path}.conv1", plan.channels, 1)
        walk.norm(f"{path}.norm2").relu(f"{path}.relu")
        walk.conv(f"{path}.conv2", plan.channels, 3, stride)
        walk.norm(f"{path}.norm3").relu(f"{path}.relu")
        walk.conv(f"{path}.conv3", plan.out_channels, 1)
    return activated


def _bare(walk: Walk, plan: BlockPlan) -> None:
    path = plan.path
    for number in (1, 2):
        walk.conv(f"{path}.conv{number}", plan.channels, 3, bias=True).relu(f"{path}.relu")
    if plan.stride > 1:
        walk.max_pool(f"{path}.pool", plan.stride, plan.stride)


def _join(walk: Walk, plan: BlockPlan, entered: View) -> None:
    """Walk the shortcut from where it leaves, and let both ways meet."""
    path, branch = plan.path, walk.view
    walk.view = entered
    match plan.shortcut:
        case "projection":
            _projection(walk, plan)
        case "padding":
            walk.pad(f"{path}.downsample", plan.out_channels, plan.stride)
        case "concat" if plan.stride > 1:
            walk.pad(f"{path}.downsample", plan.in_channels, plan.stride)
        case _:
            pass
    shortcut, walk.view = walk.view, branch
    if plan.shortcut == "concat":
        walk.concat(f"{path}.join.concat", shortcut)
        walk.conv(f"{path}.join.conv", plan.out_channels, 1).norm(f"{path}.join.bn")
    elif plan.shortcut != "none":
        walk.add(f"{path}.add", shortcut)


def _projection(walk: Walk, plan: BlockPlan) -> None:
    path = f"{plan.path}.downsample"
    if plan.kind in ("preact_basic", "preact_bottleneck"):
        walk.conv(f"{path}.conv", plan.out_channels, 1, plan.stride)
        return
    bias = plan.bias or plan.kind == "bare"
    walk.conv(f"{path}.0", plan.out_channels, 1, plan.stride, bias=bias)
    if plan.projection_norm and plan.kind != "bare":
        walk.norm(f"{path}.1")


def _stage(path: str, blocks: tuple[Block, ...]) -> Stage:
    return Stage(
        path=path,
        output_shape=blocks[-1].output_shape,
        parameters=sum(block.parameters for block in blocks),
        macs=sum(block.macs for block in blocks),
        blocks=blocks,
    )


def _head(walk: Walk, architecture: Architecture) -> Section:
    if architecture.is_preactivated:
        walk.norm("norm").relu("relu")
    if architecture.block != "linear":
        walk.average_pool("avgpool")
    if architecture.dropout:
        walk.dropout("dropout")
    walk.linear("head.fc" if architecture.is_preactivated else "fc", architecture.num_classes)
    return _section("head", walk.take())
