"""From bytes that anybody may have sent to a Pillow image that is safe to work on.

`open_image` reads no more than the header and refuses by size; `read_image` decodes.
Five formats and no others reach a decoder; neither media type nor file name decides.
"""

import io
import re
import warnings

from PIL import Image, UnidentifiedImageError

from model.preprocessing import BROKEN, FORMATS, Preprocessing, shrink_on_load, upright
from service.errors import (
    ImageTooLargeError,
    InvalidImageError,
    OutOfMemoryError,
    ServiceError,
)

MAX_SIDE = 16_384
MAX_SIDE_RATIO = 200
JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG"
"""How their files begin. Pillow gives a JPEG with a segment `MPF` another format's name."""
MAX_SCANS = 64
"""Of a progressive JPEG; encoders make about ten. Each of 25 million pixels costs 8 ms, and a file
of 10 MB could hold 200,000 of them, in which nothing is drawn."""
SCAN = re.compile(rb"\xff\xda\x00[\x06\x08\x0a\x0c][\x01-\x04]")
"""The marker of a scan, its header's length, and its number of components (ITU-T T.81, B.2.3)."""
PACKED_TEXTS = (b"zTXt", b"iTXt", b"iCCP")
MAX_PACKED_TEXTS = 64
"""Chunks of a PNG that Pillow unpacks, each into up to a thousand times its bytes; some it forgets
at once, so that its own limit of memory never sees them."""
TINY_BYTES = 4_096
"""A file up to this size can neither unpack into much nor have many pieces."""
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


def open_image(payload: bytes, max_pixels: int, index: int = 0) -> Image.Image:
    """Read the header of a picture and check its size, before anything is decoded.

    Args:
        payload: A whole file.
        max_pixels: Of the picture.
        index: Which picture of the request it is, for the error.

    Raises:
        InvalidImageError: If it is none of our formats, or broken.
        ImageTooLargeError: If it has more pixels, a longer side, or is more oblong than allowed.
    """
    if not payload:
        raise InvalidImageError("The image has 0 bytes. Send a whole image file.", index=index)
    if payload.startswith(PNG) and len(payload) > TINY_BYTES:
        _refuse_packed_texts(payload, index)
    file = io.BytesIO(payload) if len(payload) <= TINY_BYTES else _File(payload)
    try:
        image = Image.open(file, formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        seen = f"more than {Image.MAX_IMAGE_PIXELS:,}"
        raise ImageTooLargeError(_too_large(seen, max_pixels), index=index) from error
    except UnidentifiedImageError as error:
        raise InvalidImageError(
            f"The {len(payload):,} bytes sent are no {', '.join(FORMATS[:-1])} or {FORMATS[-1]} "
            "file. Send one of those, whole and unpacked.",
            index=index,
        ) from error
    except BROKEN as error:
        raise _broken(error, index) from error
    width, height = image.size
    oblong = max(width, height) > MAX_SIDE_RATIO * min(width, height)
    if width * height > max_pixels or max(width, height) > MAX_SIDE or oblong:
        raise ImageTooLargeError(_too_large(f"{width:,} x {height:,}", max_pixels), index=index)
    if payload.startswith(JPEG):
        _refuse_scans(payload, index)
    if isinstance(file, _File):
        file.pieces_left = MAX_PIECES + len(payload) // BYTES_A_PIECE
    return image


def read_image(image: Image.Image, spec: Preprocessing, index: int = 0) -> Image.Image:
    """Decode the first frame: RGB or L, standing up. JPEG is shrunk while it decodes.

    Raises:
        InvalidImageError: If the file is truncated or corrupt.
    """
    try:
        shrink_on_load(image, spec)
        return upright(image)
    except BROKEN as error:
        raise _broken(error, index) from error


def _refuse_packed_texts(payload: bytes, index: int) -> None:
    """Refuse a PNG that would be unpacked for seconds before its first pixel."""
    texts = sum(map(payload.count, PACKED_TEXTS))  # four bytes that stand nowhere by chance
    if texts > MAX_PACKED_TEXTS:
        raise InvalidImageError(
            f"The PNG has {texts:,} texts and colour profiles; the limit is {MAX_PACKED_TEXTS}. "
            "Save it anew without its metadata.",
            index=index,
        )


def _refuse_scans(payload: bytes, index: int) -> None:
    """Refuse a JPEG that would draw itself for minutes."""
    # counting two bytes is quick; some cameras append a film, in which they may stand by chance
    if payload.count(b"\xff\xda") <= MAX_SCANS:
        return
    scans = len(SCAN.findall(payload))
    if scans > MAX_SCANS:
        raise InvalidImageError(
            f"The JPEG has {scans:,} scans; the limit is {MAX_SCANS}. Save it anew.", index=index
        )


def _broken(error: BaseException, index: int) -> ServiceError:
    if isinstance(error, MemoryError) or OUT_OF_MEMORY in str(error):
        return OutOfMemoryError()  # whatever the file is like
    cause = " ".join(str(error).split())[:120] or type(error).__name__
    return InvalidImageError(
        f"The image cannot be decoded ({cause}). Send a whole, undamaged file, or save it "
        "anew without its metadata.",
        index=index,
    )


def _too_large(seen: str, max_pixels: int) -> str:
    return (
        f"The image has {seen} pixels; the limit is {max_pixels:,} in all, {MAX_SIDE:,} on a side "
        f"and a side ratio of {MAX_SIDE_RATIO}. Send a smaller image, or raise RESNET_MAX_PIXELS."
    )
