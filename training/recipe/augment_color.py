"""Augmentation by colour and geometry: colour jitter and TrivialAugment, on batches of uint8.

Each image draws its own operation and strength. All operations are computed without a branch
on what was drawn, so nothing waits for the device that holds the images.
"""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn import functional

OPERATIONS = (
    "identity",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "rotate",
    "brightness",
    "color",
    "contrast",
    "sharpness",
    "posterize",
    "solarize",
    "autocontrast",
    "equalize",
)
MAX_SHEAR = 0.99
MAX_TRANSLATION = 32 / 224
"""As a share of the side."""
MAX_ROTATION = math.radians(135)
MAX_ENHANCEMENT = 0.99
LUMA = (0.299, 0.587, 0.114)
"""Of red, green and blue in grey, as ITU-R BT.601 has them."""


def color_jitter(images: Tensor, strength: float, generator: Generator) -> Tensor:
    """Change brightness, contrast and saturation of each image.

    Args:
        images: uint8 (N, S, S, C).
        strength: Factors are drawn from 1 - strength to 1 + strength.
        generator: Random numbers come from it.
    """
    draw = torch.rand(3, len(images), generator=generator, device=generator.device)
    factors = 1 + strength * (2 * draw.to(images.device) - 1)
    planes = images.permute(0, 3, 1, 2).float()
    brightness, contrast, saturation = (factor[:, None, None, None] for factor in factors)
    planes = (planes * brightness).clamp(0, 255)
    mean = _grey(planes).mean(dim=(1, 2, 3), keepdim=True)
    planes = torch.lerp(mean, planes, contrast).clamp(0, 255)
    return _to_bytes(torch.lerp(_grey(planes), planes, saturation))


def trivial_augment(images: Tensor, generator: Generator) -> Tensor:
    """Apply one random operation at a random strength to each image.

    Args:
        images: uint8 (N, S, S, C).
        generator: Random numbers come from it.

    Source:
        Müller and Hutter, "TrivialAugment", 2021 (arXiv 2103.10158), the wide search space.
    """
    draw = torch.rand(3, len(images), generator=generator, device=generator.device)
    draw = draw.to(images.device)
    operations = (draw[0] * len(OPERATIONS)).long().clamp(max=len(OPERATIONS) - 1)
    signs = torch.where(draw[2] < 0.5, -1.0, 1.0)
    return apply_operations(images, operations, draw[1] * signs)


def apply_operations(images: Tensor, operations: Tensor, strengths: Tensor) -> Tensor:
    """Apply an operation to each image.

    Args:
        images: uint8 (N, S, S, C).
        operations: int64 (N,), positions in `OPERATIONS`.
        strengths: float32 (N,) in [-1, 1]; where an operation has no direction, the sign is not
            used.
    """
    planes = images.permute(0, 3, 1, 2).float()
    strengths = strengths[:, None, None, None]
    size = strengths.abs()

    def chosen(*names: str) -> Tensor:
        """Mark the images that have one of these operations, as bool (N, 1, 1, 1)."""
        marks = torch.zeros_like(operations, dtype=torch.bool)
        for name in names:
            marks |= operations == OPERATIONS.index(name)
        return marks[:, None, None, None]

    step = 2 ** (6 * size).round()
    for marks, changed in (
        (chosen(*OPERATIONS[1:6]), _warp(planes, operations, strengths.flatten())),
        (
            chosen("brightness", "color", "contrast", "sharpness"),
            _enhance(planes, chosen, 1 + MAX_ENHANCEMENT * strengths),
        ),
        (chosen("posterize"), (planes / step).floor() * step),
        (chosen("solarize"), torch.where(planes >= 255 * (1 - size), 255 - planes, planes)),
        (chosen("autocontrast"), _autocontrast(planes)),
        (chosen("equalize"), _equalize(images)),
    ):
        planes = torch.where(marks, changed, planes)
    return _to_bytes(planes)


def _warp(planes: Tensor, operations: Tensor, strengths: Tensor) -> Tensor:
    """Shear, translate or rotate about the centre; what comes from outside is black."""
    shear_x, shear_y, translate_x, translate_y, turn = (
        torch.where(operations == OPERATIONS.index(name), strengths, 0.0)
        for name in OPERATIONS[1:6]
    )
    angle = MAX_ROTATION * turn
    rows = (
        torch.stack(
            [angle.cos(), MAX_SHEAR * shear_x - angle.sin(), 2 * MAX_TRANSLATION * translate_x], 1
        ),
        torch.stack(
            [MAX_SHEAR * shear_y + angle.sin(), angle.cos(), 2 * MAX_TRANSLATION * translate_y], 1
        ),
    )
    theta = torch.stack(rows, 1)  # (N, 2, 3)
    grid = functional.affine_grid(theta, list(planes.shape), align_corners=False)
    return functional.grid_sample(planes, grid, align_corners=False)


def _enhance(planes: Tensor, chosen: Callable[[str], Tensor], factors: Tensor) -> Tensor:
    """Move each image away from, or towards, its black, grey, flat or smooth version."""
    grey = _grey(planes)
    base = torch.where(chosen("color"), grey, torch.zeros_like(planes))
    base = torch.where(chosen("contrast"), grey.mean(dim=(1, 2, 3), keepdim=True).round(), base)
    base = torch.where(chosen("sharpness"), _smooth(planes), base)
    return torch.lerp(base, planes, factors)


def _grey(planes: Tensor) -> Tensor:
    """(N, C, S, S) -> (N, 1, S, S)."""
    if planes.shape[1] != len(LUMA):
        return planes
    red, green, blue = planes.unbind(1)
    return (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue)[:, None]


def _smooth(planes: Tensor) -> Tensor:
    """Average each pixel with its neighbours, itself five times; the border stays."""
    around = 9 * functional.avg_pool2d(planes, 3, stride=1)
    inner = (around + 4 * planes[..., 1:-1, 1:-1]) / 13
    smooth = planes.clone()
    smooth[..., 1:-1, 1:-1] = inner
    return smooth


def _autocontrast(planes: Tensor) -> Tensor:
    """Stretch each channel to the whole range."""
    low = planes.amin(dim=(2, 3), keepdim=True)
    span = planes.amax(dim=(2, 3), keepdim=True) - low
    return torch.where(span > 0, (planes - low) * (255 / span.clamp(min=1)), planes)


def _equalize(images: Tensor) -> Tensor:
    """Give each channel an even histogram: uint8 (N, S, S, C) -> float32 (N, C, S, S)."""
    count, side, _, channels = images.shape
    values = images.permute(0, 3, 1, 2).reshape(count * channels, -1).long()
    histogram = torch.zeros(len(values), 256, dtype=torch.long, device=images.device)
    histogram.scatter_add_(1, values, torch.ones_like(values))
    last = histogram.gather(1, values.amax(dim=1, keepdim=True))
    step = (side * side - last) // 255
    before = histogram.cumsum(1) - histogram
    table = ((before + step // 2) // step.clamp(min=1)).clamp(max=255)
    equal = torch.where(step > 0, table.gather(1, values), values)
    return equal.view(count, channels, side, side).float()


def _to_bytes(planes: Tensor) -> Tensor:
    """float32 (N, C, S, S) -> uint8 (N, S, S, C)."""
    return planes.clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
