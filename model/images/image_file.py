"""Open image files of five formats with Pillow, in training and in serving alike.

What their first bytes say decides the format; neither a file's name nor its media type does.
"""

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO

from PIL import Image, UnidentifiedImageError
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

import model.images.bmp_rle  # noqa: F401  # Pillow decodes run-length encoded BMP files with it
from model.images.metadata import without_metadata
from model.images.signatures import recognise

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
"""The only decoders that an image reaches, in training and in serving alike."""

DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    OverflowError,
    NotImplementedError,
    MemoryError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
"""What Pillow's decoders raise on files that are not what they claim to be."""


_OPENERS: Mapping[str, Callable[[IO[bytes]], ImageFile]] = MappingProxyType(
    {
        "JPEG": JpegImageFile,
        "PNG": PngImageFile,
        "WEBP": WebPImageFile,
        "GIF": GifImageFile,
        "BMP": BmpImageFile,
    }
)
"""Not `Image.open`: it parses the index of further images in a JPEG, and its limit of pixels is
too low for a JPEG that is shrunk while it is decoded."""
NONE_OF_OURS = f"not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file"
MAX_JPEG_PIXELS = 16_384 * 16_384
"""Of a JPEG in training. Even shrunk, a progressive one takes up to eight bytes for each; others
may have Pillow's own limit of 89 million."""


def file_format(data: bytes) -> str | None:
    """Give the accepted format that a file has by its first bytes; None if none."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    return "BMP" if data.startswith(b"BM") else None


def open_image_file(data: bytes, as_file: Callable[[bytes], IO[bytes]] = io.BytesIO) -> ImageFile:
    """Read the header of an image; its metadata is passed over, whatever it is.

    Args:
        data: A whole file.
        as_file: Makes a file of bytes.

    Raises:
        UnidentifiedImageError: If it is none of our formats, or its header is broken; says what
            the file is instead, as in "a PDF document, ...", and what to do.
        ValueError: If it has very many tiny pieces.
    """
    found = file_format(data)
    if found is None:
        kind = recognise(data)
        raise UnidentifiedImageError(
            f"{kind.name}, {NONE_OF_OURS}. {kind.advice}"
            if kind
            else f"{NONE_OF_OURS}. Send the complete image file, not an archive of it."
        )
    bare, info = without_metadata(data, found)
    try:
        image = _OPENERS[found](as_file(bare))
    except SyntaxError as error:
        raise UnidentifiedImageError(
            f"a {found} file whose header is broken or cut off. Send a whole, undamaged file."
        ) from error
    image.info.update(info)
    return image


def open_image_path(path: Path) -> ImageFile:
    """Read the header of an image on disk, the whole file only if Pillow refuses its metadata.

    Raises:
        UnidentifiedImageError: If it is none of our formats, or its header is broken.
        DecompressionBombError: If it has too many pixels to be decoded.
        OSError, ValueError: If it cannot be read, or is broken otherwise.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(path, formats=FORMATS)
    except DECODE_ERRORS:
        image = open_image_file(path.read_bytes())
    limit = MAX_JPEG_PIXELS if image.format == "JPEG" else Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise Image.DecompressionBombError(
            f"the image has {image.width:,} x {image.height:,} pixels; the limit is {limit:,}"
        )
    return image
