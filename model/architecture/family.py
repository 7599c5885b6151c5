"""The members of the ResNet family, as data.

A member is one entry: a name, and what differs from He et al., 2015. No torch here.

Source:
    resnet18 to 152, and 20 to 110 for 32 x 32 images: He et al., 2015 (arXiv 1512.03385),
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
from typing import Any

from model.architecture.plan import ShortcutRule, StemKind
from model.architecture.spec import Architecture, checked_architecture

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

MAX_SMALL_IMAGE = 64
"""Pixels up to which a stem that does not shrink its input is worth its cost. At 224 it would take
thirteen times the multiply-adds of the standard one, and 28 GB for a batch of 512."""

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
    """Look a member of the family up, and fit it to other labels, channels or image sizes.

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


def stem_for(member: Architecture, image_size: int) -> StemKind:
    """Choose the stem with which a member is trained from scratch on images of a size, in pixels.

    Those that have neither of the two usual stems keep their own.
    """
    if member.stem not in ("small", "standard"):
        return member.stem
    return "small" if image_size <= MAX_SMALL_IMAGE else "standard"
