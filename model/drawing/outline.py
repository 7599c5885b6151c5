"""A network as a list of rows to read downwards: what `model.drawing.svg` draws.

Equal blocks in a row are folded into a pile, a norm and an activation belong to the layer
before them. No torch here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from model.architecture.layers import Block, Layer, Section, Shape, Stage, Summary
from model.architecture.plan import BlockKind, ShortcutKind

RowKind = Literal["input", "heading", "layer", "block", "output"]

BLOCK_NAMES: dict[BlockKind, str] = {
    "basic": "Basic block",
    "bottleneck": "Bottleneck",
    "preact_basic": "Pre-activated block",
    "preact_bottleneck": "Pre-activated bottleneck",
    "bare": "Bare block",
    "linear": "Linear block",
}
PILE = 3
"""Blocks alike in a row, from which on they are drawn once."""


@dataclass(frozen=True)
class Row:
    """One line of the drawing.

    Attributes:
        kind: Of the row.
        path: Name of the weights; empty where there are none.
        title: What it is, in words.
        shape: (C, H, W) or (K,) that leaves.
        parameters: Of all that the row stands for.
        macs: Likewise, multiply-adds.
        glyph: What stands in the box: kernel sizes, or the layer's kind.
        layer: Kind of the layer, for its colour.
        ends: Norm and activation after it.
        shortcut: Of a block.
        shortcut_label: What the shortcut passes through.
        count: Blocks that the row stands for.
    """

    kind: RowKind
    path: str
    title: str
    shape: Shape
    parameters: int = 0
    macs: int = 0
    glyph: str = ""
    layer: str = "conv"
    ends: tuple[str, ...] = ()
    shortcut: ShortcutKind = "none"
    shortcut_label: str = ""
    count: int = 1


def outline(summary: Summary) -> list[Row]:
    """List everything from the image to the logits."""
    rows = [Row("input", "", "Input image", summary.input_shape)]
    rows += _section("Stem", summary.stem)
    entered = summary.stem.output_shape
    for number, stage in enumerate(summary.stages, 1):
        rows.append(_heading(f"Stage {number} · {_count(len(stage.blocks))}", stage, stage.path))
        rows += _blocks(stage, entered)
        entered = stage.output_shape
    rows += _section("Head", summary.head)
    return [*rows, Row("output", "", "One logit per label", summary.head.output_shape)]


def _count(blocks: int) -> str:
    return "1 block" if blocks == 1 else f"{blocks} blocks"


def _heading(title: str, part: Section | Stage, path: str) -> Row:
    return Row("heading", path, title, part.output_shape, part.parameters, part.macs)


def _section(title: str, section: Section) -> Iterator[Row]:
    yield _heading(title, section, "")
    group: list[Layer] = []
    for layer in section.layers:
        if group and layer.kind not in ("norm", "activation"):
            yield _layers(group)
            group = []
        group.append(layer)
    yield _layers(group)


def _layers(group: list[Layer]) -> Row:
    first, *ends = group
    described = [_describe(layer) for layer in group]
    return Row(
        kind="layer",
        path="" if first.kind in ("flatten", "dropout", "pool") else first.path,
        title=" · ".join(described),
        shape=group[-1].output_shape,
        parameters=sum(layer.parameters for layer in group),
        macs=sum(layer.macs for layer in group),
        glyph=f"{first.kernel}×{first.kernel}" if first.kind == "conv" else first.kind,
        layer=first.kind,
        ends=tuple(layer.kind for layer in ends),
    )


def _describe(layer: Layer) -> str:
    match layer.kind:
        case "conv":
            stride = f", stride {layer.stride}" if layer.stride and layer.stride > 1 else ""
            return f"conv {layer.kernel}×{layer.kernel}{stride}"
        case "norm":
            return "batch norm"
        case "activation":
            return "ReLU"
        case "pool" if layer.kernel:
            return f"max pool {layer.kernel}×{layer.kernel}, stride {layer.stride}"
        case "pool":
            return "global average pool"
        case kind:
            return kind


def _blocks(stage: Stage, entered: Shape) -> Iterator[Row]:
    """Fold each run of equal blocks; one that changes the shape stands alone."""
    run: list[Block] = []
    into = entered
    for block in (*stage.blocks, None):
        if block is not None and (not run or _is_like(run[-1], block, into)):
            run.append(block)
            continue
        yield from _run(run, into)
        into = run[-1].output_shape
        run = [] if block is None else [block]


def _is_like(one: Block, other: Block, into: Shape) -> bool:
    """Whether two neighbours can are in one pile; the first must not change the shape."""
    keeps = into == one.output_shape == other.output_shape
    same = (one.kind, one.shortcut, one.parameters, one.macs) == (
        other.kind,
        other.shortcut,
        other.parameters,
        other.macs,
    )
    return keeps and same


def _run(run: list[Block], into: Shape) -> Iterator[Row]:
    if len(run) >= PILE:
        yield _block(run, into)
        return
    for block in run:
        yield _block([block], into)
        into = block.output_shape


def _block(run: list[Block], into: Shape) -> Row:
    first = run[0]
    branch = [layer for layer in first.layers if _is_branch(first, layer)]
    title = BLOCK_NAMES[first.kind]
    groups = max((layer.groups or 1 for layer in branch), default=1)
    if groups > 1:
        title += f", {groups} groups"
    if any(layer.kind == "scale" for layer in first.layers):
        title += ", squeeze-excite"
    if len(into) == 3 and into[1:] != first.output_shape[1:]:
        title += ", halves the image"
    if len(run) > 1:
        title += f" × {len(run)}, all alike"
    tail = f" … {run[-1].path.rpartition('.')[2]}" if len(run) > 1 else ""
    kernels = [str(layer.kernel) if layer.kind == "conv" else "fc" for layer in branch]
    return Row(
        kind="block",
        path=first.path + tail,
        title=title,
        shape=first.output_shape,
        parameters=sum(block.parameters for block in run),
        macs=sum(block.macs for block in run),
        glyph=f"×{len(run)}" if len(run) > 1 else "·".join(kernels),
        layer="linear" if first.kind == "linear" else "conv",
        shortcut=first.shortcut,
        shortcut_label=_shortcut_label(first),
        count=len(run),
    )


def _is_branch(block: Block, layer: Layer) -> bool:
    """Whether a layer is one of the branch's own convolutions or linear layers."""
    inside = layer.path.removeprefix(f"{block.path}.")
    return layer.kind in ("conv", "linear") and not inside.startswith(("downsample", "se.", "join"))


def _shortcut_label(block: Block) -> str:
    """Say what the shortcut passes through, as `1×1 /2`; nothing for the identity."""
    ways = [layer for layer in block.layers if ".downsample" in layer.path]
    stride = next((layer.stride or 1 for layer in ways), 1)
    halved = f" /{stride}" if stride > 1 else ""
    match block.shortcut:
        case "projection":
            return f"1×1{halved}"
        case "padding":
            return f"pad{halved}"
        case "concat":
            return f"concat{halved}"
        case _:
            return ""
