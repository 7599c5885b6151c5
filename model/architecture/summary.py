"""What a network costs, layer by layer, by arithmetic alone.

`summarize` follows the plan of an `Architecture` and records each layer's output shape,
parameters and multiply-adds. The trainer stores the result in
the manifest, `GET /architecture` answers with it, `describe-model` prints it. No torch:
the tests compare it with the torch network, layer by layer.

Multiply-adds (MACs) are those of convolutions and linear layers for one image, as
torchvision and timm count them; they print the figure as "GFLOPS".
"""

from model.architecture.layers import Block, Layer, Section, Stage, Summary
from model.architecture.plan import BlockPlan
from model.architecture.shape_trace import Cursor, ShapeTracer
from model.architecture.spec import Architecture

__all__ = ["Block", "Layer", "Section", "Stage", "Summary", "summarize"]


def summarize(architecture: Architecture, height: int, width: int) -> Summary:
    """Count every layer's output shape, parameters and multiply-adds.

    Args:
        architecture: The network.
        height: Of the image, in pixels.
        width: Of the image, in pixels.

    Raises:
        ValueError: If a side is under one pixel, or not the one that an MLP is made for.
    """
    if height < 1 or width < 1:
        raise ValueError(f"`height`, `width` (={height}, {width}) must be at least 1 pixel.")
    side = architecture.image_size
    if architecture.block == "linear" and (height, width) != (side, side):
        raise ValueError(
            f"`height`, `width` (={height}, {width}) must be {side}: {architecture.name} reads "
            "all pixels of an image at once."
        )
    tracer = ShapeTracer((architecture.in_channels, height, width))
    stem = _stem(tracer, architecture)
    stages = tuple(
        _stage(plan.path, tuple(_block(tracer, block) for block in plan.blocks))
        for plan in architecture.stages
    )
    head = _head(tracer, architecture)
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


def _stem(tracer: ShapeTracer, architecture: Architecture) -> Section:
    width, bias = architecture.width, architecture.bias
    match architecture.stem:
        case "standard" | "small" if architecture.is_preactivated:
            _first_conv(tracer, architecture, "stem.conv")
        case "standard" | "small":
            _first_conv(tracer, architecture, "conv1", bias=bias).norm("bn1").relu("relu")
        case "bare":
            tracer.conv("conv1", width, 3, bias=True).relu("relu")
        case "flatten":
            tracer.flatten("fc_in.flatten").linear("fc_in.linear", width).relu("relu")
    if architecture.stem == "standard":
        tracer.max_pool("stem.pool" if architecture.is_preactivated else "maxpool", 3, 2)
    return _section("stem", tracer.collect())


def _first_conv(
    tracer: ShapeTracer, architecture: Architecture, path: str, *, bias: bool = False
) -> ShapeTracer:
    kernel, stride = (7, 2) if architecture.stem == "standard" else (3, 1)
    return tracer.conv(path, architecture.width, kernel, stride, bias=bias)


def _block(tracer: ShapeTracer, plan: BlockPlan) -> Block:
    """Trace the branch, then the shortcut; torch may run them the other way, at the same cost."""
    entered = tracer.cursor
    match plan.kind:
        case "basic":
            _basic(tracer, plan)
        case "bottleneck":
            _bottleneck(tracer, plan)
        case "preact_basic" | "preact_bottleneck":
            entered = _preactivated(tracer, plan)
        case "bare":
            _bare(tracer, plan)
        case "linear":
            path = plan.path
            tracer.linear(f"{path}.fc1", plan.channels).relu(f"{path}.relu")
            tracer.linear(f"{path}.fc2", plan.out_channels)
    _merge(tracer, plan, entered)
    if plan.kind in ("basic", "bottleneck", "linear"):
        tracer.relu(f"{plan.path}.relu")
    section = _section(plan.path, tracer.collect())
    return Block(**dict(section), kind=plan.kind, shortcut=plan.shortcut)


def _basic(tracer: ShapeTracer, plan: BlockPlan) -> None:
    path, bias = plan.path, plan.bias
    tracer.conv(f"{path}.conv1", plan.channels, 3, plan.stride, bias=bias)
    tracer.norm(f"{path}.bn1").relu(f"{path}.relu")
    tracer.conv(f"{path}.conv2", plan.channels, 3, bias=bias).norm(f"{path}.bn2")
    if plan.squeeze:
        tracer.squeeze_excite(f"{path}.se", plan.squeeze)


