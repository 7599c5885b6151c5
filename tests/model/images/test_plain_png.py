"""Files that are a network's input already, against Pillow's general path."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from model.images.plain_png import PlainPng
from model.preprocessing import Pixels
from tests.service.images import chunk, encode, png_with

SIDE = 8
RANDOM = np.random.default_rng(3)
NOISE = {
    1: RANDOM.integers(0, 256, (SIDE, SIDE, 1), np.uint8),
    3: RANDOM.integers(0, 256, (SIDE, SIDE, 3), np.uint8),
}


def png(pixels: Pixels, row_filter: int = 0, interlace: int = 0) -> bytes:
    """Write a file whose filtered rows are these pixels; a decoder undoes the filter."""
    side, _, channels = pixels.shape
    head = struct.pack(">2I5B", side, side, 8, {1: 0, 3: 2}[channels], 0, 0, interlace)
    rows = b"".join(bytes([row_filter]) + row.tobytes() for row in pixels)
    data = zlib.compress(rows)
    chunks = chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize("row_filter", range(5))
@pytest.mark.parametrize("channels", [1, 3])
def test_a_plain_file_is_read_as_by_pillow(channels: int, row_filter: int) -> None:
    payload = png(NOISE[channels], row_filter)

    pixels = PlainPng(SIDE, channels).read(payload)

    assert pixels is not None
    expected = np.asarray(Image.open(io.BytesIO(payload))).reshape(SIDE, SIDE, channels)
    np.testing.assert_array_equal(pixels, expected)


def test_an_image_stays_as_it_is_when_the_next_is_read() -> None:
    reader = PlainPng(SIDE, 1)

    first = reader.read(png(NOISE[1]))
    reader.read(png(255 - NOISE[1]))

    assert first is not None
    np.testing.assert_array_equal(first, NOISE[1])


GREY = png(NOISE[1])
BROKEN = bytearray(GREY)
BROKEN[50] ^= 255


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        GREY[:-1],
        GREY[:60],
        GREY[:41] + GREY[-16:],
        bytes(BROKEN),
        GREY[:29] + b"\0\0\0\0" + GREY[33:],
        png(NOISE[3]),
        png(NOISE[1], interlace=1),
        png(RANDOM.integers(0, 256, (9, 9, 1), np.uint8)),
        png_with((b"tRNS", b"\0\0"), pixels=NOISE[1][..., 0]),
        encode(Image.fromarray(NOISE[1][..., 0]).convert("P")),
        encode(Image.fromarray(NOISE[1][..., 0]), "BMP"),
    ],
)
def test_any_other_file_is_left_to_the_general_path(payload: bytes) -> None:
    assert PlainPng(SIDE, 1).read(payload) is None


def test_after_a_broken_file_a_whole_one_is_read() -> None:
    reader = PlainPng(SIDE, 1)
    reader.read(bytes(BROKEN))

    pixels = reader.read(GREY)

    assert pixels is not None
    np.testing.assert_array_equal(pixels, NOISE[1])
