"""Decode untrusted bytes to a Pillow image, within limits of size and time.

`open_image` reads only the header and checks the size; `read_image` decodes. Only five formats are
decoded. The format is that of the bytes, whatever media type or file name says.
"""

import io
import re
import warnings
from typing import cast

from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from model.images.image_file import DECODE_ERRORS, open_image_file
from model.images.metadata import SCANNED_CHANNELS
from model.preprocessing import Preprocessing, shrink_on_load, shrinking, upright
from service.errors import (
    ImageTooLargeError,
    InvalidImageError,
    OutOfMemoryError,
    ServiceError,
)

MAX_SIDE = 16_384
MAX_SIDE_RATIO = 200
MAX_WHOLE_PIXELS = 80_000_000
"""Of an image that is decoded at full size, whatever the setting; Pillow rejects more than 89
million. A JPEG that is shrunk while it is decoded may have more."""
SHRUNK_JPEG = 4
"""So many pixels of a shrunk JPEG count as one. To decode their coefficients takes a third of the
time; those of a progressive JPEG, two bytes for each pixel of a channel, take as much memory as one
pixel of another image."""
MAX_SCANS = 64
"""Of a progressive JPEG; encoders make about ten. Each scan of 25 million pixels costs 8 ms,
and a file of 10 MB could have 200,000 empty ones."""
MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
"""Of a JPEG's segment; its length follows (ITU-T T.81, B.1.1.3)."""
SCAN, END_OF_IMAGE = 0xDA, 0xD9
TINY_BYTES = 4_096
"""A file up to this size cannot have many pieces."""
MAX_PIECES = 4_096
"""Limit of the reads of a header: three for a PNG's chunk, four for a JPEG's segment, two for a
GIF's block. Photographs need some hundreds; files of tiny pieces would take a second per MB."""
OUT_OF_MEMORY = "out of memory"
"""The message of Pillow's decoders (`PIL.ImageFile.ERRORS`)."""
BYTES_A_PIECE = 256
"""Reads beyond `MAX_PIECES` must have at least so many bytes on average."""

warnings.simplefilter("error", Image.DecompressionBombWarning)
# Warnings about metadata: a file may cause thousands, and Python keeps each.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


class _File(io.BytesIO):
    """A file that limits the number of reads."""

    pieces_left = MAX_PIECES

    def read(self, size: int | None = -1, /) -> bytes:
        """Read like any file, up to the limit."""
        self.pieces_left -= 1
        if self.pieces_left < 0:
            raise OSError("too many small pieces")
        return io.BytesIO.read(self, size)


def open_image(
    payload: bytes, max_pixels: int, index: int = 0, spec: Preprocessing | None = None
) -> Image.Image:
    """Read the header of an image and check its size, before anything is decoded.

    Args:
        payload: A whole file.
        max_pixels: Of the image, as `counted_pixels` counts them.
        index: Of the image in the request, for the error.
        spec: How far a JPEG may be shrunk while it is decoded.

    Raises:
        InvalidImageError: If the format is not supported, or the file is broken.
        ImageTooLargeError: If its pixels, longer side or aspect ratio exceed the limit.
    """
    if not payload:
        raise InvalidImageError("The image has 0 bytes. Send a complete image file.", index=index)
    try:
        image = open_image_file(payload, io.BytesIO if len(payload) <= TINY_BYTES else _File)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        seen = f"more than {Image.MAX_IMAGE_PIXELS:,} pixels"
        raise ImageTooLargeError(_too_large(seen, max_pixels), index=index) from error
    except UnidentifiedImageError as error:
        raise InvalidImageError(
            f"The file ({len(payload):,} bytes) is {error}", index=index
        ) from error
    except DECODE_ERRORS as error:
        raise _broken(error, index) from error
    _check_size(image, max_pixels, index, spec)
    if image.format == "JPEG":
        _check_scans(payload, index)
    if isinstance(image.fp, _File):
        image.fp.pieces_left = MAX_PIECES + len(payload) // BYTES_A_PIECE
    return image


