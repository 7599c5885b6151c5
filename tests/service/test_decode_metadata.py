"""What a file says beside its pixels may cost little: neither memory nor time."""

import tracemalloc
import zlib

import numpy as np
import pytest

from model.preprocessing import MAX_TEXT_BYTES
from service.decode import MAX_PACKED_TEXTS, open_image
from service.errors import InvalidImageError
from tests.service.decoding import LIMIT, decode
from tests.service.pictures import png_with

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
    nameless = name, b"\0\0\0"  # Pillow does not count what it does not keep

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
