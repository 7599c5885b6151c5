"""Whatever anybody sends, only a `ServiceError` comes out. `make fuzz` looks for much longer."""

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from model.images.image_file import FORMATS
from model.preprocessing import Preprocessing, preprocess
from service.errors import ServiceError
from service.preprocessing.decode import open_image, read_image
from tests.service.images import encode

# Pillow warns of odd metadata; where it would raise instead, it is not our user's process.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

SPEC = Preprocessing(resize=28, crop=28, channels=3, mean=(0.0,) * 3, std=(1.0,) * 3)
NOISE = Image.fromarray(np.random.default_rng(1).integers(0, 255, (12, 17, 3), np.uint8))


def exif() -> Image.Exif:
    """Metadata of many kinds, so that mutations meet their parsers."""
    tags = Image.Exif()
    tags[0x0112] = 6
    tags[0x010F] = "maker"
    tags[0x011A] = 72.0
    tags.get_ifd(0x8769)[0x9003] = "2026:01:01 00:00:00"
    return tags


WHOLE = {
    **{file_format: encode(NOISE, file_format) for file_format in FORMATS},
    "JPEG with EXIF": encode(NOISE, "JPEG", exif=exif()),
    "PNG with EXIF": encode(NOISE, "PNG", exif=exif()),
    "WEBP with EXIF": encode(NOISE, "WEBP", exif=exif()),
    "MPO": encode(NOISE, "MPO", save_all=True, append_images=[NOISE]),
    "16-bit PNG": encode(Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20))),
    "palette PNG": encode(NOISE.convert("P"), transparency=3),
    "CMYK": encode(NOISE.convert("CMYK"), "JPEG"),
    "animated GIF": encode(NOISE, "GIF", save_all=True, append_images=[NOISE.rotate(90)]),
    "animated WEBP": encode(NOISE, "WEBP", save_all=True, append_images=[NOISE.rotate(90)]),
}
MAGIC = (b"", b"\xff\xd8\xff\xe1", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBPVP8X", b"GIF89a", b"BM")


def answer(payload: bytes) -> None:
    """Decode and preprocess, and take nothing but our own refusals."""
    with contextlib.suppress(ServiceError):
        pixels = preprocess(read_image(open_image(payload, 1_000_000), SPEC), SPEC)
        assert pixels.shape == (28, 28, 3)


@given(magic=st.sampled_from(MAGIC), noise=st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_random_bytes_break_nothing(magic: bytes, noise: bytes) -> None:
    answer(magic + noise)


@pytest.mark.parametrize("kind", WHOLE)
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_an_image_with_changed_bytes_breaks_nothing(kind: str, data: st.DataObject) -> None:
    payload = bytearray(WHOLE[kind])
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(payload) - 1))
        payload[place] = data.draw(st.integers(0, 255))

    answer(bytes(payload))


@pytest.mark.parametrize("kind", WHOLE)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_an_image_with_a_hole_or_a_repetition_breaks_nothing(
    kind: str, data: st.DataObject
) -> None:
    payload = WHOLE[kind]
    first, second = (data.draw(st.integers(0, len(payload))) for _ in range(2))

    answer(payload[:first] + payload[second:])
