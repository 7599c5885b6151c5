"""Broken metadata of a JPEG, WebP or GIF neither rejects nor changes the image."""

import numpy as np
import pytest
from PIL import Image

from tests.service.decoding import decode
from tests.service.images import encode, striped

IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8))
JPEG, GIF = encode(IMAGE, "JPEG"), encode(IMAGE, "GIF")


def segment(marker: int, content: bytes) -> bytes:
    """Write a segment of a JPEG."""
    return bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2) + content


SEGMENTS = {
    "JFIF of no length": segment(0xE0, b"JFIF\0"),
    "Adobe of no length": segment(0xEE, b"Adobe"),
    "thumbnail": segment(0xE0, b"JFXX\0\x10" + bytes(9)),
    "EXIF that is none": segment(0xE1, b"Exif\0\0nonsense"),
    "EXIF cut off": segment(0xE1, b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\1\x12"),
    "EXIF that points nowhere": segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff"),
    "EXIF in many parts": 40 * segment(0xE1, b"Exif\0\0" + bytes(60_000)),
    "profile without its rest": segment(0xE2, b"ICC_PROFILE\0\1\xff" + bytes(9)),
    "index of more images": segment(0xE2, b"MPF\0MM\0*\0\0\0\x08\xff\xff" + bytes(9)),
    "Photoshop's cut off": segment(0xED, b"Photoshop 3.0\x008BIM\4\4"),
    "preview": segment(0xE2, b"FPXR\0" + 60 * b"\xff\xda\0\x0c\3"),
    "comments": 300 * segment(0xFE, bytes(9_000)),
    "padding": 90 * b"\xff",
    "restarts": b"\xff\xd0\xff\xd1",
    "nothing between segments": segment(0xFE, b"") + b"\0\0\0",
}


@pytest.mark.parametrize("kind", SEGMENTS)
def test_no_segment_beside_the_pixels_changes_or_refuses_a_jpeg(kind: str) -> None:
    payload = JPEG[:2] + SEGMENTS[kind] + JPEG[2:]

    assert decode(payload).tobytes() == decode(JPEG).tobytes()


def test_colours_stay_where_a_segment_tells_how_they_are_stored() -> None:
    for image in (IMAGE.convert("CMYK"), IMAGE):
        payload = encode(image, "JPEG", quality=95, keep_rgb=image.mode == "RGB")
        assert b"Adobe" in payload
        difference = np.asarray(decode(payload), int) - np.asarray(image.convert("RGB"), int)
        assert np.abs(difference).mean() < 12


@pytest.mark.parametrize("cut", [2, 3, 5, 7])
def test_a_jpeg_that_ends_in_a_segment_is_refused(cut: int) -> None:
    payload = JPEG[:2] + segment(0xE1, b"Exif\0\0")[:cut]

    with pytest.raises(Exception, match="header is broken or cut off"):
        decode(payload)


def test_a_segment_shorter_than_its_length_is_refused() -> None:
    with pytest.raises(Exception, match="broken or cut off"):
        decode(JPEG[:2] + b"\xff\xe1\0\0" + JPEG[:2])


# WebP


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    """Write a WebP of chunks."""
    body = b"".join(
        name + len(content).to_bytes(4, "little") + content + bytes(len(content) % 2)
        for name, content in chunks
    )
    return b"RIFF" + (len(body) + 4).to_bytes(4, "little") + b"WEBP" + body


ALL_FLAGS = bytes((0x2C, 0, 0, 0, 63, 0, 0, 47, 0, 0))
WEBP = encode(IMAGE, "WEBP")
PIXELS = b"VP8 ", WEBP[20:]
WEBPS = {
    "all of it": riff(
        (b"VP8X", ALL_FLAGS), (b"ICCP", bytes(600_001)), PIXELS, (b"EXIF", b"?"), (b"XMP ", b"?")
    ),
    "one that is not announced": riff((b"VP8X", bytes(4) + ALL_FLAGS[4:]), PIXELS, (b"EXIF", b"?")),
    "unknown": riff(PIXELS, (b"abcd", bytes(9))),
    "one cut off": riff((b"VP8X", ALL_FLAGS), PIXELS, (b"EXIF", bytes(900)))[:-99],
    "behind the file's end": riff((b"VP8X", ALL_FLAGS), (b"EXIF", b"?"), PIXELS) + bytes(99),
}


@pytest.mark.parametrize("kind", WEBPS)
def test_no_chunk_beside_the_pixels_changes_or_refuses_a_webp(kind: str) -> None:
    assert decode(WEBPS[kind]).tobytes() == decode(WEBP).tobytes()


def test_a_webp_that_has_nothing_but_metadata_is_refused() -> None:
    for payload in (riff((b"EXIF", b"?")), riff((b"VP8X", b""), (b"EXIF", b"?"))):
        with pytest.raises(Exception, match=r"broken or cut off|cannot be decoded"):
            decode(payload)


# GIF

EXTENSIONS = {
    "comment of a megabyte": b"!\xfe" + 4_000 * (b"\xff" + bytes(255)) + b"\0",
    "XMP": b"!\xff\x0bXMP DataXMP" + b"<x/>" + bytes((1, *range(255, -1, -1))) + b"\0",
    "control of no length": b"!\xf9\1\1\0",
    "control without blocks": b"!\xf9\0",
    "many of no length": 2_000 * b"!\xfe\0",
}


@pytest.mark.parametrize("kind", EXTENSIONS)
def test_no_extension_changes_or_refuses_a_gif(kind: str) -> None:
    start = 13 + (3 << (GIF[10] & 7) + 1)

    decoded = decode(GIF[:start] + EXTENSIONS[kind] + GIF[start:])

    assert decoded.tobytes() == decode(GIF).tobytes()


def test_a_gif_keeps_its_transparent_colour_beside_comments() -> None:
    image = striped().convert("P")
    payload = encode(image, "GIF", transparency=image.getpixel((0, 0)), comment=b"c" * 9_000)

    assert decode(payload).convert("RGB").getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("length", [6, 13, 14, 15, 16])
def test_a_gif_that_ends_early_is_refused(length: int) -> None:
    payload = (GIF[:10] + b"\0\0\0" + b"!\xfe\5")[:length]

    with pytest.raises(Exception, match=r"broken or cut off|cannot be decoded"):
        decode(payload)
