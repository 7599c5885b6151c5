"""Of several images in a file the first is read; one that lies on its side is stood up."""

import io
import timeit

import numpy as np
import pytest
from PIL import Image

from tests.service.decoding import decode
from tests.service.images import encode, striped

ORIENTATION = 0x0112


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG"])
def test_an_animation_gives_its_first_frame(file_format: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]

    payload = encode(frames[0], file_format, save_all=True, append_images=frames[1:], duration=100)

    assert Image.open(io.BytesIO(payload)).is_animated  # type: ignore[attr-defined]
    red, green, blue = np.asarray(decode(payload))[4, 4].tolist()
    assert red > 240
    assert green < 15
    assert blue < 15


def test_a_long_animation_costs_no_more_than_its_first_frame() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (100, 48, 48, 3), np.uint8)
    frames = [Image.fromarray(frame) for frame in noise]
    payload = encode(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=20)
    still = encode(frames[0], "GIF")

    animated_s = min(timeit.repeat(lambda: decode(payload), number=1, repeat=5))
    still_s = min(timeit.repeat(lambda: decode(still), number=1, repeat=5))

    assert animated_s < 10 * still_s + 0.02  # all frames would be a hundred times


def test_two_images_in_one_jpeg_file_give_the_first() -> None:
    payload = encode(striped(), "MPO", save_all=True, append_images=[Image.new("RGB", (40, 30))])

    decoded = decode(payload)

    assert np.abs(np.asarray(decoded, int) - np.asarray(striped(), int)).mean() < 12


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    ("orientation", "corner"),
    # Where the stored image's upper left corner comes to lie: (bottom, right).
    [
        (1, (0, 0)),
        (2, (0, 1)),
        (3, (1, 1)),
        (4, (1, 0)),
        (5, (0, 0)),
        (6, (0, 1)),
        (7, (1, 1)),
        (8, (1, 0)),
    ],
)
def test_an_image_that_lies_is_stood_up(
    file_format: str, orientation: int, corner: tuple[int, int]
) -> None:
    stored = Image.new("L", (24, 16), 0)
    stored.paste(255, (0, 0, 8, 8))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation

    decoded = decode(encode(stored.convert("RGB"), file_format, exif=exif))

    assert decoded.size == ((16, 24) if orientation >= 5 else (24, 16))
    pixels = np.asarray(decoded.convert("L"))
    seen = {
        (bottom, right): bool(pixels[-3 if bottom else 3, -3 if right else 3] > 128)
        for bottom in (0, 1)
        for right in (0, 1)
    }
    assert seen == {place: place == corner for place in seen}


@pytest.mark.parametrize("orientation", [0, 9, 65_535])
def test_an_orientation_that_does_not_exist_turns_nothing(orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation

    decoded = decode(encode(striped(), "PNG", exif=exif))

    assert decoded.tobytes() == striped().tobytes()
