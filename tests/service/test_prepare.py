"""What a request's pictures cost on their way to the network: memory, the loop's time, nothing."""

import threading
import weakref
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service import decode, prepare
from service.errors import ClientLeftError
from service.prepare import Preparer
from service.submission import Departure
from tests.service.decoding import LIMIT, SPEC
from tests.service.pictures import encode, striped

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
async def test_what_a_picture_was_decoded_to_is_gone_before_the_next(
    file_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "usable_cores", lambda: 1)
    seen: list[weakref.ref[Image.Image]] = []
    alive: list[int] = []

    def watched(image: Image.Image, *given: Any) -> Image.Image:
        alive.append(sum(other() is not None for other in seen))
        seen.append(weakref.ref(image))
        return decode.read_image(image, *given)

    monkeypatch.setattr(prepare, "read_image", watched)
    preparer = Preparer(SPEC, LIMIT)
    payload = encode(striped(300, 200), file_format)

    ready = await preparer.prepare([payload] * 6, 10, Departure())

    assert len(ready) == 6
    assert alive == [0] * 6


@pytest.mark.parametrize(("side", "is_at_once"), [(28, True), (150, False), (600, False)])
async def test_the_header_of_a_large_file_is_not_read_on_the_event_loop(
    side: int, is_at_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []

    def noting(*given: Any) -> Image.Image:
        threads.append(threading.get_ident())
        return decode.open_image(*given)

    monkeypatch.setattr(prepare, "open_image", noting)
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    payload = encode(Image.fromarray(noise))
    assert (len(payload) <= prepare.SMALL_BYTES) is is_at_once

    await Preparer(SPEC, LIMIT).prepare([payload], 10, Departure())

    assert (threading.get_ident() in threads) is is_at_once


@pytest.mark.parametrize("count", [1, 3])
async def test_nothing_is_opened_for_a_client_that_left_within_its_body(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "open_image", lambda *_: pytest.fail("it was opened"))
    departure = Departure()
    departure()

    with pytest.raises(ClientLeftError):
        await Preparer(SPEC, LIMIT).prepare([encode(striped())] * count, 10, departure)
