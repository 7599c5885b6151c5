"""Crop, shift, flip, erase, mix and resize, each against another way to say the same."""

import pytest

pytest.importorskip("torch")

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor

from training.data.dataset import Dataset
from training.recipe.augment import (
    augment,
    image_size_at,
    mix,
    random_erasing,
    random_flip,
    random_resized_crop,
    random_shift,
    resize,
)
from training.recipe.presets import get_recipe
from training.recipe.recipe import Recipe


def _generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def _numbered(count: int, side: int) -> Tensor:
    """Each pixel's value says where it was: 10 * row + column."""
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    image = (10 * rows + columns).to(torch.uint8)[..., None]  # (S, S, 1)
    return image.expand(count, side, side, 1).contiguous()


def test_shift_is_a_cut_from_the_image_with_numpys_mirrored_border() -> None:
    pixels, side = 3, 8
    images = _numbered(200, side)
    padded = np.pad(images[0, ..., 0].numpy(), pixels, mode="reflect")
    cuts = {
        padded[top : top + side, left : left + side].tobytes()
        for top in range(2 * pixels + 1)
        for left in range(2 * pixels + 1)
    }

    shifted = {image.numpy().tobytes() for image in random_shift(images, pixels, _generator())}

    assert shifted <= cuts
    assert len(shifted) > 0.9 * len(cuts)  # 200 draws out of 49 miss few


def test_shift_moves_both_channels_of_a_pixel_together() -> None:
    grey = _numbered(20, 8)
    images = torch.cat([grey, 255 - grey, grey], dim=3)

    moved = random_shift(images, 2, _generator())

    assert torch.equal(moved[..., 1], 255 - moved[..., 0])
    assert torch.equal(moved[..., 2], moved[..., 0])


def test_a_shift_past_the_opposite_border_is_refused() -> None:
    assert random_shift(_numbered(1, 4), 3, _generator()).shape == (1, 4, 4, 1)

    with pytest.raises(ValueError, match=r"`pixels` \(=4\) must be under .* \(=4\)"):
        random_shift(_numbered(1, 4), 4, _generator())


def test_flip_mirrors_half_of_the_images_left_to_right() -> None:
    images = _numbered(1_000, 6)

    flipped = random_flip(images, _generator())

    is_mirrored = (flipped == images.flip(2)).all(dim=(1, 2, 3))
    is_kept = (flipped == images).all(dim=(1, 2, 3))
    assert torch.equal(is_mirrored, ~is_kept)
    assert 430 < int(is_mirrored.sum()) < 570  # five standard deviations


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_erase_touches_the_share_of_images_that_is_asked_for(probability: float) -> None:
    images = torch.full((1_000, 28, 28, 1), 7, dtype=torch.uint8)

    erased = random_erasing(images, probability, _generator())

    touched = int((erased != images).any(dim=3).flatten(1).any(dim=1).sum())
    assert touched == pytest.approx(1_000 * probability, abs=75)
    assert (probability in (0.0, 1.0)) == (touched == 1_000 * probability)


def test_erase_fills_one_box_of_2_to_33_percent_with_noise() -> None:
    images = torch.full((300, 28, 28, 1), 7, dtype=torch.uint8)

    changed = (random_erasing(images, 1.0, _generator()) != images)[..., 0]

    for mask in changed:
        rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
        height = int(rows[-1] - rows[0]) + 1
        width = int(columns[-1] - columns[0]) + 1
        # One pixel in 256 draws the colour that was there, and sides are rounded.
        assert int(mask.sum()) >= 0.85 * height * width
        assert 0.01 < height * width / 28**2 < 0.37
        assert 0.2 < height / width < 5


def test_erase_draws_noise_of_every_brightness() -> None:
    noise = random_erasing(torch.zeros(200, 28, 28, 3, dtype=torch.uint8), 1.0, _generator())

    values = torch.unique(noise[noise > 0])
    assert (int(values.min()), int(values.max())) == (1, 255)
    assert len(values) == 255


@pytest.fixture
def everything() -> Recipe:
    return get_recipe("default", ["random_shift=2", "flip=true", "random_erasing=0.5"])