def _bottleneck(tracer: ShapeTracer, plan: BlockPlan) -> None:
    path, bias, mid_channels = plan.path, plan.bias, plan.mid_channels or plan.channels
    tracer.conv(f"{path}.conv1", mid_channels, 1, bias=bias)
    tracer.norm(f"{path}.bn1").relu(f"{path}.relu")
    tracer.conv(f"{path}.conv2", mid_channels, 3, plan.stride, groups=plan.groups, bias=bias)
    tracer.norm(f"{path}.bn2").relu(f"{path}.relu")
    tracer.conv(f"{path}.conv3", plan.out_channels, 1, bias=bias).norm(f"{path}.bn3")
    if plan.squeeze:
        tracer.squeeze_excite(f"{path}.se", plan.squeeze)


def _preactivated(tracer: ShapeTracer, plan: BlockPlan) -> Cursor:
    """Trace the branch; give what a projection reads: the input after norm and ReLU."""
    path, stride = plan.path, plan.stride
    activated = tracer.norm(f"{path}.norm1").relu(f"{path}.relu").cursor
    if plan.kind == "preact_basic":
        tracer.conv(f"{path}.conv1", plan.channels, 3, stride)
        tracer.norm(f"{path}.norm2").relu(f"{path}.relu")
        tracer.conv(f"{path}.conv2", plan.out_channels, 3)
    else:
        tracer.conv(f"{path}.conv1", plan.channels, 1)
        tracer.norm(f"{path}.norm2").relu(f"{path}.relu")
        tracer.conv(f"{path}.conv2", plan.channels, 3, stride)
        tracer.norm(f"{path}.norm3").relu(f"{path}.relu")
        tracer.conv(f"{path}.conv3", plan.out_channels, 1)
    return activated


def _bare(tracer: ShapeTracer, plan: BlockPlan) -> None:
    path = plan.path
    for number in (1, 2):
        tracer.conv(f"{path}.conv{number}", plan.channels, 3, bias=True).relu(f"{path}.relu")
    if plan.stride > 1:
        tracer.max_pool(f"{path}.pool", plan.stride, plan.stride)


def _merge(tracer: ShapeTracer, plan: BlockPlan, entered: Cursor) -> None:
    """Trace the shortcut from where it leaves, then where it meets the branch."""
    path, branch = plan.path, tracer.cursor
    tracer.cursor = entered
    match plan.shortcut:
        case "projection":
            _projection(tracer, plan)
        case "padding":
            tracer.pad(f"{path}.downsample", plan.out_channels, plan.stride)
        case "concat" if plan.stride > 1:
            tracer.pad(f"{path}.downsample", plan.in_channels, plan.stride)
        case _:
            pass
    shortcut, tracer.cursor = tracer.cursor, branch
    if plan.shortcut == "concat":
        tracer.concat(f"{path}.join.concat", shortcut)
        tracer.conv(f"{path}.join.conv", plan.out_channels, 1).norm(f"{path}.join.bn")
    elif plan.shortcut != "none":
        tracer.add(f"{path}.add", shortcut)


def _projection(tracer: ShapeTracer, plan: BlockPlan) -> None:
    path = f"{plan.path}.downsample"
    if plan.kind in ("preact_basic", "preact_bottleneck"):
        tracer.conv(f"{path}.conv", plan.out_channels, 1, plan.stride)
        return
    bias = plan.bias or plan.kind == "bare"
    tracer.conv(f"{path}.0", plan.out_channels, 1, plan.stride, bias=bias)
    if plan.projection_norm and plan.kind != "bare":
        tracer.norm(f"{path}.1")


def _stage(path: str, blocks: tuple[Block, ...]) -> Stage:
    return Stage(
        path=path,
        output_shape=blocks[-1].output_shape,
        parameters=sum(block.parameters for block in blocks),
        macs=sum(block.macs for block in blocks),
        blocks=blocks,
    )


def _head(tracer: ShapeTracer, architecture: Architecture) -> Section:
    if architecture.is_preactivated:
        tracer.norm("norm").relu("relu")
    if architecture.block != "linear":
        tracer.average_pool("avgpool")
    if architecture.dropout:
        tracer.dropout("dropout")
    tracer.linear("head.fc" if architecture.is_preactivated else "fc", architecture.num_classes)
    return _section("head", tracer.collect())
