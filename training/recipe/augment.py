"""Augmentation of a batch, on uint8: crop, shift, flip, erase, mix.

Each function takes and returns uint8 (N, S, S, C) and draws from the generator given,
so that a run can be repeated. The images stay on their device; the generator may be on another.
"""

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional

from training.recipe.augment_color import color_jitter, trivial_augment
from training.recipe.recipe import Recipe

SIZE_MULTIPLE = 4
"""Sizes of growing images are multiples of it: few shapes, and stages that halve well."""


def image_size_at(progress: float, image_size: int, recipe: Recipe) -> int:
    """Image size in pixels that the recipe trains at.

    Args:
        progress: Share of the run's steps that are done.
        image_size: Of the stored images.
        recipe: At which shares of it the run begins and ends.
    """
    ramp = min(1.0, progress / recipe.resolution_ramp)
    scale = recipe.resolution_start + (recipe.resolution_end - recipe.resolution_start) * ramp
    if scale == 1:
        return image_size
    rounded = round(scale * image_size / SIZE_MULTIPLE) * SIZE_MULTIPLE
    return max(SIZE_MULTIPLE, min(image_size, rounded))


def augment(
    images: Tensor, recipe: Recipe, generator: Generator, image_size: int | None = None
) -> Tensor:
    """Apply what the recipe asks for, to each image by itself.

    Args:
        images: uint8 (N, S, S, C).
        recipe: What to do, and how much.
        generator: Random numbers come from it.
        image_size: T, of the result; None keeps S.

    Returns:
        uint8 (N, T, T, C).
    """
    image_size = image_size or images.shape[1]
    if recipe.rrc_min_area < 1:
        images = random_resized_crop(images, image_size, recipe.rrc_min_area, generator)
    elif image_size != images.shape[1]:
        images = resize(images, image_size)
    if recipe.random_shift:
        images = random_shift(images, recipe.random_shift, generator)
    if recipe.flip:
        images = random_flip(images, generator)
    if recipe.trivial_augment:
        images = trivial_augment(images, generator)
    if recipe.color_jitter:
        images = color_jitter(images, recipe.color_jitter, generator)
    if recipe.random_erasing:
        images = random_erasing(images, recipe.random_erasing, generator)
    return images


def resize(images: Tensor, image_size: int) -> Tensor:
    """Make images smaller, each new pixel the mean of what it covers."""
    planes = images.permute(0, 3, 1, 2)
    size = (image_size, image_size)
    small = functional.interpolate(planes, size, mode="bilinear", antialias=True)
    return small.permute(0, 2, 3, 1)


def random_resized_crop(
    images: Tensor, image_size: int, min_area: float, generator: Generator
) -> Tensor:
    """Cut a box of random area and shape out of each image, and resize it.

    Args:
        images: uint8 (N, S, S, C).
        image_size: T, of the result.
        min_area: Smallest area, as a share; side ratios go from 3:4 to 4:3.
        generator: Random numbers come from it.

    Source:
        Szegedy et al., "Going deeper with convolutions", 2014, section 6.
    """
    draw = _uniform((4, len(images)), generator, images)
    area = min_area + (1 - min_area) * draw[0]
    ratio = torch.exp((2 * draw[1] - 1) * 0.2877)  # log-uniform in [3/4, 4/3]
    width = (area * ratio).sqrt().clamp(max=1)  # shares of the side
    height = (area / ratio).sqrt().clamp(max=1)
    # Maps [-1, 1] of the new onto the old image.
    theta = torch.zeros(len(images), 2, 3, device=images.device)
    theta[:, 0, 0], theta[:, 1, 1] = width, height
    theta[:, 0, 2] = (2 * draw[2] - 1) * (1 - width)
    theta[:, 1, 2] = (2 * draw[3] - 1) * (1 - height)
    shape = [len(images), 1, image_size, image_size]
    grid = functional.affine_grid(theta, shape, align_corners=False)
    planes = images.permute(0, 3, 1, 2).float()
    cut = functional.grid_sample(planes, grid, padding_mode="border", align_corners=False)
    return cut.round().to(torch.uint8).permute(0, 2, 3, 1)


