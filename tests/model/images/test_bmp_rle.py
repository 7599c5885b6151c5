"""Run-length encoded BMP files, of any size and odd ones too."""

import contextlib
import io
import struct
import time

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.BmpImagePlugin import BmpRleDecoder

from model.images.bmp_rle import RleDecoder, unpack

END_OF_LINE, END = b"\0\0", b"\0\1"


def bmp(width: int, height: int, codes: bytes, bits: int = 8) -> bytes:
    """Write a BMP of codes, with a colourful palette."""
    palette = b"".join(bytes((i, 255 - i, i // 2, 0)) for i in range(1 << bits))
    offset = 54 + len(palette)
    return (
        b"BM"
        + struct.pack("<IHHI", offset + len(codes), 0, 0, offset)
        + struct.pack("<IiiHH", 40, width, height, 1, bits)
        + struct.pack("<IIiiII", 1 if bits == 8 else 2, len(codes), 0, 0, 1 << bits, 0)
        + palette
        + codes
    )


def encoded(indices: NDArray[np.uint8], bits: int, seed: int) -> bytes:
    """Encode rows, the lowest first: runs, and single pixels as chance will have it."""
    draw = np.random.default_rng(seed)
    codes = b""
    for row in indices[::-1].tolist():
        at = 0
        while at < len(row):
            some = row[at : at + int(draw.integers(1, 20))]
            if len(some) > 2 and draw.integers(2):
                halves = some + [0] * (len(some) % 2)
                pairs = zip(halves[::2], halves[1::2], strict=True)
                packed = bytes(some) if bits == 8 else bytes(16 * a + b for a, b in pairs)
                codes += bytes((0, len(some))) + packed + bytes(len(packed) % 2)
            else:
                some = some if len(set(some)) == 1 else some[:1]
                codes += bytes((len(some), some[0] if bits == 8 else 17 * some[0]))
            at += len(some)
        codes += END_OF_LINE
    return codes[:-2] + END


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (37, 21), (500, 300)])
def test_it_gives_the_pixels_that_pillows_decoder_gives(bits: int, width: int, height: int) -> None:
    indices = np.random.default_rng(0).integers(0, 1 << bits, (height, width)).astype(np.uint8)
    indices[:, : width // 2] = 3
    file = bmp(width, height, encoded(indices, bits, seed=width), bits)

    with Image.open(io.BytesIO(file)) as image:
        assert np.array_equal(np.asarray(image), indices)
    try:
        Image.register_decoder("bmp_rle", BmpRleDecoder)
        with Image.open(io.BytesIO(file)) as image:
            assert np.array_equal(np.asarray(image), indices)
    finally:
        Image.register_decoder("bmp_rle", RleDecoder)


@pytest.mark.parametrize(
    ("codes", "rows"),
    [
        (b"\3\7" + END_OF_LINE + b"\3\7", ["777", "777"]),
        (b"\3\7" + END_OF_LINE + END_OF_LINE, ["777", "000"]),  # an empty line
        (b"\1\7" + END, ["700", "000"]),  # the rest is left out
        (b"\0\2\1\1\1\7" + END, ["000", "070"]),  # one to the right, one down
        (b"\1\7\0\2\2\0\1\7" + END, ["700", "000"]),  # beyond the row
        (b"\1\7\0\2\0\xff\1\7" + END, ["700", "000"]),  # beyond the image
        (b"\xff\7" + END_OF_LINE + b"\1\1\xff\2" + END, ["777", "122"]),  # runs beyond the row
        (b"\0\5\1\2\3\4\5\0" + END_OF_LINE + b"\3\7" + END, ["123", "777"]),  # pixels, too
        (b"\3\7" + END_OF_LINE + b"\3\7" + END_OF_LINE + b"\3\1", ["777", "777"]),
    ],
)
def test_odd_codes_draw_what_browsers_draw(codes: bytes, rows: list[str]) -> None:
    pixels = unpack(codes, 3, 2, is_rle4=False)

    assert [bytes(row).hex()[1::2] for row in (pixels[:3], pixels[3:])] == rows


@pytest.mark.parametrize(
    "codes", [b"", b"\3", b"\3\7", b"\3\7\0", b"\3\7" + END_OF_LINE + b"\2\7", b"\0\3\1", b"\0\2"]
)
def test_pixels_that_end_too_early_are_refused(codes: bytes) -> None:
    with pytest.raises(ValueError, match="end too early"):
        unpack(codes, 3, 2, is_rle4=False)


@pytest.mark.parametrize(
    "codes",
    [1_000_000 * b"\1\7", 300_000 * b"\0\3abc\0", 20_000 * (b"\1\1" + END_OF_LINE)],
    ids=["runs", "pixels", "lines"],
)
def test_megabytes_of_codes_do_not_take_long(codes: bytes) -> None:
    began = time.thread_time()

    with contextlib.suppress(ValueError):
        unpack(codes, 5_000, 5_000, is_rle4=False)

    assert time.thread_time() - began < 1  # about 0.1 to 0.2; Pillow's takes up to 3


def test_codes_that_draw_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match=r"more than 2,000,000 codes"):
        unpack(2_500_000 * b"\0\2\0\0", 3, 2, is_rle4=False)
