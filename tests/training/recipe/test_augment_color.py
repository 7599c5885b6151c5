"""TrivialAugment's operations against Pillow's, and what colour jitter keeps."""

from collections.abc import Callable

import pytest

pytest.importorskip("torch")

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Generator, Tensor

from training.recipe.augment import augment
from training.recipe.augment_color import (
    OPERATIONS,
    apply_operations,
    color_jitter,
    trivial_augment,
)
from training.recipe.presets import get_recipe


def _generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def _noise(count: int = 1, channels: int = 3) -> Tensor:
    shape = (count, 24, 24, channels)
    return torch.randint(30, 220, shape, dtype=torch.uint8, generator=_generator())


PILLOW: dict[tuple[str, float], Callable[[Image.Image], Image.Image]] = {
    ("identity", 0.7): lambda image: image,
    ("brightness", 0.5): lambda image: ImageEnhance.Brightness(image).enhance(1.495),
    ("color", -0.5): lambda image: ImageEnhance.Color(image).enhance(0.505),
    ("contrast", 0.5): lambda image: ImageEnhance.Contrast(image).enhance(1.495),
    ("sharpness", -1.0): lambda image: ImageEnhance.Sharpness(image).enhance(0.01),
    ("posterize", 0.5): lambda image: ImageOps.posterize(image, 5),
    ("solarize", 0.5): lambda image: ImageOps.solarize(image, 128),
    ("autocontrast", 0.1): ImageOps.autocontrast,
    ("equalize", 0.1): ImageOps.equalize,
    ("translate_x", 0.0): lambda image: image,
    ("rotate", 2 / 3): lambda image: image.rotate(90),
}


@pytest.mark.parametrize("case", PILLOW, ids=lambda case: case[0])
def test_an_operation_is_pillows(case: tuple[str, float]) -> None:
    images = _noise()
    operation = torch.tensor([OPERATIONS.index(case[0])])

    ours = apply_operations(images, operation, torch.tensor([case[1]]))[0].numpy().astype(int)

    theirs = np.asarray(PILLOW[case](Image.fromarray(images[0].numpy()))).astype(int)
    assert np.abs(ours - theirs).max() <= 2


def test_each_image_gets_its_own_operation_repeats_by_the_generator_and_grey_stays_grey() -> None:
    images = _noise().expand(56, 24, 24, 3)

    first, again, other = (trivial_augment(images, _generator(seed)) for seed in (1, 1, 2))

    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len({image.numpy().tobytes() for image in first}) > 25
    assert trivial_augment(_noise(9, 1), _generator()).shape == (9, 24, 24, 1)


def test_colour_jitter_stays_within_its_strength() -> None:
    flat = torch.full((200, 4, 4, 3), 100, dtype=torch.uint8)

    changed = color_jitter(flat, 0.2, _generator())

    assert 80 <= int(changed.min()) < 90
    assert 110 < int(changed.max()) <= 120
    assert torch.equal(changed[:, 0, 0], changed[:, 3, 3])  # a flat image stays flat
    assert torch.equal(color_jitter(_noise(), 0.0, _generator()), _noise())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("generator_device", ["cpu", "cuda"])
def test_images_are_augmented_on_the_device_that_holds_them(generator_device: str) -> None:
    recipe = get_recipe("photos", ["random_shift=2"])
    generator = Generator(generator_device).manual_seed(0)

    images = augment(_noise(8).cuda(), recipe, generator)

    assert images.device.type == "cuda"
