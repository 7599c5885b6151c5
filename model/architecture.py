"""The ResNet family as data: what a network is, before anything is built.

`model.network` turns an `Architecture` into torch modules, `model.summary` into
shapes and costs by arithmetic, and an artifact's manifest carries it to the server.
All three walk the same plan, `Architecture.stages`, so they cannot disagree about
which block follows which. No torch here: the server reads this module.

Adding a member of the family is adding one entry to `ARCHITECTURES`.

Source:
    He et al., "Deep Residual Learning for Image Recognition", 2015 (arXiv 1512.03385);
    the stride on the 3x3 convolution of a bottleneck is torchvision's "V1.5".
"""

import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

BlockKind = Literal["basic", "bottleneck"]
ShortcutKind = Literal["identity", "projection"]
StemKind = Literal["standard", "small"]

EXPANSION: Mapping[BlockKind, int] = MappingProxyType({"basic": 1, "bottleneck": 4})
"""Output channels of a block as a multiple of its inner channels."""


class BlockPlan(NamedTuple):
    """One residual block: where it sits, what goes in, what comes out."""

    path: str
    kind: BlockKind
    in_channels: int
    channels: int
    out_channels: int
    stride: int

    @property
    def shortcut(self) -> ShortcutKind:
        """A projection where the shape changes, the identity elsewhere (He et al., option B)."""
        unchanged = self.stride == 1 and self.in_channels == self.out_channels
        return "identity" if unchanged else "projection"


class StagePlan(NamedTuple):
    """A run of blocks at one picture size and width."""

    path: str
    blocks: tuple[BlockPlan, ...]


class Architecture(BaseModel):
    """A named specification of a residual network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    block: BlockKind
    depths: tuple[int, ...] = Field(min_length=1, description="Blocks in each stage.")
    width: int = Field(64, ge=1, description="Inner channels of stage 1; they double per stage.")
    stem: StemKind = Field(
        "standard",
        description="`standard`: 7x7 stride 2 and 3x3 max pool, for pictures of about 224 pixels; "
        "`small`: 3x3 stride 1, for 28 to 64.",
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="Share dropped before the linear head.")
    in_channels: Literal[1, 3] = 3
    num_classes: int = Field(1000, ge=1)

    @property
    def expansion(self) -> int:
        """Output channels of each block as a multiple of its inner channels."""
        return EXPANSION[self.block]

    @property
    def feature_channels(self) -> int:
        """Channels that reach the head."""
        return self.stages[-1].blocks[-1].out_channels

    @property
    def stages(self) -> tuple[StagePlan, ...]:
        """The plan of the residual part, in the order in which a picture passes."""
        stages = []
        in_channels = self.width
        for stage, depth in enumerate(self.depths):
            channels = self.width * 2**stage
            blocks = []
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                path = f"layer{stage + 1}.{index}"
                out_channels = channels * self.expansion
                blocks.append(
                    BlockPlan(path, self.block, in_channels, channels, out_channels, stride)
                )
                in_channels = out_channels
            stages.append(StagePlan(f"layer{stage + 1}", tuple(blocks)))
        return tuple(stages)


ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            Architecture(
                name="mini_resnet",
                block="basic",
                depths=(2, 2, 2),
                width=32,
                stem="small",
                dropout=0.3,
                in_channels=1,
                num_classes=10,
            ),
            Architecture(name="resnet18", block="basic", depths=(2, 2, 2, 2)),
            Architecture(name="resnet34", block="basic", depths=(3, 4, 6, 3)),
            Architecture(name="resnet50", block="bottleneck", depths=(3, 4, 6, 3)),
            Architecture(name="resnet101", block="bottleneck", depths=(3, 4, 23, 3)),
            Architecture(name="resnet152", block="bottleneck", depths=(3, 8, 36, 3)),
        )
    }
)
"""Each member with the input and the labels it was published for."""


def get_architecture(
    name: str,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    stem: StemKind | None = None,
) -> Architecture:
    """Look a member of the family up, and fit it to other labels, channels or picture sizes.

    Raises:
        ValueError: If there is no such member, or a value is out of its range
            (pydantic's `ValidationError` is a `ValueError`).
    """
    if name not in ARCHITECTURES:
        close = difflib.get_close_matches(name, ARCHITECTURES, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"`name` (={name!r}) must be one of {', '.join(ARCHITECTURES)}.{hint}")
    changes: dict[str, Any] = {"num_classes": num_classes, "in_channels": in_channels, "stem": stem}
    given = {field: value for field, value in changes.items() if value is not None}
    return Architecture.model_validate({**ARCHITECTURES[name].model_dump(), **given})
