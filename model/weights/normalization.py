"""Mean and standard deviation of the images that weights were trained on."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from model.architecture.spec import Architecture


class NormalizationError(ValueError):
    """A normalisation is none that is known, or not for the channels."""


class Normalization(NamedTuple):
    """Mean and standard deviation of the images that weights were trained on, in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


NORMALIZATIONS: Mapping[str, Normalization] = MappingProxyType(
    {
        "imagenet": Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        "cifar10": Normalization((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
        "half": Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    }
)
"""What published weights were trained with; most with ImageNet's, also many for CIFAR-10."""


def usual_normalization(architecture: Architecture) -> str:
    """Name what published weights of an architecture were trained with.

    Source:
        timm 1.0's `resnetv2` files say 0.5 for pre-activated networks, torchvision's and timm's
        other files ImageNet's own figures.
    """
    return "half" if architecture.is_preactivated else "imagenet"


def get_normalization(text: str, channels: int) -> Normalization:
    """Look a normalisation up, or read one: `0.5,0.5,0.5/0.25,0.25,0.25`.

    Raises:
        NormalizationError: If it is neither a name nor figures in (0, 1] for each channel.
    """
    if text in NORMALIZATIONS:
        return adapt_channels(NORMALIZATIONS[text], channels)
    try:
        mean, std = (tuple(map(float, part.split(","))) for part in text.split("/"))
    except ValueError:
        mean, std = (), ()
    if (
        not len(mean) == len(std) == channels
        or not all(0 <= m <= 1 for m in mean)
        or not all(0 < s <= 1 for s in std)
    ):
        raise NormalizationError(
            f"`--normalize {text}` must be one of {', '.join(NORMALIZATIONS)}, or {channels} means "
            "and standard deviations in [0, 1]: 0.5,0.5,0.5/0.25,0.25,0.25."
        )
    return Normalization(mean, std)


def adapt_channels(known: Normalization, channels: int) -> Normalization:
    """Give one channel the mean of the figures of three, and three channels those of one."""
    if len(known.mean) == channels:
        return known
    if channels == 1:
        return Normalization(*((round(sum(part) / len(part), 4),) for part in known))
    return Normalization(known.mean * channels, known.std * channels)
