"""What only training does to a batch: crop, shift, flip, erase, mix, on uint8, all at once.

Each function takes and returns uint8 (N, S, S, C) and draws from the generator given,
so that a run can be repeated.
"""

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional

from training.recipe.recipe import Recipe

STEP = 4
"""Sides of growing pictures are multiples of it: few shapes, and stages that halve well."""


def side_at(progress: float, side: int, recipe: Recipe) -> int:
    """Side in pixels that the recipe trains at.

    Args:
        progress: Share of the run's steps that are behind it.
        side: Of the stored pictures.
        recipe: Says at which share of it the run begins and ends.
    """
    grown = min(1.0, progress / recipe.grown_at)
    scale = recipe.first_scale + (recipe.last_scale - recipe.first_scale) * grown
    return side if scale == 1 else max(STEP, min(side, round(scale * side / STEP) * STEP))


def augment(
    images: Tensor, recipe: Recipe, generator: Generator, side: int | None = None
) -> Tensor:
    """Apply what the recipe asks for, to one picture at a time.

    Args:
        images: uint8 (N, S, S, C).
        recipe: Says what and how much.
        generator: Draws.
        side: T, of what comes out; None keeps S.

    Returns:
        uint8 (N, T, T, C).
    """
    side = side or images.shape[1]
    if recipe.crop_area < 1:
        images = random_resized_crop(images, side, recipe.crop_area, generator)
    elif side != images.shape[1]:
        images = resize(images, side)
    if recipe.shift:
        images = shift(images, recipe.shift, generator)
    if recipe.flip:
        images = flip(images, generator)
    if recipe.erase:
        images = erase(images, recipe.erase, generator)
    return images


def resize(images: Tensor, side: int) -> Tensor:
    """Make pictures smaller, each new pixel the mean of what it covers."""
    planes = images.permute(0, 3, 1, 2)
    small = functional.interpolate(planes, (side, side), mode="bilinear", antialias=True)
    return small.permute(0, 2, 3, 1)


def random_resized_crop(images: Tensor, side: int, least: float, generator: Generator) -> Tensor:
    """Cut a box of random area and shape out of each picture, and resize it.

    Args:
        images: uint8 (N, S, S, C).
        side: T, of what comes out.
        least: Smallest area, as a share; side ratios go from 3:4 to 4:3.
        generator: Draws.

    Source:
        Szegedy et al., "Going deeper with convolutions", 2014, section 6.
    """
    draw = torch.rand(4, len(images), generator=generator)
    area = least + (1 - least) * draw[0]
    ratio = torch.exp((2 * draw[1] - 1) * 0.2877)  # log-uniform in [3/4, 4/3]
    width = (area * ratio).sqrt().clamp(max=1)  # shares of the side
    height = (area / ratio).sqrt().clamp(max=1)
    theta = torch.zeros(len(images), 2, 3)  # maps [-1, 1] of the new onto the old picture
    theta[:, 0, 0], theta[:, 1, 1] = width, height
    theta[:, 0, 2] = (2 * draw[2] - 1) * (1 - width)
    theta[:, 1, 2] = (2 * draw[3] - 1) * (1 - height)
    grid = functional.affine_grid(theta, [len(images), 1, side, side], align_corners=False)
    planes = images.permute(0, 3, 1, 2).float()
    cut = functional.grid_sample(planes, grid, padding_mode="border", align_corners=False)
    return cut.round().to(torch.uint8).permute(0, 2, 3, 1)


def mix(
    images: Tensor, targets: Tensor, recipe: Recipe, generator: Generator
) -> tuple[Tensor, Tensor, float]:
    """Blend each picture with another of the batch, or paste a box of it, as the recipe says.

    Where it asks for both, each batch gets one of them, by the toss of a coin.

    Args:
        images: uint8 (N, S, S, C).
        targets: int64 (N,).
        recipe: Its `mixup` and `cutmix` are the alphas of symmetric beta distributions.
        generator: Draws.

    Returns:
        The pictures, the other pictures' targets, and the share that is the first's own.

    Source:
        Zhang et al., "mixup", 2017 (arXiv 1710.09412); Yun et al., "CutMix", 2019
        (arXiv 1905.04899).
    """
    if not (recipe.mixup or recipe.cutmix):
        return images, targets, 1.0
    coin = torch.rand((), generator=generator).item() < 0.5
    blends = bool(recipe.mixup) and (coin or not recipe.cutmix)
    share = _beta(recipe.mixup if blends else recipe.cutmix, generator)
    others = torch.randperm(len(images), generator=generator)
    if blends:
        mixed = torch.lerp(images[others].float(), images.float(), share)
        return mixed.round().to(torch.uint8), targets[others], share
    side = images.shape[1]
    length = round(side * (1 - share) ** 0.5)
    top, left = torch.randint(0, side - length + 1, (2,), generator=generator).tolist()
    box = slice(top, top + length), slice(left, left + length)
    mixed = images.clone()
    mixed[:, box[0], box[1]] = images[others][:, box[0], box[1]]
    return mixed, targets[others], 1 - (length / side) ** 2


def _beta(alpha: float, generator: Generator) -> float:
    """Draw from Beta(alpha, alpha), which torch draws from its global state alone."""
    seed = int(torch.randint(2**31, (), generator=generator))
    return float(np.random.default_rng(seed).beta(alpha, alpha))


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
