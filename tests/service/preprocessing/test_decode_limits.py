"""What would cost too much to decode is refused before it does."""

import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.errors import ImageTooLargeError, InvalidImageError
from service.preprocessing.decode import MAX_SIDE, open_image
from tests.service.decoding import LIMIT, decode
from tests.service.images import encode, png_by_hand, striped


def test_a_bomb_is_refused_at_once_and_without_memory() -> None:
    bomb = png_by_hand(30_000, 30_000, 1, 0, bytes(30_000 // 8))
    code = (
        "import resource, sys, time\n"
        "from service.preprocessing.decode import open_image\n"
        "from service.errors import ImageTooLargeError\n"
        "bomb = sys.stdin.buffer.read()\n"
        "before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()\n"
        "try:\n    open_image(bomb, 25_000_000)\n"
        "except ImageTooLargeError as error:\n    print(error)\n"
        "print(time.perf_counter() - began)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )

    run = subprocess.run(
        [sys.executable, "-c", code],
        input=bomb,
        capture_output=True,
        timeout=30,
        check=True,
        cwd=Path(__file__).parents[3],
    )

    message, seconds, kibibytes = run.stdout.decode().splitlines()
    assert len(bomb) < 200_000
    assert message == (
        "The image has 30,000 x 30,000 pixels; the limit is 25,000,000 in all, 16,384 on a side "
        "and a side ratio of 200. Send a smaller image, or raise RESNET_MAX_PIXELS."
    )
    assert float(seconds) < 0.5
    assert int(kibibytes) < 10_000  # decoded, it would be 900 MB


def resized_header(width: int, height: int) -> bytes:
    """A BMP that says it has a size; the pixels are not there."""
    payload = bytearray(encode(Image.new("L", (1, 1)), "BMP"))
    payload[18:26] = struct.pack("<ii", width, height)
    return bytes(payload)


@pytest.mark.parametrize(
    ("width", "height"),
    [
        (5_001, 5_000),  # over our limit of pixels
        (10_000, 10_000),  # Pillow only warns
        (MAX_SIDE + 1, 1_000),
        (1_000, MAX_SIDE + 1),
        (201, 1),
        (1, 201),
        (0x7FFF_FFFF, 0x7FFF_FFFF),
    ],
)
def test_an_image_with_too_many_pixels_or_too_long_a_side_is_refused(
    width: int, height: int
) -> None:
    payload = resized_header(width, height)

    with pytest.raises(ImageTooLargeError) as refused:
        open_image(payload, LIMIT, index=2)

    assert refused.value.index == 2
    assert "25,000,000" in str(refused.value)


@pytest.mark.parametrize(
    ("width", "height"), [(5_000, 5_000), (MAX_SIDE, 1_000), (200, 1), (1, 200), (1, 1)]
)
def test_an_image_at_a_limit_is_opened(width: int, height: int) -> None:
    assert open_image(resized_header(width, height), LIMIT).size == (width, height)


def test_the_limit_of_pixels_is_the_callers() -> None:
    payload = encode(Image.new("L", (10, 10)))

    assert decode(payload, max_pixels=100).size == (10, 10)
    with pytest.raises(ImageTooLargeError, match=r"has 10 x 10 pixels; the limit is 99 "):
        decode(payload, max_pixels=99)


def index_of_images(count: int) -> bytes:
    """A JPEG's segment that says that the file holds so many images (CIPA DC-007)."""
    offset = 8 + 2 + 3 * 12 + 4
    entries = [
        (0xB000, 7, 4, b"0100"),
        (0xB001, 4, 1, struct.pack(">L", count)),
        (0xB002, 7, 16 * count, struct.pack(">L", offset)),
    ]
    index = b"".join(struct.pack(">HHL4s", *entry) for entry in entries)
    content = b"MPF\0MM\0*\0\0\0\x08\0\x03" + index + bytes(4) + bytes(16 * count)
    return b"\xff\xe2" + struct.pack(">H", len(content) + 2) + content


@pytest.mark.parametrize("file_format", ["JPEG", "MPO"])
def test_a_jpeg_of_endless_scans_is_refused_and_a_progressive_one_is_not(file_format: str) -> None:
    payload = encode(striped(), "JPEG", progressive=True)
    if file_format == "MPO":
        payload = payload[:2] + index_of_images(2) + payload[2:]
    assert Image.open(io.BytesIO(payload)).format == file_format
    start = payload.rindex(b"\xff\xda")
    last = payload[start:-2]  # up to the end's marker

    endless = payload[:-2] + 100 * last + payload[-2:]

    assert decode(payload).size == striped().size
    with pytest.raises(InvalidImageError, match=r"has 1\d\d scans; the limit is 64"):
        decode(endless)


def test_scans_behind_thousands_of_comments_are_counted() -> None:
    payload = encode(striped(), "JPEG", progressive=True)
    last = payload[payload.rindex(b"\xff\xda") : -2]

    endless = payload[:-2] + 5_000 * b"\xff\xfe\0\2" + 100 * last + payload[-2:]

    with pytest.raises(InvalidImageError, match=r"has 1\d\d scans; the limit is 64"):
        decode(endless)


def test_scans_of_a_preview_are_not_counted() -> None:
    preview = encode(striped(), "JPEG", progressive=True)
    payload = encode(striped(), "JPEG")
    content = b"FPXR\0" + 20 * preview
    segment = b"\xff\xe2" + (len(content) + 2).to_bytes(2) + content

    assert preview.count(b"\xff\xda") > 4
    assert decode(payload[:2] + segment + payload[2:]).size == striped().size
    assert decode(payload + 20 * preview).size == striped().size


def test_a_film_behind_a_jpeg_is_not_taken_for_scans() -> None:
    film = np.random.default_rng(0).integers(0, 256, 20_000_000, np.uint8).tobytes()
    payload = encode(striped(), "JPEG")

    assert film.count(b"\xff\xda") > 200
    assert decode(payload + film).size == striped().size


def test_a_large_jpeg_is_shrunk_while_it_is_read() -> None:
    decoded = decode(encode(Image.new("RGB", (2_000, 1_500)), "JPEG"))

    assert 56 <= min(decoded.size) < 1_500 / 4
