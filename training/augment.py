"""What only training does to a batch: shift, flip, erase, on uint8 and on whole batches.

Each function takes and returns uint8 (N, S, S, C) and draws from the generator given,
so that a run can be repeated.
"""

import torch
from torch import Generator, Tensor

from training.recipes import Recipe


def augment(images: Tensor, recipe: Recipe, generator: Generator) -> Tensor:
    """Apply what the recipe asks for; uint8 (N, S, S, C) in and out."""
    if recipe.shift:
        images = shift(images, recipe.shift, generator)
    if recipe.flip:
        images = flip(images, generator)
    if recipe.erase:
        images = erase(images, recipe.erase, generator)
    return images


def shift(images: Tensor, pixels: int, generator: Generator) -> Tensor:
    """Move each picture by up to `pixels` each way; the border is mirrored.

    Raises:
        ValueError: If a shift reaches past the opposite border.
    """
    count, side = images.shape[:2]
    if pixels >= side:
        raise ValueError(f"`pixels` (={pixels}) must be under the picture's side (={side}).")
    offsets = torch.randint(-pixels, pixels + 1, (2, count, 1), generator=generator)
    positions = (torch.arange(side) + offsets).abs()  # (2, N, S), mirrored at 0
    rows, columns = (side - 1) - (side - 1 - positions).abs()  # mirrored at S - 1
    each = torch.arange(count)[:, None, None]
    return images[each, rows[:, :, None], columns[:, None, :]]  # (N, S, S, C)


def flip(images: Tensor, generator: Generator) -> Tensor:
    """Mirror half of the pictures left to right."""
    mirrored = torch.rand(images.shape[0], generator=generator) < 0.5
    return torch.where(mirrored[:, None, None, None], images.flip(2), images)


def erase(images: Tensor, probability: float, generator: Generator) -> Tensor:
    """Fill a random box with noise in a share of the pictures.

    The box covers 2 to 33 % of the picture, with a side ratio of 0.3 to 3.3.

    Source:
        Zhong et al., "Random Erasing Data Augmentation", 2017 (arXiv 1708.04896).
    """
    count, side = images.shape[:2]
    draw = torch.rand(5, count, generator=generator)
    area = side * side * (0.02 + 0.31 * draw[0])
    ratio = torch.exp((2 * draw[1] - 1) * 1.194)  # log-uniform in [0.303, 3.3]
    height = (area * ratio).sqrt().round().clamp(1, side)
    width = (area / ratio).sqrt().round().clamp(1, side)
    top = (draw[2] * (side - height + 1)).floor()
    left = (draw[3] * (side - width + 1)).floor()
    line = torch.arange(side)
    rows = (line >= top[:, None]) & (line < (top + height)[:, None])  # (N, S)
    columns = (line >= left[:, None]) & (line < (left + width)[:, None])
    chosen = (draw[4] < probability)[:, None, None]
    box = (rows[:, :, None] & columns[:, None, :] & chosen)[..., None]  # (N, S, S, 1)
    noise = torch.randint(0, 256, images.shape, dtype=torch.uint8, generator=generator)
    return torch.where(box, noise, images)
