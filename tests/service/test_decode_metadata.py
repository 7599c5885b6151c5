"""What a file says beside its pixels may cost little: neither memory nor time."""

import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.preprocessing import MAX_TEXT_BYTES, Pixels
from service.decode import MAX_PACKED_TEXTS, open_image
from service.errors import InvalidImageError
from tests.service.decoding import LIMIT, decode
from tests.service.pictures import chunk, encode, png_with, striped

XMP = (
    b"XML:com.adobe.xmp",
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/>%s</x:xmpmeta>',
)


def packed(size: int, key: bytes = b"k") -> tuple[bytes, bytes]:
    """Give a text of so many bytes, which takes a thousandth of them in the file."""
    return b"zTXt", key + b"\0\0" + zlib.compress(b"x" * size, 9)


# Texts


@pytest.mark.parametrize(
    "chunks",
    [
        [packed(MAX_TEXT_BYTES + 1)],
        [packed(1_000_000, b"%d" % key) for key in range(60)],
        [packed(MAX_TEXT_BYTES - 1, b"%d" % key) for key in range(3)],
        [(b"iTXt", b"k\0\1\0\0\0" + zlib.compress(bytes(1_000_000)))],
        [(b"iCCP", b"k\0\0" + zlib.compress(bytes(1_000_000)))],
    ],
    ids=["one", "many", "many small ones", "international", "colour profile"],
)
def test_a_png_that_unpacks_into_much_text_is_refused_without_memory(
    chunks: list[tuple[bytes, bytes]],
) -> None:
    bomb = png_with(*chunks)

    tracemalloc.start()
    with pytest.raises(InvalidImageError, match="without its metadata") as refused:
        open_image(bomb, LIMIT, index=4)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert refused.value.index == 4
    assert len(bomb) < 80_000
    assert peak < 2_500_000


@pytest.mark.parametrize("name", [b"zTXt", b"iTXt", b"iCCP"])
def test_a_png_of_very_many_packed_texts_is_refused_before_any_is_unpacked(name: bytes) -> None:
    nameless = name, bytes(60)  # Pillow does not count what it does not keep

    decode(png_with(*[nameless] * MAX_PACKED_TEXTS))
    with pytest.raises(InvalidImageError, match=r"has 65 texts and colour profiles; the limit"):
        decode(png_with(*[nameless] * (MAX_PACKED_TEXTS + 1)))


@pytest.mark.parametrize("is_packed", [False, True])
def test_xmp_of_some_kilobytes_still_tells_which_way_is_up(is_packed: bool) -> None:
    name, form = XMP
    text = form % (b" " * 20_000)
    content = b"%b\0%c\0\0\0%b" % (name, is_packed, zlib.compress(text) if is_packed else text)
    pixels = np.zeros((8, 8), np.uint8)
    pixels[0, 0] = 255

    decoded = decode(png_with((b"iTXt", content), pixels=pixels))

    assert np.argwhere(np.asarray(decoded)).tolist() == [[0, 7]]


def test_odd_metadata_neither_fills_the_log_nor_is_remembered() -> None:
    tags = b"".join((0x10 + tag).to_bytes(2) + b"\0\7\0\0\xff\xff" + bytes(4) for tag in range(500))
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + (500).to_bytes(2) + tags + bytes(4)
    code = (
        "import sys\n"
        "from PIL import TiffImagePlugin\n"
        "from tests.service.decoding import decode\n"
        "print(decode(sys.stdin.buffer.read()).size)\n"
        "print(len(getattr(TiffImagePlugin, '__warningregistry__', ())) < 10)\n"
    )

    run = subprocess.run(
        [sys.executable, "-c", code],
        input=segments(1, exif),
        capture_output=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )

    assert run.stdout.decode().splitlines() == ["(40, 30)", "True"]
    assert run.stderr == b""


# Pieces

JPEG, GIF = encode(striped(), "JPEG"), encode(striped(), "GIF")
GIF_PIXELS = GIF.rindex(b",\0\0\0\0\x28\0\x1e\0")
NOISE = np.random.default_rng(0).integers(0, 256, (800, 1_250, 3), np.uint8)


def cut(pixels: Pixels, size: int) -> bytes:
    """Write a PNG of (H, W, 3) whose pixels come in chunks of so many bytes."""
    rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in pixels))
    cuts = [chunk(b"IDAT", rows[at : at + size]) for at in range(0, len(rows), size)]
    return encode(Image.fromarray(pixels))[:33] + b"".join(cuts) + chunk(b"IEND", b"")


def segments(count: int, content: bytes) -> bytes:
    """Put segments before a JPEG's own."""
    segment = b"\xff\xe1" + (len(content) + 2).to_bytes(2) + content
    return JPEG[:2] + count * segment + JPEG[2:]


TINY_PIECES = {
    "empty chunks": png_with(*[(b"abCd", b"")] * 100_000),
    "empty chunks behind the pixels": png_with()[:-12] + 100_000 * chunk(b"abCd", b""),
    "a byte of pixels in each chunk": cut(NOISE[:100], 1),
    "Exif in drops": segments(100_000, b"Exif\0\0MM\0*"),
    "padding": JPEG[:2] + 1_000_000 * b"\xff" + JPEG[2:],
    "comments in drops": GIF[:GIF_PIXELS] + b"!\xfe" + 500_000 * b"\1a" + b"\0" + GIF[GIF_PIXELS:],
}


@pytest.mark.parametrize("kind", TINY_PIECES)
def test_a_file_of_very_many_tiny_pieces_is_refused(kind: str) -> None:
    with pytest.raises(InvalidImageError, match="too many small pieces"):
        decode(TINY_PIECES[kind])


@pytest.mark.parametrize(
    "payload",
    [
        cut(NOISE, 1_024),
        png_with(*[(b"tEXt", b"key\0value")] * 1_000),
        segments(255, b"ICC_PROFILE\0\1\xff" + bytes(10_000)),
        GIF[:GIF_PIXELS] + b"!\xfe" + 1_500 * (b"\x40" + bytes(64)) + b"\0" + GIF[GIF_PIXELS:],
    ],
    ids=["PNG's pixels", "PNG's texts", "JPEG's profile", "GIF's comment"],
)
def test_a_file_of_as_many_pieces_as_encoders_make_is_read(payload: bytes) -> None:
    assert len(payload) > 20_000
    assert decode(payload).mode in ("RGB", "L")