def mix(
    images: Tensor, targets: Tensor, recipe: Recipe, generator: Generator
) -> tuple[Tensor, Tensor, float]:
    """Blend each image with another of the batch (mixup), or paste a box of it (CutMix).

    Where the recipe asks for both, each batch gets one of them, with equal chances.

    Args:
        images: uint8 (N, S, S, C).
        targets: int64 (N,).
        recipe: Its `mixup` and `cutmix` are the alphas of symmetric beta distributions.
        generator: Random numbers come from it. One on the CPU makes nothing wait for a GPU: what
            is drawn decides what is done.

    Returns:
        The images, the other images' targets, and the share of the first.

    Source:
        Zhang et al., "mixup", 2017 (arXiv 1710.09412); Yun et al., "CutMix", 2019
        (arXiv 1905.04899).
    """
    if not (recipe.mixup or recipe.cutmix):
        return images, targets, 1.0
    coin = torch.rand((), generator=generator).item() < 0.5
    blends = bool(recipe.mixup) and (coin or not recipe.cutmix)
    share = _beta(recipe.mixup if blends else recipe.cutmix, generator)
    others = torch.randperm(len(images), generator=generator, device=generator.device)
    others = others.to(images.device)
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
    """Draw from Beta(alpha, alpha); torch can draw it from its global state only."""
    seed = int(torch.randint(2**31, (), generator=generator))
    return float(np.random.default_rng(seed).beta(alpha, alpha))


def random_shift(images: Tensor, pixels: int, generator: Generator) -> Tensor:
    """Move each image by up to `pixels` each way; the border is mirrored.

    Raises:
        ValueError: If a shift reaches past the opposite border.
    """
    count, side = images.shape[:2]
    if pixels >= side:
        raise ValueError(f"`pixels` (={pixels}) must be under the image size (={side}).")
    device = images.device
    shape = (2, count, 1)
    offsets = torch.randint(
        -pixels, pixels + 1, shape, generator=generator, device=generator.device
    ).to(device)
    positions = (torch.arange(side, device=device) + offsets).abs()  # (2, N, S), mirrored at 0
    rows, columns = (side - 1) - (side - 1 - positions).abs()  # mirrored at S - 1
    each = torch.arange(count, device=device)[:, None, None]
    return images[each, rows[:, :, None], columns[:, None, :]]  # (N, S, S, C)


def random_flip(images: Tensor, generator: Generator) -> Tensor:
    """Mirror half of the images left to right."""
    mirrored = _uniform((len(images),), generator, images) < 0.5
    return torch.where(mirrored[:, None, None, None], images.flip(2), images)


def random_erasing(images: Tensor, probability: float, generator: Generator) -> Tensor:
    """Fill a random box with noise in a share of the images.

    The box covers 2 to 33 % of the image, with a side ratio of 0.3 to 3.3.

    Source:
        Zhong et al., "Random Erasing Data Augmentation", 2017 (arXiv 1708.04896).
    """
    count, side = images.shape[:2]
    draw = _uniform((5, count), generator, images)
    area = side * side * (0.02 + 0.31 * draw[0])
    ratio = torch.exp((2 * draw[1] - 1) * 1.194)  # log-uniform in [0.303, 3.3]
    height = (area * ratio).sqrt().round().clamp(1, side)
    width = (area / ratio).sqrt().round().clamp(1, side)
    top = (draw[2] * (side - height + 1)).floor()
    left = (draw[3] * (side - width + 1)).floor()
    line = torch.arange(side, device=images.device)
    rows = (line >= top[:, None]) & (line < (top + height)[:, None])  # (N, S)
    columns = (line >= left[:, None]) & (line < (left + width)[:, None])
    chosen = (draw[4] < probability)[:, None, None]
    box = (rows[:, :, None] & columns[:, None, :] & chosen)[..., None]  # (N, S, S, 1)
    noise = torch.randint(
        0, 256, images.shape, dtype=torch.uint8, generator=generator, device=generator.device
    )
    return torch.where(box, noise.to(images.device), images)


def _uniform(shape: tuple[int, ...], generator: Generator, images: Tensor) -> Tensor:
    """Draw from [0, 1) where the generator is, for use where the images are."""
    return torch.rand(shape, generator=generator, device=generator.device).to(images.device)
