"""From bytes that anybody may have sent to a Pillow image that is safe to work on.

`open_image` reads no more than the header and refuses by size; `read_image` decodes.
Five formats and no others reach a decoder; neither media type nor file name decides.
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
"""Of an image that is decoded whole, whatever the setting says; Pillow refuses from 89 million on.
A JPEG that is shrunk while it is decoded may have more."""
SHRUNK_JPEG = 4
"""So many pixels of a JPEG count as one: to unpack them without drawing takes a third of the time,
and the coefficients of a progressive one, two bytes for each pixel of a channel, as much memory as
one pixel of another image."""
MAX_SCANS = 64
"""Of a progressive JPEG; encoders make about ten. Each of 25 million pixels costs 8 ms, and a file
of 10 MB could hold 200,000 of them, in which nothing is drawn."""
MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
"""Of a JPEG's segment, behind which its length stands (ITU-T T.81, B.1.1.3)."""
SCAN, END_OF_IMAGE = 0xDA, 0xD9
TINY_BYTES = 4_096
"""A file up to this size cannot have many pieces."""
MAX_PIECES = 4_096
"""Reads that a header may take; three for a PNG's chunk, four for a JPEG's segment, two for a GIF's
block. Photographs take some hundreds, and files of tiny pieces a second for each megabyte."""
OUT_OF_MEMORY = "out of memory"
"""What Pillow's decoders say of themselves (`PIL.ImageFile.ERRORS`)."""
BYTES_A_PIECE = 256
"""The pixels' reads beyond that number are of so many bytes at least, taken together."""

warnings.simplefilter("error", Image.DecompressionBombWarning)
# Of odd metadata: a file may cause thousands, and Python remembers each for ever.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


class _File(io.BytesIO):
    """A file that gives no more pieces than an honest one has."""

    pieces_left = MAX_PIECES

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as any file, up to the limit."""
        self.pieces_left -= 1
        if self.pieces_left < 0:
            raise OSError("too many small pieces")
        return io.BytesIO.read(self, size)


def open_image(
    payload: bytes, max_pixels: int, index: int = 0, spec: Preprocessing | None = None
) -> Image.Image:
    """Read the header of a picture and check its size, before anything is decoded.

    Args:
        payload: A whole file.
        max_pixels: Of the picture, as `counted_pixels` counts them.
        index: Which picture of the request it is, for the error.
        spec: How far a JPEG may be shrunk while it is decoded.

    Raises:
        InvalidImageError: If it is none of our formats, or broken.
        ImageTooLargeError: If it has more pixels, a longer side, or is more oblong than allowed.
    """
    if not payload:
        raise InvalidImageError("The image has 0 bytes. Send a whole image file.", index=index)
    try:
        image = open_image_file(payload, io.BytesIO if len(payload) <= TINY_BYTES else _File)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        seen = f"more than {Image.MAX_IMAGE_PIXELS:,} pixels"
        raise ImageTooLargeError(_too_large(seen, max_pixels), index=index) from error
    except UnidentifiedImageError as error:
        raise InvalidImageError(
            f"The file sent ({len(payload):,} bytes) is {error}", index=index
        ) from error
    except DECODE_ERRORS as error:
        raise _broken(error, index) from error
    _refuse_size(image, max_pixels, index, spec)
    if image.format == "JPEG":
        _refuse_scans(payload, index)
    if isinstance(image.fp, _File):
        image.fp.pieces_left = MAX_PIECES + len(payload) // BYTES_A_PIECE
    return image


def read_image(image: Image.Image, spec: Preprocessing, index: int = 0) -> Image.Image:
    """Decode the first frame: RGB or L, standing up. JPEG is shrunk while it decodes.

    Raises:
        InvalidImageError: If the file is truncated or corrupt.
    """
    try:
        if image.format == "JPEG":
            shrink_on_load(image, spec)
        return upright(image)
    except DECODE_ERRORS as error:
        raise _broken(error, index) from error


def counted_pixels(image: Image.Image, spec: Preprocessing | None) -> int:
    """Count the pixels that are decoded, of a JPEG at least a quarter of those that it has.

    Args:
        image: Just opened.
        spec: How far a JPEG may be shrunk while it is decoded; None counts all of its pixels.
    """
    width, height = image.size
    if spec is None or image.format != "JPEG":
        return width * height
    scale = shrinking(image.size, spec)
    drawn = -(-width // scale) * -(-height // scale)
    return max(drawn, int(_held_channels(image) * width * height) // SHRUNK_JPEG)


def _held_channels(image: Image.Image) -> float:
    """Tell for how many channels of full size the decoder holds coefficients; 1 if for none.

    It does if a channel comes in more than one scan, or not all channels come in the first.
    """
    layers = cast(JpegImageFile, image).layer
    if not image.info.get("progressive") and image.info[SCANNED_CHANNELS] == len(layers):
        return 1
    areas = [across * down for _, across, down, _ in layers]
    return max(1, sum(areas) / max(1, *areas))


def _refuse_size(
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


def _refuse_scans(payload: bytes, index: int) -> None:
    """Refuse a JPEG that would draw itself for minutes."""
    # counting two bytes is quick; they may also stand in a preview, or in a film behind the image
    if payload.count(b"\xff\xda") <= MAX_SCANS:
        return
    scans = _count_scans(payload)
    if scans > MAX_SCANS:
        raise InvalidImageError(
            f"The JPEG has {scans:,} scans; the limit is {MAX_SCANS}. Save it anew.", index=index
        )


def _count_scans(payload: bytes) -> int:
    """Count them by walking from marker to marker, up to the image's end."""
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
        return OutOfMemoryError()  # whatever the file is like
    cause = " ".join(str(error).split())[:120] or type(error).__name__
    return InvalidImageError(
        f"The image cannot be decoded ({cause}). Send a whole, undamaged file, or save it anew.",
        index=index,
    )


def _too_large(seen: str, limit: int) -> str:
    other = "send a JPEG" if limit == MAX_WHOLE_PIXELS else "raise RESNET_MAX_PIXELS"
    return (
        f"The image has {seen}; the limit is {limit:,} in all, {MAX_SIDE:,} on a side "
        f"and a side ratio of {MAX_SIDE_RATIO}. Send a smaller image, or {other}."
    )
