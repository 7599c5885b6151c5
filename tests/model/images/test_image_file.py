"""Files on disk are opened lazily, and whole where Pillow minds their metadata."""

import zlib
from pathlib import Path

import pytest
from PIL import Image

from model.images.image_file import open_image_file, open_image_path
from model.preprocessing import lies_down
from tests.service.images import chunk, encode, png_with, striped


def test_a_header_on_disk_is_read_without_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "boot.png"
    path.write_bytes(encode(striped())[:60])

    with open_image_path(path) as image:
        assert (image.mode, image.size) == ("RGB", (40, 30))


def test_metadata_that_pillow_refuses_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "boot.png"
    path.write_bytes(png_with((b"zTXt", b"k\0\0" + zlib.compress(bytes(2_000_000)))))

    assert open_image_path(path).size == (8, 8)


def header(width: int, height: int) -> bytes:
    """A JPEG that says it has a size."""
    payload = bytearray(encode(Image.new("L", (8, 8)), "JPEG"))
    at = payload.index(b"\xff\xc0")
    payload[at + 5 : at + 9] = height.to_bytes(2) + width.to_bytes(2)
    return bytes(payload)


def test_on_disk_a_jpeg_may_be_larger_than_what_is_decoded_whole(tmp_path: Path) -> None:
    path = tmp_path / "boot"
    path.write_bytes(header(16_320, 12_240))

    assert open_image_path(path).size == (16_320, 12_240)
    path.write_bytes(header(60_000, 60_000))
    with pytest.raises(Image.DecompressionBombError, match="60,000 x 60,000 pixels; the limit is"):
        open_image_path(path)
    Image.new("1", (10_000, 9_000)).save(path, "PNG")
    with pytest.raises(Image.DecompressionBombError, match="10,000 x 9,000 pixels; the limit is"):
        open_image_path(path)


@pytest.mark.parametrize("key", [b"Raw profile type exif", b"XML:com.adobe.xmp", b"exif"])
@pytest.mark.parametrize("name", [b"tEXt", b"zTXt"])
def test_a_text_may_tell_that_an_image_lies(key: bytes, name: bytes) -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0"
    text = {
        b"Raw profile type exif": b"\nexif\n  30\n" + exif.hex().encode(),
        b"XML:com.adobe.xmp": b'<x tiff:Orientation="6"/>',
        b"exif": exif,
    }[key]
    content = key + b"\0" + (text if name == b"tEXt" else b"\0" + zlib.compress(text))
    whole = png_with()

    for payload in (whole[:33] + chunk(name, content) + whole[33:], png_with((name, content))):
        image = open_image_file(payload)
        image.load()
        assert lies_down(image)


@pytest.mark.parametrize("kind", [4, 8, 9])
def test_an_orientation_is_read_as_any_whole_number(kind: int) -> None:
    width = 2 if kind == 8 else 4
    value = (6).to_bytes(width) + bytes(4 - width)
    entry = b"\1\x12" + kind.to_bytes(2) + b"\0\0\0\1" + value

    assert lies_down(open_image_file(png_with((b"eXIf", b"MM\0*\0\0\0\x08\0\1" + entry))))
