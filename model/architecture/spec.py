"""The ResNet family as data: what a network is, before anything is built.

`model.network.resnet` turns an `Architecture` into torch modules, `model.architecture.summary` into
shapes and costs by arithmetic, and an artifact's manifest carries it to the server.
All three walk the same plan, `Architecture.stages`, so they cannot disagree about
which block follows which. No torch here: the server reads this module. A new member is
one more entry in `ARCHITECTURES`; what it does not say is as in He et al., 2015.

Source:
    resnet18 to 152, and 20 to 110 for 32 x 32 pictures: He et al., 2015 (arXiv 1512.03385),
    with the stride on the 3x3 convolution of a bottleneck, torchvision's "V1.5";
    resnextDD_GxW: Xie et al., 2016 (arXiv 1611.05431);
    wide_resnetDD_2: Zagoruyko and Komodakis, 2016 (arXiv 1605.07146), as in torchvision;
    seresnetDD: Hu et al., 2017 (arXiv 1709.01507), as in timm;
    resnetv2_DD: He et al., 2016 (arXiv 1603.05027), as in timm;
    resnet18_d2l: Zhang et al., "Dive into Deep Learning", section 8.6;
    keras_identity, keras_projection: the two bare blocks of Keras tutorials.
"""

import difflib
from collections.abc import Mapping
from functools import partial
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
from model.limits import Channels, Depths, Side
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
        description="`standard`: 7x7 stride 2 and 3x3 max pool, for pictures of about 224 pixels; "
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
    size: Side | None = Field(None, description="Of its pictures; None: what its stem says.")
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
    def side(self) -> int:
        """Side of the pictures that the network is made for, in pixels."""
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
        """The plan of the residual part, in the order in which a picture passes."""
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
            waist=channels * self.width_per_group // 64 * self.groups,
            groups=self.groups,
            squeeze=_squeezed(out_channels, self.squeeze) if self.squeeze else 0,
            bias=self.bias,
            projection_norm=self.projection_norm,
            rule=self.shortcuts,
        )


def _squeezed(channels: int, reduction: int) -> int:
    """Channels inside squeeze-and-excitation: a multiple of 8, as in timm."""
    return max(8, (channels // reduction + 4) // 8 * 8)


_18, _34_50, _101, _152 = (2, 2, 2, 2), (3, 4, 6, 3), (3, 4, 23, 3), (3, 8, 36, 3)

_basic = partial(Architecture, block="basic")
_bottleneck = partial(Architecture, block="bottleneck")
_preact_basic = partial(Architecture, block="preact_basic")
_preact_bottleneck = partial(Architecture, block="preact_bottleneck")
_small: dict[str, Any] = {"stem": "small", "num_classes": 10}
_cifar = partial(_basic, width=16, size=32, **_small)
_bare = partial(Architecture, block="bare", stem="bare", size=32, num_classes=10)

_MEMBERS = (
    _basic(name="mini_resnet", depths=(2, 2, 2), width=32, dropout=0.3, in_channels=1, **_small),
    _basic(name="resnet18", depths=_18),
    _basic(name="resnet34", depths=_34_50),
    _bottleneck(name="resnet50", depths=_34_50),
    _bottleneck(name="resnet101", depths=_101),
    _bottleneck(name="resnet152", depths=_152),
    _bottleneck(name="resnext50_32x4d", depths=_34_50, groups=32, width_per_group=4),
    _bottleneck(name="resnext101_32x8d", depths=_101, groups=32, width_per_group=8),
    _bottleneck(name="wide_resnet50_2", depths=_34_50, width_per_group=128),
    _bottleneck(name="wide_resnet101_2", depths=_101, width_per_group=128),
    _basic(name="seresnet18", depths=_18, squeeze=16),
    _basic(name="seresnet34", depths=_34_50, squeeze=16),
    _bottleneck(name="seresnet50", depths=_34_50, squeeze=16),
    _preact_basic(name="resnetv2_18", depths=_18),
    _preact_basic(name="resnetv2_34", depths=_34_50),
    _preact_bottleneck(name="resnetv2_50", depths=_34_50),
    _preact_bottleneck(name="resnetv2_101", depths=_101),
    _basic(
        name="resnet18_d2l",
        depths=_18,
        bias=True,
        projection_norm=False,
        size=96,
        in_channels=1,
        num_classes=10,
    ),
    *(
        _cifar(name=f"resnet{6 * blocks + 2}{suffix}", depths=(blocks,) * 3, shortcuts=rule)
        for rule, suffix in (("padding", ""), ("projection", "_b"))
        for blocks in (3, 5, 7, 9, 18)
    ),
    _bare(name="keras_identity", depths=(1,), width=256),
    _bare(name="keras_projection", depths=(1, 1), width=128),
    Architecture(
        name="residual_mlp",
        block="linear",
        depths=(4,),
        width=256,
        stem="flatten",
        size=28,
        in_channels=1,
        num_classes=10,
    ),
)

ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType({spec.name: spec for spec in _MEMBERS})
"""Each member by name."""


def get_architecture(  # noqa: PLR0913  # each may be fitted alone
    name: str,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    stem: StemKind | None = None,
    size: int | None = None,
    shortcuts: ShortcutRule | None = None,
) -> Architecture:
    """Look a member of the family up, and fit it to other labels, channels or picture sizes.

    Raises:
        ValueError: If there is no such member, or a value is out of its range.
    """
    if name not in ARCHITECTURES:
        close = difflib.get_close_matches(name, ARCHITECTURES, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"`name` (={name!r}) must be one of {', '.join(ARCHITECTURES)}.{hint}")
    heads = {"num_classes": num_classes, "in_channels": in_channels}
    given = {**heads, "stem": stem, "size": size, "shortcuts": shortcuts}
    changes = {field: value for field, value in given.items() if value is not None}
    return checked_architecture(ARCHITECTURES[name].model_dump() | changes)


def checked_architecture(fields: Mapping[str, Any]) -> Architecture:
    """Make a specification of fields that came from a user or a file.

    Raises:
        ValueError: If it cannot be built; in one line, naming the field and what was seen.
    """
    try:
        return Architecture.model_validate(fields)
    except ValidationError as error:
        raise ValueError(str(first_fault(error))) from None
