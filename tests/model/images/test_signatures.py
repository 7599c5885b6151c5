"""Files that are none of ours are named, with what to do."""

import base64
import gzip

import pytest
from PIL import Image

from model.images.image_file import open_image_file
from model.images.signatures import BRANDS, MAGIC, recognise
from tests.service.images import encode

PNG = encode(Image.new("L", (4, 4)))


def boxes(major: bytes, *others: bytes) -> bytes:
    """The head of a file in boxes."""
    brands = major + bytes(4) + b"".join(others)
    return (len(brands) + 8).to_bytes(4) + b"ftyp" + brands + b"\0\0\0\x08mdat"


FILES = {
    "HEIC": boxes(b"heic", b"mif1", b"heic"),
    "HEIC file": boxes(b"mif1", b"miaf", b"heic"),
    "a HEIF file": boxes(b"mif1", b"miaf"),
    "AVIF": boxes(b"avif", b"mif1"),
    "an AVIF": boxes(b"mif1", b"avif"),
    "CR3": boxes(b"crx ", b"isom"),
    "QuickTime": boxes(b"qt  ", b"qt  "),
    "MP4 video": boxes(b"isom", b"mp42"),
    "MP4 sound": boxes(b"M4A ", b"isom"),
    "TIFF": b"II*\0\x08\0\0\0" + bytes(40),
    "TIFF file": b"MM\0*\0\0\0\x08" + bytes(40),
    "CR2": b"II*\0\x10\0\0\0CR\2\0" + bytes(40),
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "an SVG": b"\xef\xbb\xbf\n<?xml version='1.0'?>\n<!-- by hand -->\n<svg width='4'/>",
    "PDF": b"%PDF-1.7\n%\xe2\xe3",
    "HTML": b"\n<!DOCTYPE html><html><title>Not found</title>",
    "an HTML": b"<html><body>Caf\xe9 <svg/></body></html>",
    "XML": b"<?xml version='1.0'?><catalogue/>",
    "gzip": gzip.compress(PNG),
    "ZIP": b"PK\3\4" + bytes(26),
    "tar": bytes(257) + b"ustar\x0000" + bytes(247),
    "DICOM": bytes(128) + b"DICM\2\0",
    "TGA": bytes(18) + b"pixels" + bytes(8) + b"TRUEVISION-XFILE.\0",
    "PAM": b"P6\n4 4\n255\n" + bytes(range(200, 248)),
    "JPEG XL": b"\xff\x0a" + bytes(30),
    "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n",
    "PSD": b"8BPS\0\1",
    "ICO": b"\0\0\1\0\1\0",
    "WebM": b"\x1a\x45\xdf\xa3\x01",
    "NumPy": b"\x93NUMPY\1\0",
    "base64": base64.b64encode(PNG),
    "in base64": base64.encodebytes(b"\xff\xd8\xff\xe0" + bytes(90)),
    "data:": b"data:image/png;base64," + base64.b64encode(PNG),
    "JSON": b' {"images": []}',
    "JSON,": '["é"]'.encode("utf-16"),
    "form": b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n',
    "LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "address": b"https://example.org/boot.png",
    "Python's": repr(PNG).encode(),
    "a PNG that was changed": PNG.replace(b"\r\n", b"\n"),
    "a PNG that was": PNG.decode("utf-8", "replace").encode(),
    "a PNG that": PNG.decode("latin-1").encode(),
    "a JPEG that was changed": b"\xff\xd8\xff\xe0".decode("latin-1").encode(),
    "a text file": "Schöne Grüße".encode(),
    "text file,": 2_000 * "€".encode(),
    "an empty": b"",
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_named_by_its_bytes_with_a_way_out(name: str) -> None:
    with pytest.raises(OSError, match="not a JPEG, PNG, WEBP, GIF or BMP file") as refused:
        open_image_file(FILES[name])

    assert name in str(refused.value)
    assert str(refused.value).endswith(".")


@pytest.mark.parametrize("data", [b"\0", b"\x80\x81\x82", bytes(range(256)), b"\0\0\0\x18free"])
def test_what_is_not_known_gets_no_name(data: bytes) -> None:
    assert recognise(data) is None


def test_each_kind_reads_as_a_sentence() -> None:
    for kind in {*(kind for _, _, kind in MAGIC), *BRANDS.values()}:
        assert kind.name.startswith(("a ", "an ", "compressed by "))
        assert kind.advice[0].isupper()
        assert kind.advice.endswith(".")
