"""From what a file held to RGB or L, standing up: every mode, every rotation."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image

from model.preprocessing import Preprocessing, preprocess, upright
from tests.service.images import png_of_16_bits

GREY = Preprocessing(resize=16, crop=16, channels=1, mean=(0.5,), std=(0.25,))
SLOPE = np.linspace(20, 235, 16, dtype=np.uint8)[None].repeat(16, 0)
"""Grey, darker on the left, without pure black or white."""


def _reopened(image: Image.Image, encoder: str, **options: object) -> Image.Image:
    file = io.BytesIO()
    image.save(file, encoder, **options)
    return Image.open(io.BytesIO(file.getvalue()))


def _png16() -> Image.Image:
    return _reopened(Image.fromarray(SLOPE.astype(np.uint16) * 257), "PNG")


SLOPES: dict[str, Callable[[], Image.Image]] = {
    "L": lambda: _reopened(Image.fromarray(SLOPE), "PNG"),
    "LA": lambda: _reopened(Image.fromarray(SLOPE).convert("LA"), "PNG"),
    "P": lambda: _reopened(Image.fromarray(SLOPE).convert("P"), "PNG"),
    "RGB": lambda: _reopened(Image.fromarray(SLOPE).convert("RGB"), "PNG"),
    "RGBA": lambda: _reopened(Image.fromarray(SLOPE).convert("RGBA"), "PNG"),
    "CMYK": lambda: _reopened(Image.fromarray(SLOPE).convert("CMYK"), "JPEG", quality=95),
    "I;16": _png16,
    "I": lambda: Image.fromarray(SLOPE.astype(np.int32) * 257),
    "PA": lambda: Image.fromarray(SLOPE).convert("P").convert("PA"),
    "YCbCr": lambda: Image.fromarray(SLOPE).convert("RGB").convert("YCbCr"),
    "RGBa": lambda: Image.fromarray(SLOPE).convert("RGBA").convert("RGBa"),
    "La": lambda: Image.fromarray(SLOPE).convert("LA").convert("La"),
}


@pytest.mark.parametrize("mode", list(SLOPES))
def test_the_same_image_gives_the_same_pixels_in_every_mode(mode: str) -> None:
    image = SLOPES[mode]()
    assert image.mode == mode

    pixels = preprocess(upright(image), GREY)

    assert np.abs(pixels[..., 0].astype(int) - SLOPE).max() <= 2


@pytest.mark.parametrize(
    ("encoder", "mode", "options"),
    [
        ("JPEG", "L", {"quality": 95}),
        ("JPEG", "RGB", {"quality": 95}),
        ("WEBP", "RGB", {"lossless": True}),
        ("WEBP", "RGBA", {"lossless": True}),
        ("GIF", "L", {}),
        ("GIF", "P", {}),
        ("BMP", "L", {}),
        ("BMP", "RGB", {}),
        ("BMP", "P", {}),
    ],
)
def test_the_same_image_gives_the_same_pixels_from_every_encoder(
    encoder: str, mode: str, options: dict[str, object]
) -> None:
    image = _reopened(Image.fromarray(SLOPE).convert(mode), encoder, **options)

    pixels = preprocess(upright(image), GREY)

    assert np.abs(pixels[..., 0].astype(int) - SLOPE).max() <= 3


@pytest.mark.parametrize(("kind", "channels"), [(2, 3), (6, 4), (4, 2)])
def test_colours_of_16_bits_keep_the_upper_eight_of_the_bits_that_are_used(
    kind: int, channels: int
) -> None:
    """Of 300 rows: more than are scaled at once."""
    values = np.random.default_rng(0).integers(0, 5000, (300, 300, channels), dtype=np.uint16)
    if channels != 3:
        values[..., -1] = np.where(values[..., -1] < 2500, 0, 65_535)  # alpha
    image = Image.open(io.BytesIO(png_of_16_bits(values, kind)))

    pixels = np.asarray(upright(image, 12)).astype(int)

    expected = np.minimum(values // 16, 255).astype(int)
    if channels != 3:
        expected = np.where(values[..., -1:] == 0, 255, expected[..., :-1])
    assert np.array_equal(pixels, np.broadcast_to(expected, pixels.shape))


def test_the_transparent_colour_of_16_bits_becomes_white() -> None:
    values = np.full((1, 3, 3), 1000, np.uint16)
    values[0, 1] = values[0, 2] = (1000, 1000, 2000)
    values[0, 2, 2] += 1  # of 8 bits it would be the same
    key = (b"tRNS", np.array([1000, 1000, 2000], ">u2").tobytes())

    pixels = np.asarray(upright(Image.open(io.BytesIO(png_of_16_bits(values, 2, key))), 12))

    assert pixels.tolist() == [[[62, 62, 62], [255, 255, 255], [62, 62, 125]]]


def test_an_image_of_one_bit_becomes_black_and_white() -> None:
    chequered = (np.indices((16, 16)).sum(0) % 2).astype(bool)
    image = _reopened(Image.fromarray(chequered), "PNG")
    assert image.mode == "1"

    flat = upright(image)

    assert flat.mode == "L"
    assert np.array_equal(np.asarray(flat), chequered * 255)


def _half_seen_through(mode: str) -> Image.Image:
    """Black; the left half is there, the right half is transparent."""
    alpha = np.zeros((4, 4), np.uint8)
    alpha[:, :2] = 255
    image = Image.new(mode, (4, 4))
    image.putalpha(Image.fromarray(alpha))
    return image


@pytest.mark.parametrize(("mode", "flat_mode"), [("L", "L"), ("RGB", "RGB")])
@pytest.mark.parametrize("encoder", ["PNG", "WEBP"])
def test_what_is_transparent_lies_over_white(mode: str, flat_mode: str, encoder: str) -> None:
    image = _reopened(_half_seen_through(mode), encoder, lossless=True)

    flat = upright(image)

    assert flat.mode == (flat_mode if encoder == "PNG" else "RGB")  # WebP has no grey
    assert np.asarray(flat.convert("L")).tolist() == [[0, 0, 255, 255]] * 4


def test_what_is_half_transparent_is_mixed_with_white() -> None:
    flat = upright(Image.new("RGBA", (1, 1), (200, 0, 0, 128)))

    pixel = np.asarray(flat)[0, 0].tolist()
    assert pixel == pytest.approx([227, 127, 127], abs=1)  # 200 * 0.5 + 255 * 0.5, 255 * 0.5


@pytest.mark.parametrize("encoder", ["PNG", "GIF"])
def test_a_palettes_transparent_entry_lies_over_white(encoder: str) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 200, 30, 40])
    image.putpixel((1, 0), 1)

    flat = upright(_reopened(image, encoder, transparency=0))

    assert flat.mode == "RGB"
    assert np.asarray(flat)[0].tolist() == [[255, 255, 255], [200, 30, 40]]


@pytest.mark.parametrize(
    ("image", "transparent", "expected"),
    [
        (Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1"), 0, [255, 255]),
        (Image.fromarray(np.array([[0, 90]], np.uint8)), 0, [255, 90]),
        (Image.fromarray(np.array([[0, 90 * 256]], np.uint16)), 0, [255, 90]),
    ],
    ids=["1", "L", "I;16"],
)
def test_a_greys_transparent_value_lies_over_white(
    image: Image.Image, transparent: int, expected: list[int]
) -> None:
    flat = upright(_reopened(image, "PNG", transparency=transparent))

    assert flat.mode == "L"
    assert np.asarray(flat)[0].tolist() == expected


@pytest.mark.parametrize(
    ("bits", "expected"), [(16, [0, 3, 15, 255]), (12, [1, 63, 255, 255]), (8, [16, 255, 255, 255])]
)
def test_greys_of_16_bits_keep_the_upper_eight_that_are_used(
    bits: int, expected: list[int]
) -> None:
    image = Image.fromarray(np.array([[16, 1023, 4095, 65_535]], np.uint16))

    flat = upright(_reopened(image, "PNG"), bits)

    assert np.asarray(flat)[0].tolist() == expected


def test_a_colours_transparent_value_lies_over_white() -> None:
    image = Image.fromarray(np.array([[[1, 2, 3], [9, 9, 9]]], np.uint8))

    flat = upright(_reopened(image, "PNG", transparency=(1, 2, 3)))

    assert np.asarray(flat)[0].tolist() == [[255, 255, 255], [9, 9, 9]]


def test_greys_of_16_bit_lose_their_lower_byte_and_are_not_clipped_to_white() -> None:
    values = np.array([[0, 255, 256, 32_768, 65_535]], np.uint16)

    flat = upright(_reopened(Image.fromarray(values), "PNG"))

    assert np.asarray(flat)[0].tolist() == [0, 0, 1, 128, 255]


def _stored(standing: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """How a camera stores an image under an EXIF orientation, in NumPy's words.

    The standard says where row 0 and column 0 of the stored image are in the standing one,
    e.g. 6: row 0 is the right side, column 0 the top.
    """
    return {
        1: standing,  # row 0 top, column 0 left
        2: standing[:, ::-1],  # top, right
        3: standing[::-1, ::-1],  # bottom, right
        4: standing[::-1, :],  # bottom, left
        5: standing.T,  # left, top
        6: standing.T[::-1, :],  # right, top
        7: standing.T[::-1, ::-1],  # right, bottom
        8: standing.T[:, ::-1],  # left, bottom
    }[orientation]


@pytest.mark.parametrize("encoder", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_rotated_image_stands_up_again(orientation: int, encoder: str) -> None:
    standing = np.full((24, 32), 40, np.uint8)
    standing[:8, :8] = 220  # top left, flat 8 x 8 blocks so that JPEG keeps them
    standing[:8, 8:16] = 130
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    stored = Image.fromarray(np.ascontiguousarray(_stored(standing, orientation)))

    image = _reopened(stored.convert("RGB"), encoder, exif=exif, quality=95)

    flat = upright(image)
    assert flat.size == (32, 24)
    assert np.abs(np.asarray(flat.convert("L")).astype(int) - standing).max() <= 12


def test_an_orientation_that_does_not_exist_turns_nothing() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 99
    image = _reopened(Image.fromarray(SLOPE), "PNG", exif=exif)

    assert np.array_equal(np.asarray(upright(image)), SLOPE)


def test_a_mode_that_no_format_of_ours_has_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`image.mode` \(='F'\)"):
        upright(Image.new("F", (2, 2)))


def test_a_truncated_file_fails_here_and_not_later() -> None:
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "JPEG")
    image = Image.open(io.BytesIO(file.getvalue()[:1500]))

    with pytest.raises(OSError, match="truncated"):
        upright(image)
