"""From an upright image to uint8 (S, S, C): sizes, crops, filters and refusals."""

import io

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from model.preprocessing import Preprocessing, crop_box, preprocess, shrink_on_load, upright

RGB = Preprocessing(resize=32, crop=28, channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
GREY = Preprocessing(resize=28, crop=28, channels=1, mean=(0.5,), std=(0.25,))


def _noise(height: int, width: int, channels: int) -> Image.Image:
    shape = (height, width, channels) if channels == 3 else (height, width)
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


def _slope(height: int, width: int) -> Image.Image:
    """Red grows to the right and green downwards: a place can be read from its colour."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = np.linspace(0, 255, width).round()
    pixels[..., 1] = np.linspace(0, 255, height).round()[:, None]
    return Image.fromarray(pixels)


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_of_the_exact_size_passes_bit_for_bit(channels: int) -> None:
    image = _noise(28, 28, channels)
    spec = Preprocessing.model_validate(
        {
            "resize": 28,
            "crop": 28,
            "channels": channels,
            "mean": (0.5,) * channels,
            "std": (1.0,) * channels,
        }
    )

    pixels = preprocess(image, spec)

    assert pixels.tobytes() == image.tobytes()
    assert pixels.shape == (28, 28, channels)


def test_the_result_is_the_callers_own_to_write_to() -> None:
    pixels = preprocess(_noise(28, 28, 1), GREY)

    pixels[0, 0, 0] = 7

    assert pixels.flags.c_contiguous
    assert pixels.dtype == np.uint8


def test_an_image_of_the_crops_size_is_still_cut_where_the_margin_asks_for_it() -> None:
    pixels = preprocess(_slope(28, 28), RGB)

    assert 10 < pixels[14, 0, 0] < 30  # a sixteenth of the width is cut from the left
    assert 225 < pixels[14, -1, 0] < 245


@pytest.mark.parametrize(
    ("width", "height", "box"),
    [
        (320, 320, (20.0, 20.0, 300.0, 300.0)),
        (640, 320, (180.0, 20.0, 460.0, 300.0)),
        (320, 640, (20.0, 180.0, 300.0, 460.0)),
        (1, 10_000, (0.0625, 4999.5625, 0.9375, 5000.4375)),
    ],
)
def test_crop_box_is_the_centred_square_with_the_specs_share_of_the_shorter_side(
    width: int, height: int, box: tuple[float, ...]
) -> None:
    assert crop_box(width, height, RGB) == pytest.approx(box)


@pytest.mark.parametrize(("height", "width"), [(64, 256), (256, 64)])
def test_preprocess_keeps_the_centre_of_a_long_image(height: int, width: int) -> None:
    spec = RGB.model_copy(update={"resize": 28})

    pixels = preprocess(_slope(height, width), spec).astype(int)

    along = pixels[14, :, 0] if width > height else pixels[:, 14, 1]
    across = pixels[:, 14, 1] if width > height else pixels[14, :, 0]
    assert along[0] == pytest.approx(255 * 3 / 8, abs=4)
    assert along[-1] == pytest.approx(255 * 5 / 8, abs=4)
    assert across[0] < 5
    assert across[-1] > 250


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_preprocess_is_near_to_resizing_the_whole_and_then_cutting(interpolation: str) -> None:
    spec = Preprocessing.model_validate({**RGB.model_dump(), "interpolation": interpolation})
    image = _slope(200, 300)

    pixels = preprocess(image, spec)

    whole = image.resize((48, 32), Image.Resampling[interpolation.upper()])
    expected = np.asarray(whole.crop((10, 2, 38, 30)), dtype=int)
    assert np.abs(pixels - expected).max() <= 2


def test_shrinking_averages_so_that_a_fine_pattern_turns_grey() -> None:
    chequered = np.indices((280, 280)).sum(0) % 2 * 255

    pixels = preprocess(Image.fromarray(chequered.astype(np.uint8)), GREY)

    assert pixels.min() > 120
    assert pixels.max() < 135


@pytest.mark.parametrize("size", [(1, 10_000), (10_000, 1), (1, 1), (3, 2)])
def test_extreme_sides_give_the_same_shape_as_any_other(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, (10, 200, 30))

    pixels = preprocess(image, RGB)

    assert pixels.shape == (28, 28, 3)
    assert np.unique(pixels.reshape(-1, 3), axis=0).tolist() == [[10, 200, 30]]


def test_colour_turns_grey_by_the_weights_of_the_eye() -> None:
    red, green, blue = (
        int(preprocess(Image.new("RGB", (28, 28), colour), GREY)[0, 0, 0])
        for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))
    )

    assert (red, green, blue) == (76, 150, 29)  # ITU-R 601: 0.299, 0.587, 0.114


def test_grey_fills_all_three_channels() -> None:
    pixels = preprocess(_noise(40, 40, 1), RGB)

    assert np.array_equal(pixels[..., 0], pixels[..., 1])
    assert np.array_equal(pixels[..., 0], pixels[..., 2])


@pytest.mark.parametrize("mode", ["P", "RGBA", "CMYK", "I;16", "1", "LA"])
def test_preprocess_refuses_an_image_that_upright_has_not_seen(mode: str) -> None:
    with pytest.raises(ValueError, match=rf"`image.mode` \(={mode!r}\) must be 'RGB' or 'L'"):
        preprocess(Image.new(mode, (28, 28)), RGB)


def test_a_large_jpeg_shrunk_while_it_loads_stays_near_to_the_whole_one() -> None:
    rng = np.random.default_rng(0)
    blots = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    file = io.BytesIO()
    blots.resize((1600, 1200), Image.Resampling.BICUBIC).save(file, "JPEG", quality=92)
    shrunk, whole = Image.open(file), Image.open(file)

    shrink_on_load(shrunk, RGB)

    assert shrunk.size == (200, 150)  # an eighth, the most that a JPEG decoder gives
    difference = preprocess(upright(shrunk), RGB).astype(int) - preprocess(upright(whole), RGB)
    assert np.abs(difference).mean() < 2
    assert np.abs(difference).max() < 16


@pytest.mark.parametrize(("side", "kept"), [(127, 127), (128, 64), (260, 65)])
def test_a_jpeg_is_never_shrunk_below_twice_the_resized_side(side: int, kept: int) -> None:
    file = io.BytesIO()
    Image.new("RGB", (side, side)).save(file, "JPEG")
    image = Image.open(file)

    shrink_on_load(image, RGB)

    assert image.size == (kept, kept)


def test_shrink_on_load_leaves_other_formats_alone() -> None:
    file = io.BytesIO()
    Image.new("RGB", (800, 800)).save(file, "PNG")
    image = Image.open(file)

    shrink_on_load(image, RGB)

    assert image.size == (800, 800)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"crop": 33}, "`crop` (=33) must be at most `resize` (=32)"),
        ({"mean": (0.5,)}, "must have 3 numbers each"),
        ({"std": (0.5,) * 4}, "must have 3 numbers each"),
        ({"std": (0.5, 0.0, 0.5)}, "must be positive"),
        ({"channels": 2}, "channels"),
        ({"resize": 0, "crop": 0}, "resize"),
        ({"interpolation": "nearest"}, "interpolation"),
        ({"flip": True}, "flip"),
    ],
)
def test_a_specification_that_does_not_fit_together_is_refused(
    change: dict[str, object], cause: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        Preprocessing.model_validate({**RGB.model_dump(), **change})

    assert cause in str(refused.value)
