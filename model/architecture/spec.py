"""What a network is, before anything is built: the fields of an `Architecture`, and its plan.

`model.network.resnet` turns an `Architecture` into torch modules, `model.architecture.summary` into
shapes and costs by arithmetic, and an artifact's manifest carries it to the server. All three read
the same plan, `Architecture.stages`, so they cannot disagree about which block follows which.
`model.architecture.family` lists the members. No torch here: the server reads this module.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from model.architecture.plan import (
    EXPANSION,
    BlockKind,
    BlockPlan,
    ShortcutRule,
    StagePlan,
    StemKind,
)
from model.limits import Channels, Depths, ImageSize
from model.printable import Text
from model.validation import first_fault

OPTIONS: Mapping[BlockKind, frozenset[str]] = MappingProxyType(
    {
        "basic": frozenset({"shortcuts", "squeeze", "bias", "projection_norm"}),
        "bottleneck": frozenset(
            {"shortcuts", "squeeze", "bias", "projection_norm", "groups", "width_per_group"}
        ),
        "preact_basic": frozenset(),
        "preact_bottleneck": frozenset(),
        "bare": frozenset(),
        "linear": frozenset(),
    }
)
"""Which fields of `Architecture` a block understands; the others must keep their defaults."""


class Architecture(BaseModel):
    """A named specification of a residual network; a field that is not set is He et al.'s."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: Text
    block: BlockKind
    depths: Depths = Field(min_length=1, description="Blocks in each stage.")
    width: Channels = Field(64, description="Channels of stage 1; they double per stage.")
    stem: StemKind = Field(
        "standard",
        description="`standard`: 7x7 stride 2 and 3x3 max pool, for images of about 224 pixels; "
        "`small`: 3x3 stride 1, for 28 to 64; `bare`: the same without a norm; `flatten`: a "
        "linear layer over all pixels.",
    )
    shortcuts: ShortcutRule = Field(
        "projection",
        description="`padding`, `projection`, `always_projection`: options A, B, C of He et al.; "
        "`concat`: beside the branch, not added to it; `none`: a plain network.",
    )
    groups: Channels = Field(1, description="Of each 3x3 convolution (ResNeXt).")
    width_per_group: Channels = Field(64, description="Channels of a group where width is 64.")
    squeeze: Channels | None = Field(
        None, description="Squeeze-and-excitation: channels over its inner channels."
    )
    bias: bool = Field(False, description="Whether convolutions have biases.")
    projection_norm: bool = Field(True, description="Whether a projection ends in a norm.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Share dropped before the linear head.")
    size: ImageSize | None = Field(None, description="Of its images; None: what its stem says.")
    in_channels: Literal[1, 3] = 3
    num_classes: int = Field(1000, ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _is_buildable(self) -> Self:
        defaults = type(self).model_fields
        for field in sorted(OPTIONS["bottleneck"] - OPTIONS[self.block]):
            value = getattr(self, field)
            if value != defaults[field].default:
                raise ValueError(f"`{field}` (={value!r}) must not be set for {self.block} blocks.")
        if (self.block == "linear") != (self.stem == "flatten"):
            raise ValueError(f"`stem` (={self.stem!r}) must be 'flatten' for linear blocks alone.")
        if self.width * self.width_per_group < 64:
            raise ValueError(
                f"`width_per_group` (={self.width_per_group}) must leave a group at least one "
                f"channel: 64 / `width` (={self.width}) or more."
            )
        if self.block == "linear" and (len(self.depths) != 1 or self.size is None):
            raise ValueError("`depths` must have one stage and `size` be set for linear blocks.")
        return self

    @property
    def image_size(self) -> int:
        """Side of the images that the network is made for, in pixels."""
        return self.size or (224 if self.stem == "standard" else 28)

    @property
    def is_preactivated(self) -> bool:
        """Whether norm and ReLU come before each convolution (He et al., 2016)."""
        return self.block in ("preact_basic", "preact_bottleneck")

    @property
    def expansion(self) -> int:
        """Output channels of each block as a multiple of the stage's channels."""
        return EXPANSION[self.block]

    @property
    def feature_channels(self) -> int:
        """Channels that reach the head."""
        return self.stages[-1].blocks[-1].out_channels

    @property
    def stages(self) -> tuple[StagePlan, ...]:
        """The plan of the residual part, in the order in which an image passes."""
        stages = []
        in_channels = self.width
        for stage, depth in enumerate(self.depths):
            path = f"stages.{stage}" if self.is_preactivated else f"layer{stage + 1}"
            blocks = []
            for index in range(depth):
                blocks.append(self._block(stage, index, in_channels))
                in_channels = blocks[-1].out_channels
            stages.append(StagePlan(path, tuple(blocks)))
        return tuple(stages)

    def _block(self, stage: int, index: int, in_channels: int) -> BlockPlan:
        folder = f"stages.{stage}.blocks" if self.is_preactivated else f"layer{stage + 1}"
        channels = self.width * 2**stage
        out_channels = channels * self.expansion
        return BlockPlan(
            path=f"{folder}.{index}",
            kind=self.block,
            in_channels=in_channels,
            channels=channels,
            out_channels=out_channels,
            stride=2 if stage > 0 and index == 0 else 1,
            mid_channels=channels * self.width_per_group // 64 * self.groups,
            groups=self.groups,
            squeeze=_squeezed(out_channels, self.squeeze) if self.squeeze else 0,
            bias=self.bias,
            projection_norm=self.projection_norm,
            rule=self.shortcuts,
        )


def _squeezed(channels: int, reduction: int) -> int:
    """Channels inside squeeze-and-excitation: a multiple of 8, as in timm."""
    return max(8, (channels // reduction + 4) // 8 * 8)


def checked_architecture(fields: Mapping[str, Any]) -> Architecture:
    """Make a specification of fields that came from a user or a file.

    Raises:
        ValueError: If it cannot be built; in one line, naming the field and what was seen.
    """
    try:
        return Architecture.model_validate(fields)
    except ValidationError as error:
        raise ValueError(str(first_fault(error))) from None
