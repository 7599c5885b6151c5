"""The rows of a network's table: layers, blocks, stages, with shapes and costs.

`model.architecture.summary` fills them, an artifact's manifest and `GET /architecture` carry them,
`model.drawing.svg` and `describe-model` show them. No torch here.
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from model.architecture.plan import BlockKind, ShortcutKind
from model.limits import Count
from model.printable import Text

LayerKind = Literal[
    "conv", "norm", "activation", "pool", "pad", "scale", "concat", "add",
    "flatten", "dropout", "linear",
]  # fmt: skip
Shape = tuple[Count, ...]


class Costed(BaseModel):
    """Something with a path in the network, an output shape and a cost."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Text = Field(description="Name of the weights, as in the checkpoint.")
    output_shape: Shape = Field(description="(C, H, W), or (K,) after pooling; for one image.")
    parameters: Count
    macs: Count = Field(description="Multiply-adds for one image.")


class Layer(Costed):
    """One operation."""

    kind: LayerKind
    kernel: Count | None = Field(None, description="Side of the window in pixels.")
    stride: Count | None = None
    groups: Count | None = Field(None, description="Of a convolution; None: one.")
    receptive_field: Count | None = Field(
        None, description="Side of the square of input pixels that one output sees; None: all."
    )


class Block(Costed):
    """One residual block: its branch, its shortcut and the addition."""

    kind: BlockKind
    shortcut: ShortcutKind
    layers: tuple[Layer, ...] = Field(min_length=1)


class Stage(Costed):
    """Blocks at one image size."""

    blocks: tuple[Block, ...]


class Section(Costed):
    """The stem or the head: layers without a shortcut."""

    layers: tuple[Layer, ...] = Field(min_length=1)


class Summary(BaseModel):
    """A network's shapes and costs, from the input to the logits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input_shape: Shape = Field(description="(C, H, W) of one image.")
    parameters: Count
    macs: Count
    stem: Section
    stages: tuple[Stage, ...]
    head: Section

    @property
    def receptive_field(self) -> int | None:
        """Side of the square of input pixels that one position of the last feature map sees."""
        fields = [layer.receptive_field for layer, _ in self.layers()]
        return max((field for field in fields if field is not None), default=None)

    def layers(self) -> Iterator[tuple[Layer, ShortcutKind | None]]:
        """Yield each layer in order, with the shortcut's kind beside the end of each block."""
        for layer in self.stem.layers:
            yield layer, None
        for stage in self.stages:
            for block in stage.blocks:
                for layer in block.layers:
                    yield layer, block.shortcut if layer is _joint(block) else None
        for layer in self.head.layers:
            yield layer, None


def _joint(block: Block) -> Layer:
    """The layer where branch and shortcut meet; the last one of a plain block."""
    joints = (layer for layer in block.layers if layer.kind in ("add", "concat"))
    return next(joints, block.layers[-1])