def read_image(image: Image.Image, spec: Preprocessing, index: int = 0) -> Image.Image:
    """Decode the first frame: RGB or L, upright. A JPEG is shrunk while it is decoded.

    Raises:
        InvalidImageError: If the file is truncated or corrupt.
    """
    try:
        if image.format == "JPEG":
            shrink_on_load(image, spec)
        return upright(image, spec.grey_bits)
    except DECODE_ERRORS as error:
        raise _broken(error, index) from error


def counted_pixels(image: Image.Image, spec: Preprocessing | None) -> int:
    """Count the pixels that are decoded; for a JPEG at least a quarter of its pixels.

    Args:
        image: Just opened.
        spec: How far a JPEG may be shrunk while it is decoded; None counts all of its pixels.
    """
    width, height = image.size
    if spec is None or image.format != "JPEG":
        return width * height
    scale = shrinking(image.size, spec)
    drawn = -(-width // scale) * -(-height // scale)
    return max(drawn, int(_buffered_channels(image) * width * height) // SHRUNK_JPEG)


def _buffered_channels(image: Image.Image) -> float:
    """Count the channels of full size whose coefficients the decoder buffers; 1 if none.

    It buffers them if a channel has several scans, or the first scan has not all channels.
    """
    layers = cast(JpegImageFile, image).layer
    if not image.info.get("progressive") and image.info[SCANNED_CHANNELS] == len(layers):
        return 1
    areas = [across * down for _, across, down, _ in layers]
    return max(1, sum(areas) / max(1, *areas))


def _check_size(
    image: Image.Image, max_pixels: int, index: int, spec: Preprocessing | None
) -> None:
    width, height = image.size
    if image.format == "JPEG":
        counted, limit = counted_pixels(image, spec), max_pixels
    else:
        counted, limit = width * height, min(max_pixels, MAX_WHOLE_PIXELS)
    oblong = max(width, height) > MAX_SIDE_RATIO * min(width, height)
    if counted > limit or max(width, height) > MAX_SIDE or oblong:
        seen = f"{width:,} x {height:,} pixels"
        if counted != width * height:
            seen += f" (a JPEG's, which count as {counted:,})"
        raise ImageTooLargeError(_too_large(seen, limit), index=index)


def _check_scans(payload: bytes, index: int) -> None:
    """Reject a JPEG with so many scans that decoding would take minutes."""
    # a quick upper bound: the bytes may also be in a preview, or in a video after the image
    if payload.count(b"\xff\xda") <= MAX_SCANS:
        return
    scans = _count_scans(payload)
    if scans > MAX_SCANS:
        raise InvalidImageError(
            f"The JPEG has {scans:,} scans; the limit is {MAX_SCANS}. Save it again.", index=index
        )


def _count_scans(payload: bytes) -> int:
    """Count the scans from marker to marker, up to the end of the image."""
    at, scans = 2, 0
    for _ in range(MAX_PIECES):
        found = MARKER.search(payload, at)
        if found is None or payload[found.end() - 1] == END_OF_IMAGE:
            return scans
        scans += payload[found.end() - 1] == SCAN
        at = found.end() + int.from_bytes(payload[found.end() : found.end() + 2])
    return payload.count(b"\xff\xda")


def _broken(error: BaseException, index: int) -> ServiceError:
    if isinstance(error, MemoryError) or OUT_OF_MEMORY in str(error):
        return OutOfMemoryError()  # for any file
    cause = " ".join(str(error).split())[:120] or type(error).__name__
    return InvalidImageError(
        f"The image cannot be decoded ({cause}). Send a complete, undamaged file, or "
        "save it again.",
        index=index,
    )


def _too_large(seen: str, limit: int) -> str:
    other = "send a JPEG" if limit == MAX_WHOLE_PIXELS else "raise RESNET_MAX_PIXELS"
    return (
        f"The image has {seen}; the limit is {limit:,} in all, {MAX_SIDE:,} on a side "
        f"and a side ratio of {MAX_SIDE_RATIO}. Send a smaller image, or {other}."
    )
