"""What a file says beside its pixels may cost little: neither memory nor time."""

import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.preprocessing import Pixels
from service.errors import InvalidImageError
from tests.service.decoding import decode
from tests.service.images import chunk, encode, png_with, striped

XMP = (
    b"XML:com.adobe.xmp",
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/>%s</x:xmpmeta>',
)


def packed(size: int, key: bytes = b"k") -> tuple[bytes, bytes]:
    """Give a text of so many bytes, which takes a thousandth of them in the file."""
    return b"zTXt", key + b"\0\0" + zlib.compress(b"x" * size, 9)


# Texts


def noise(size: int) -> bytes:
    """Bytes that no packing makes smaller, as in a printer's profile."""
    return np.random.default_rng(0).bytes(size)


@pytest.mark.parametrize(
    "chunks",
    [
        [packed(1_000_000, b"%d" % key) for key in range(62)],
        [(b"iTXt", b"k\0\1\0\0\0" + zlib.compress(bytes(60_000_000)))],
        [(b"iCCP", b"k\0\0" + zlib.compress(bytes(60_000_000)))],
        [packed(60_000_000, XMP[0])],
        [packed(60_000_000, b"Raw profile type exif")],
        [(b"iTXt", XMP[0] + b"\0\1\0\0\0" + zlib.compress(bytes(60_000_000)))],
        [(b"zTXt", bytes(60))] * 1_000,
    ],
    ids=["many", "international", "profile", "XMP", "EXIF", "international XMP", "nameless"],
)
def test_what_would_unpack_into_much_is_skipped(chunks: list[tuple[bytes, bytes]]) -> None:
    bomb = png_with(*chunks)

    tracemalloc.start()
    decoded = decode(bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert decoded.tobytes() == decode(png_with()).tobytes()
    assert len(bomb) < 90_000
    assert peak < 1_000_000


@pytest.mark.parametrize(
    "chunks",
    [
        [(b"tEXt", b"workflow\0" + 600_000 * b"{")],
        [(b"iTXt", b"prompt\0\0\0\0\0" + 600_000 * b"a")],
        [(b"iTXt", XMP[0] + b"\0\0\0\0\0" + 600_000 * b"x")],
        [(b"iCCP", b"print\0\0" + zlib.compress(noise(550_000)))],
        [(b"tEXt", b"%d\0" % key + 100_000 * b"t") for key in range(50)],
        [(b"eXIf", b"MM\0*" + noise(500_000))],
        [(b"tEXt", b"transparency\0none"), (b"tEXt", b"interlace\0no")],
    ],
    ids=["plain", "international", "XMP", "profile", "many", "EXIF", "odd keys"],
)
def test_metadata_of_any_size_refuses_no_png(chunks: list[tuple[bytes, bytes]]) -> None:
    whole = png_with(*chunks, pixels=NOISE[:40])

    for payload in (whole, png_with(pixels=NOISE[:40])[:-12] + whole[33:]):  # before and behind
        assert decode(payload).tobytes() == decode(png_with(pixels=NOISE[:40])).tobytes()


@pytest.mark.parametrize(
    "broken",
    [
        chunk(b"zTXt", b"k\0\0no zlib"),
        chunk(b"zTXt", b"k\0\7"),
        chunk(b"zTXt", b"Raw profile type exif\0\0no zlib"),
        chunk(b"tEXt", b"Raw profile type exif\0\n\n\nno digits"),
        chunk(b"iTXt", b"XML:com.adobe.xmp"),
        chunk(b"iCCP", b"k\0\7"),
        chunk(b"gAMA", b""),
        chunk(b"pHYs", b""),
        chunk(b"tRNS", b""),
        chunk(b"acTL", b""),
        chunk(b"fcTL", bytes(26)),
        chunk(b"eXIf", b"nonsense"),
        chunk(b"eXIf", b"MM\0*\xff\xff\xff\xff"),
        chunk(b"tEXt", b"k\0v")[:-4] + bytes(4),
        chunk(b"tRNS", b"\0\0")[:-4] + bytes(4),
        chunk(b"eXIf", b"MM\0*")[:-4] + bytes(4),
    ],
)
def test_broken_metadata_refuses_no_png(broken: bytes) -> None:
    whole = png_with()

    decoded = decode(whole[:33] + broken + whole[33:])

    assert decoded.tobytes() == decode(whole).tobytes()


@pytest.mark.parametrize("is_packed", [False, True])
def test_xmp_of_some_kilobytes_still_tells_which_way_is_up(is_packed: bool) -> None:
    name, form = XMP
    text = form % (b" " * 20_000)
    content = b"%b\0%c\0\0\0%b" % (name, is_packed, zlib.compress(text) if is_packed else text)
    pixels = np.zeros((8, 8), np.uint8)
    pixels[0, 0] = 255

    decoded = decode(png_with((b"iTXt", content), pixels=pixels))

    assert np.argwhere(np.asarray(decoded)).tolist() == [[0, 7]]


def test_xmp_of_a_jpeg_tells_which_way_is_up_too() -> None:
    lying = segments(1, b"http://ns.adobe.com/xap/1.0/\0" + XMP[1] % b"")

    assert decode(lying).size == decode(JPEG).size[::-1]


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
        cwd=Path(__file__).parents[3],
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
    "noise between a GIF's blocks": GIF[:GIF_PIXELS] + 100_000 * b"\1" + GIF[GIF_PIXELS:],
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
        segments(150, b"http://ns.adobe.com/xmp/extension/\0" + bytes(60_000)),
        GIF[:GIF_PIXELS] + b"!\xfe" + 1_500 * (b"\x40" + bytes(64)) + b"\0" + GIF[GIF_PIXELS:],
        GIF[:GIF_PIXELS] + b"!\xfe" + 9_000 * (b"\xff" + bytes(255)) + b"\0" + GIF[GIF_PIXELS:],
    ],
    ids=["PNG's pixels", "PNG's texts", "profile", "extended XMP", "comment", "large comment"],
)
def test_a_file_of_as_many_pieces_as_encoders_make_is_read(payload: bytes) -> None:
    assert len(payload) > 20_000
    assert decode(payload).mode in ("RGB", "L")


def test_a_directory_that_refers_to_everything_costs_nothing() -> None:
    entries = b"".join((tag).to_bytes(2) + b"\0\7\0\0\xf0\0\0\0\0\x08" for tag in range(5_000))
    directory = b"MM\0*\0\0\0\x08" + (5_000).to_bytes(2) + entries

    for payload in (segments(1, b"Exif\0\0" + directory), png_with((b"eXIf", directory))):
        tracemalloc.start()
        decode(payload)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2_000_000  # Pillow's parser would copy 300 MB
