"""What a request's pictures cost on their way to the network: memory, the loop's time, nothing."""

import weakref
from typing import Any

import pytest
from PIL import Image

from service import decode, prepare
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
