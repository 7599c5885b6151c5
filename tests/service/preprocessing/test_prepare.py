"""What a request's images cost on their way to the network: memory, the loop's time, nothing."""

import threading
import weakref
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.cancellation import Disconnect
from service.errors import ClientDisconnectedError
from service.preprocessing import decode, prepare
from service.preprocessing.prepare import Preprocessor
from tests.service.decoding import LIMIT, SPEC, within
from tests.service.images import encode, png_with, striped

pytestmark = pytest.mark.anyio


@pytest.fixture
def openers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note the threads in which headers are read."""
    threads: list[int] = []

    def noting(*given: Any, **named: Any) -> Image.Image:
        threads.append(threading.get_ident())
        return decode.open_image(*given, **named)

    monkeypatch.setattr(prepare, "open_image", noting)
    return threads


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
async def test_what_an_image_was_decoded_to_is_gone_before_the_next(
    file_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "usable_cores", lambda **_: 1)
    seen: list[weakref.ref[Image.Image]] = []
    alive: list[int] = []

    def watched(image: Image.Image, *given: Any) -> Image.Image:
        alive.append(sum(other() is not None for other in seen))
        seen.append(weakref.ref(image))
        return decode.read_image(image, *given)

    monkeypatch.setattr(prepare, "read_image", watched)
    preprocessor = Preprocessor(SPEC, LIMIT)
    payload = encode(striped(300, 200), file_format)

    ready = await preprocessor.prepare([payload] * 6, within(10), Disconnect())

    assert len(ready) == 6
    assert alive == [0] * 6


@pytest.mark.parametrize(("side", "is_at_once"), [(28, True), (150, False), (600, False)])
async def test_the_header_of_a_large_file_is_not_read_on_the_event_loop(
    side: int, is_at_once: bool, openers: list[int]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    payload = encode(Image.fromarray(noise))
    assert (len(payload) <= prepare.INLINE_DECODE_BYTES) is is_at_once

    await Preprocessor(SPEC, LIMIT).prepare([payload], within(10), Disconnect())

    assert (threading.get_ident() in openers) is is_at_once


DIRECTORY = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x01\0\0\0\0\0\0"
"""EXIF of one entry, the orientation; thousands take milliseconds."""
SMALL = Image.new("RGB", (28, 28))
WITH_METADATA = {
    "profile of a PNG": png_with(*[(b"iCCP", b"k\0\0" + zlib.compress(bytes(200_000)))] * 64),
    "packed text": png_with((b"zTXt", b"k\0\0" + zlib.compress(b"text"))),
    "international text": png_with((b"iTXt", b"k\0\0\0\0\0text")),
    "EXIF of a PNG": png_with((b"eXIf", DIRECTORY)),
    "EXIF in a text": png_with(
        (b"tEXt", b"Raw profile type exif\0\n\n\n" + DIRECTORY.hex().encode())
    ),
    "EXIF of a JPEG": encode(SMALL, "JPEG", exif=b"Exif\0\0" + DIRECTORY),
    "EXIF of a WebP": encode(SMALL, "WEBP", exif=DIRECTORY),
    "profile of a JPEG": encode(SMALL, "JPEG", icc_profile=bytes(200)),
    "further images": encode(SMALL, "MPO", save_all=True, append_images=[SMALL]),
}


@pytest.mark.parametrize("kind", WITH_METADATA)
async def test_a_small_file_with_metadata_is_not_opened_on_the_event_loop(
    kind: str, openers: list[int]
) -> None:
    assert len(WITH_METADATA[kind]) <= prepare.INLINE_DECODE_BYTES

    await Preprocessor(SPEC, LIMIT).prepare([WITH_METADATA[kind]], within(10), Disconnect())

    assert len(openers) == 1
    assert threading.get_ident() not in openers


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
async def test_a_small_file_of_pixels_alone_is_opened_on_the_event_loop(
    file_format: str, openers: list[int]
) -> None:
    await Preprocessor(SPEC, LIMIT).prepare([encode(SMALL, file_format)], within(10), Disconnect())

    assert openers == [threading.get_ident()]


@pytest.mark.parametrize("count", [1, 3])
async def test_nothing_is_opened_for_a_client_that_left_within_its_body(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "open_image", lambda *_: pytest.fail("it was opened"))
    disconnect = Disconnect()
    disconnect()

    with pytest.raises(ClientDisconnectedError):
        await Preprocessor(SPEC, LIMIT).prepare([encode(striped())] * count, within(10), disconnect)