def test_augment_keeps_type_and_shape_and_repeats_by_its_generator(
    fashion: Dataset, everything: Recipe
) -> None:
    images = fashion.train.images[:50]
    before = images.clone()

    first, again, other = (augment(images, everything, _generator(seed)) for seed in (1, 1, 2))

    assert first.dtype == torch.uint8
    assert first.shape == images.shape
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(images, before)


def test_augment_does_nothing_that_the_recipe_does_not_ask_for(fashion: Dataset) -> None:
    images = fashion.train.images[:50]

    assert torch.equal(augment(images, get_recipe("baseline"), _generator()), images)


def test_images_grow_from_the_first_to_the_last_resolution() -> None:
    recipe = get_recipe("default", ["resolution_start=0.7", "resolution_ramp=0.5"])

    sides = [image_size_at(progress, 28, recipe) for progress in (0, 0.2, 0.4, 0.5, 1.0)]

    assert sides == [20, 24, 28, 28, 28]
    assert image_size_at(0.3, 30, get_recipe("baseline")) == 30  # as it is, where nothing is asked


def test_resize_is_pillows_antialiased_bilinear() -> None:
    noise = torch.randint(0, 256, (2, 28, 28, 3), dtype=torch.uint8, generator=_generator())

    small = resize(noise, 20)

    for image, ours in zip(noise, small, strict=True):
        theirs = Image.fromarray(image.numpy()).resize((20, 20), Image.Resampling.BILINEAR)
        difference = np.asarray(theirs).astype(int) - ours.numpy().astype(int)
        assert np.abs(difference).max() <= 1


def test_a_random_crop_is_a_smaller_box_of_the_image() -> None:
    rows = torch.linspace(0, 250, 40)[:, None].expand(40, 40)
    ramp = torch.stack([rows, rows.T], dim=2).to(torch.uint8)  # (S, S, 2): where a pixel was
    images = ramp.expand(300, 40, 40, 2)

    cut = random_resized_crop(images, 24, 0.25, _generator()).int()

    assert cut.shape == (300, 24, 24, 2)
    heights = (cut[:, -1, 0, 0] - cut[:, 0, 0, 0]) / 250
    widths = (cut[:, 0, -1, 1] - cut[:, 0, 0, 1]) / 250
    areas = heights * widths * (24 / 23) ** 2  # from pixel centres to borders
    assert 0.22 < float(areas.min()) < 0.35
    assert 0.9 < float(areas.max()) < 1.1
    assert 0.7 < float((widths / heights).min()) < float((widths / heights).max()) < 1.4
    assert len(torch.unique(cut[:, 0, 0, 0])) > 30  # they lie everywhere


def test_mixup_blends_two_images_by_the_share_it_returns() -> None:
    images = torch.tensor([0, 100, 200], dtype=torch.uint8)[:, None, None, None]
    images = images.expand(3, 8, 8, 1)
    targets = torch.tensor([0, 1, 2])

    mixed, others, share = mix(images, targets, get_recipe("default", ["mixup=1"]), _generator())

    expected = share * targets * 100 + (1 - share) * others * 100
    assert torch.allclose(mixed[:, 3, 3, 0].float(), expected, atol=0.51)
    assert len(torch.unique(mixed[0])) == 1


def test_cutmix_pastes_a_box_whose_area_is_the_others_share() -> None:
    images = torch.tensor([0, 100, 200], dtype=torch.uint8)[:, None, None, None]
    images = images.expand(3, 28, 28, 1).contiguous()
    recipe = get_recipe("default", ["cutmix=1"])
    shares = []
    for seed in range(20):
        mixed, others, share = mix(images, torch.tensor([0, 1, 2]), recipe, _generator(seed))
        shares.append(share)
        for image, own, other in zip(mixed, (0, 1, 2), others, strict=True):
            if own != other:
                kept = (image == 100 * own).float().mean().item()
                pasted = (image == 100 * other).float().mean().item()
                assert kept == pytest.approx(share, abs=1e-6)
                assert pasted == pytest.approx(1 - share, abs=1e-6)
    assert max(shares) - min(shares) > 0.5


def test_without_mixing_a_batch_stays_as_it_is(fashion: Dataset) -> None:
    images, targets = fashion.train.images[:5], fashion.train.targets[:5]

    mixed, others, share = mix(images, targets, get_recipe("baseline"), _generator())

    assert mixed is images
    assert others is targets
    assert share == 1
