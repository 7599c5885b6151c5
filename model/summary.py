"""What a network costs, layer by layer, by arithmetic alone.

`summarize` walks the plan of an `Architecture` as a picture would and notes each
layer's output shape, parameters and multiply-adds. The trainer stores the result in
the manifest, `GET /architecture` answers with it, `describe-model` prints it. No torch:
the tests hold it against the torch network, hook by hook.

Multiply-adds (MACs) are those of convolutions and linear layers for one picture, as
torchvision and timm count them; they print the figure as "GFLOPS".
"""

from collections.abc import Iterator
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from model.architecture import Architecture, BlockKind, BlockPlan, ShortcutKind

LayerKind = Literal["conv", "norm", "activation", "pool", "add", "dropout", "linear"]
Shape = tuple[int, ...]


class Costed(BaseModel):
    """Something with a path in the network, an output shape and a cost."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(description="Name of the weights, as in the checkpoint.")
    output_shape: Shape = Field(description="(C, H, W), or (K,) after pooling; for one picture.")
    parameters: int = Field(ge=0)
    macs: int = Field(ge=0, description="Multiply-adds for one picture.")


class Layer(Costed):
    """One operation."""

    kind: LayerKind
    kernel: int | None = Field(None, description="Side of the window in pixels.")
    stride: int | None = None


class Block(Costed):
    """One residual block: its branch, its shortcut and the addition."""

    kind: BlockKind
    shortcut: ShortcutKind
    layers: tuple[Layer, ...]


class Stage(Costed):
    """Blocks at one picture size."""

    blocks: tuple[Block, ...]


class Section(Costed):
    """The stem or the head: layers without a shortcut."""

    layers: tuple[Layer, ...]


class Summary(BaseModel):
    """A network's shapes and costs, from the input to the logits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input_shape: Shape = Field(description="(C, H, W) of one picture.")
    parameters: int
    macs: int
    stem: Section
    stages: tuple[Stage, ...]
    head: Section

    def layers(self) -> Iterator[tuple[Layer, ShortcutKind | None]]:
        """Yield each layer in order, with the shortcut's kind beside each addition."""
        for layer in self.stem.layers:
            yield layer, None
        for stage in self.stages:
            for block in stage.blocks:
                for layer in block.layers:
                    yield layer, block.shortcut if layer.kind == "add" else None
        for layer in self.head.layers:
            yield layer, None


class _Walk:
    """The picture's shape on its way, and the layers it has passed since the last `take`."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self._layers: list[Layer] = []

    def take(self) -> tuple[Layer, ...]:
        layers, self._layers = tuple(self._layers), []
        return layers

    def _note(  # noqa: PLR0913  # a layer has as many properties
        self,
        path: str,
        kind: LayerKind,
        parameters: int = 0,
        macs: int = 0,
        *,
        kernel: int | None = None,
        stride: int | None = None,
    ) -> Self:
        self._layers.append(
            Layer(
                path=path,
                kind=kind,
                output_shape=self.shape,
                parameters=parameters,
                macs=macs,
                kernel=kernel,
                stride=stride,
            )
        )
        return self

    def conv(self, path: str, out_channels: int, kernel: int, stride: int = 1) -> Self:
        in_channels, height, width = self.shape
        self.shape = (out_channels, _windows(height, stride), _windows(width, stride))
        weights = in_channels * out_channels * kernel * kernel
        macs = weights * self.shape[1] * self.shape[2]
        return self._note(path, "conv", weights, macs, kernel=kernel, stride=stride)

    def norm(self, path: str) -> Self:
        return self._note(path, "norm", 2 * self.shape[0])

    def relu(self, path: str) -> Self:
        return self._note(path, "activation")

    def max_pool(self, path: str, kernel: int, stride: int) -> Self:
        channels, height, width = self.shape
        self.shape = (channels, _windows(height, stride), _windows(width, stride))
        return self._note(path, "pool", kernel=kernel, stride=stride)

    def average_pool(self, path: str) -> Self:
        self.shape = self.shape[:1]
        return self._note(path, "pool")

    def dropout(self, path: str) -> Self:
        return self._note(path, "dropout")

    def linear(self, path: str, out_features: int) -> Self:
        in_features = self.shape[0]
        self.shape = (out_features,)
        macs = in_features * out_features
        return self._note(path, "linear", macs + out_features, macs)

    def add(self, path: str) -> Self:
        return self._note(path, "add")


def _windows(side: int, stride: int) -> int:
    """Positions of an odd window with symmetric padding (kernel // 2) along one side."""
    return (side - 1) // stride + 1


def summarize(architecture: Architecture, height: int, width: int) -> Summary:
    """Count every layer's output shape, parameters and multiply-adds.

    Args:
        architecture: The network.
        height: Of the picture, in pixels.
        width: Of the picture, in pixels.

    Raises:
        ValueError: If a side is under one pixel.
    """
    if height < 1 or width < 1:
        raise ValueError(f"`height`, `width` (={height}, {width}) must be at least 1 pixel.")
    walk = _Walk((architecture.in_channels, height, width))
    input_shape = walk.shape
    stem = _stem(walk, architecture)
    stages = tuple(
        _stage(plan.path, tuple(_block(walk, block) for block in plan.blocks))
        for plan in architecture.stages
    )
    head = _head(walk, architecture)
    parts = (stem, *stages, head)
    return Summary(
        input_shape=input_shape,
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


def _stem(walk: _Walk, architecture: Architecture) -> Section:
    if architecture.stem == "small":
        walk.conv("conv1", architecture.width, 3).norm("bn1").relu("relu")
    else:
        walk.conv("conv1", architecture.width, 7, 2).norm("bn1").relu("relu")
        walk.max_pool("maxpool", 3, 2)
    return _section("stem", walk.take())


def _block(walk: _Walk, plan: BlockPlan) -> Block:
    """Walk the branch, then the shortcut; torch runs the shortcut first, at the same cost."""
    entered = walk.shape
    path = plan.path
    if plan.kind == "basic":
        walk.conv(f"{path}.conv1", plan.channels, 3, plan.stride).norm(f"{path}.bn1")
        walk.relu(f"{path}.relu")
        walk.conv(f"{path}.conv2", plan.channels, 3).norm(f"{path}.bn2")
    else:
        walk.conv(f"{path}.conv1", plan.channels, 1).norm(f"{path}.bn1").relu(f"{path}.relu")
        walk.conv(f"{path}.conv2", plan.channels, 3, plan.stride).norm(f"{path}.bn2")
        walk.relu(f"{path}.relu")
        walk.conv(f"{path}.conv3", plan.out_channels, 1).norm(f"{path}.bn3")
    if plan.shortcut == "projection":
        walk.shape = entered
        walk.conv(f"{path}.downsample.0", plan.out_channels, 1, plan.stride)
        walk.norm(f"{path}.downsample.1")
    section = _section(path, walk.add(f"{path}.add").relu(f"{path}.relu").take())
    return Block(**dict(section), kind=plan.kind, shortcut=plan.shortcut)


def _stage(path: str, blocks: tuple[Block, ...]) -> Stage:
    return Stage(
        path=path,
        output_shape=blocks[-1].output_shape,
        parameters=sum(block.parameters for block in blocks),
        macs=sum(block.macs for block in blocks),
        blocks=blocks,
    )


def _head(walk: _Walk, architecture: Architecture) -> Section:
    walk.average_pool("avgpool")
    if architecture.dropout:
        walk.dropout("dropout")
    walk.linear("fc", architecture.num_classes)
    return _section("head", walk.take())
